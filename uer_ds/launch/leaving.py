"""The end of a process of several."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn

from uer_ds.errors import UserError
from uer_ds.launch.place import find_place


def leave(status: int = 0) -> NoReturn:
    """End this process with `status`; one of several at once, when all is written.

    Taking torch, gloo and DeepSpeed down while the peers do the same has been seen to abort a process whose work was
    done ("terminate called without an active exception"), and a launcher calls that a failed run.
    """
    if _is_one_of_several():
        if mpi := sys.modules.get("mpi4py.MPI"):  # which calls a process lost that leaves without
            mpi.Finalize()
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it any more
                stream.flush()
        os._exit(status)
    raise SystemExit(status)


def _is_one_of_several() -> bool:
    try:
        return find_place(os.environ).world_size > 1
    except UserError:
        return False
