"""Optimizer state on NVMe: what DeepSpeed 0.19.8 leaves out when it loads its own checkpoint.

It copies the swap files back, but knows in a new process neither of the moments in them, nor of step numbers, nor of
groups too small to be swapped; all of these would begin anew. Here they are put in their places, group by group.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uer_ds.errors import UserError
from uer_ds.storage.zero_files import ZeroFile


@torch.no_grad()
def restore_swapped(engine: Any, files: Path) -> None:
    """Complete this rank's state after `load_checkpoint` from the folder `files` of a ZeRO-3 engine. Collective."""
    optimizer = engine.optimizer
    rank = engine.global_rank
    own = ZeroFile(Path(engine._get_zero_ckpt_name(str(files.parent), files.name)))
    masters = own.find(("optimizer_state_dict", "fp32_flat_groups"))
    states = own.find(("optimizer_state_dict", "optimizer_state_dict", "state"))
    for number, key in enumerate(optimizer.fp32_partitioned_groups_flat):
        saved = states.get(number, {})
        if not optimizer._swappable_optimizer_subgroup(number):
            key.data.copy_(masters[number])
            optimizer.optimizer.state[key] = {name: _own(value) for name, value in saved.items()}
            continue
        optimizer._optimizer_states_and_gradient_swap_in(number)
        swapped = files / "offloaded_tensors" / f"rank{rank:02d}"
        optimizer.optimizer.state[key] = {name: _found(name, value, key, swapped) for name, value in saved.items()}
        optimizer._optimizer_states_and_gradient_swap_out(number)
    optimizer.reset_swap_buffers()  # the model's own weights from the masters
    optimizer.checkpoint_event_epilogue()


def _own(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _found(name: str, value: Any, key: Any, folder: Path) -> Any:
    """A value of the optimizer's state; tensors that were swapped out when it was saved come from their file."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return _own(value)
    path = folder / f"{name}-{key.ds_id}.tensor.swp"
    if not path.is_file():
        raise UserError(f"{path}: is not there; the checkpoint was written by another number of processes or stage.")
    return torch.from_file(str(path), size=key.numel(), dtype=torch.float32).clone()
