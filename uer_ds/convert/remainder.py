"""What a Hugging Face model has no place for, in a small file of its own beside it, so that it comes back.

That is one row: UER's segment table begins with a segment for padding. Only padding reads it, so the exported model
computes the same without it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from uer_ds.convert.transforms import SEGMENT_TABLE
from uer_ds.storage.lazy import LazyTensor, TensorMap, combine
from uer_ds.storage.readers import read_safetensors
from uer_ds.storage.writers import write_safetensors_file

FILE = "uer_remainder.safetensors"


def write_remainder(folder: Path, tensors: TensorMap) -> None:
    """Keep the row of padding of a model under our names, unless it is zero (as in models from Hugging Face)."""
    table = tensors.get(SEGMENT_TABLE)
    if table is not None and table.read()[0].any():
        write_safetensors_file(folder / FILE, {SEGMENT_TABLE: table.map(lambda rows: rows[:1])})


def restore_remainder(folder: Path | None, tensors: dict[str, LazyTensor]) -> None:
    """Put back what `write_remainder` kept, if the file is there and fits."""
    if folder is None or not (folder / FILE).is_file() or SEGMENT_TABLE not in tensors:
        return
    row, table = read_safetensors(folder / FILE).get(SEGMENT_TABLE), tensors[SEGMENT_TABLE]
    if row is not None and row.shape == (1, table.shape[1]) and row.dtype == table.dtype:
        tensors[SEGMENT_TABLE] = combine((row, table), lambda first, rest: (torch.cat([first, rest[1:]]),))[0]
