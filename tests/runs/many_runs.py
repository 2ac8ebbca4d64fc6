"""Not a test: runs several trainings one after the other in one process group, since each launch costs seconds.

deepspeed --num_accelerators 2 tests/runs/many_runs.py runs.json     [{"options": [...], "stop_after": 10 or null}, ...]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from uer_ds.cli import pretrain as command
from uer_ds.cli.parser import Parser
from uer_ds.engine import distributed
from uer_ds.launch.place import find_place
from uer_ds.train.pretrain import Trainer
from uer_ds.train.stopping import StopWish


class StopAfter(StopWish):
    """Wishes to stop when it has been asked about `updates` updates."""

    def __init__(self, updates: int | None):
        super().__init__()
        self.left = updates

    def __bool__(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


def main(plan: Path) -> None:
    """Run the plan's trainings; their results are in their output folders."""
    with distributed.joined(find_place(os.environ)) as group:
        for entry in json.loads(plan.read_text()):
            parser = Parser()
            command.add_arguments(parser)
            config = command.make_run_config(parser.parse_args(entry["options"]))
            output = Path(config.paths.output_model_path)
            output.mkdir(parents=True, exist_ok=True)
            Trainer(config, group, output, StopAfter(entry.get("stop_after"))).train()


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
