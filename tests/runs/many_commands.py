"""Not a test: runs several `uer-ds` commands one after the other in one process group, since each launch costs seconds.

deepspeed --num_accelerators 2 tests/runs/many_commands.py plan.json     [["finetune", "classifier", ...], ...]

Ends with the first status that is not 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from uer_ds.cli.main import main as command
from uer_ds.engine import distributed
from uer_ds.launch.leaving import leave
from uer_ds.launch.place import find_place


def main(plan: Path) -> int:
    """Run the plan's commands in the living group."""
    with distributed.joined(find_place(os.environ)) as group:

        def joined(place: Any, *rest: Any, **more: Any) -> Any:
            return contextlib.nullcontext(group)

        distributed.joined = joined  # type: ignore[assignment]
        for arguments in json.loads(plan.read_text()):
            status = command(arguments)
            if status:
                return status
    return 0


if __name__ == "__main__":
    leave(main(Path(sys.argv[-1])))
