"""`torch.save` files of any age as lazily read tensors.

Pickles are read through torch's weights-only loader, which runs no code. Memory: one tensor at a time where the file is
a zip archive; its mapping is renewed now and then, so that the pages read so far are given back.
"""

from __future__ import annotations

import functools
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor

RENEW_AFTER_BYTES = 32 << 20
NEWER_INSTRUCTIONS = range(0x8C, 0x99)  # of the pickle protocols 4 and 5; torch's safe loader knows none of them
WRAPPERS = ("module", "model", "state_dict", "model_state_dict")


class TorchFile:
    """A `torch.save` file: zip archives are mapped, older pickles are loaded whole."""

    def __init__(self, path: Path):
        self.path = path
        self._mapped = zipfile.is_zipfile(path)
        if not self._mapped and path.open("rb").read(2) == b"PK":
            raise UserError(f"{path}: is truncated (the end of its zip archive is missing); copy it again.")
        self._contents: Any = None
        self._bytes_read = 0

    def load(self) -> Any:
        """What was saved; its tensors are views of the file."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read is said below
                return torch.load(self.path, map_location="cpu", weights_only=True, mmap=self._mapped)
        except pickle.UnpicklingError as error:
            raise refused_pickle(self.path, error) from None
        except Exception as error:  # torch raises whatever damaged bytes lead to
            if "magic number" in str(error):
                raise UserError(f"{self.path}: is a pickle, but none of torch.save; expected a state dict.") from None
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self.path}: is truncated or damaged ({reason}); copy it again.") from None

    def tensors(self) -> dict[str, LazyTensor]:
        """The state dict in the file; names that share a storage region are tied."""
        made: dict[tuple[Any, ...], LazyTensor] = {}
        result = {}
        for name, tensor in self._state_dict().items():
            key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if key not in made or not tensor.numel():
                made[key] = LazyTensor(tuple(tensor.shape), tensor.dtype, functools.partial(self.read, name))
            result[name] = made[key]
        return result

    def read(self, name: str) -> torch.Tensor:
        """One tensor."""
        return self.lend(self._state_dict()[name]).contiguous()

    def lend(self, view: torch.Tensor) -> torch.Tensor:
        """A part of the file, not copied. Now and then the mapping is renewed, so that pages read before are freed."""
        self._bytes_read += view.nbytes
        if self._mapped and self._bytes_read > RENEW_AFTER_BYTES:
            self._contents, self._bytes_read = None, 0
        return view

    def _state_dict(self) -> dict[str, torch.Tensor]:
        if self._contents is None:
            self._contents = _unwrapped(self.load(), self.path)
        return self._contents


def _unwrapped(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: holds a {type(loaded).__name__}; expected a state dict (names and tensors).")
    others = [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if others or not loaded:
        found = f"{others[0]!r} is not a tensor" if others else "it is empty"
        raise UserError(f"{path}: holds no plain state dict ({found}); expected names and tensors only.")
    return loaded


def refused_pickle(path: Path, error: Exception) -> UserError:
    """The error for a pickle that asks for more than weights; names what it asks for."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return UserError(f"{path}: asks to run {asked[1]!r} when it is read; it may harm, and was refused and not run.")
    instruction = re.search(r"Unsupported operand (\d+)", str(error))
    if instruction and int(instruction[1]) in NEWER_INSTRUCTIONS:
        return UserError(
            f"{path}: is pickled with a newer protocol than torch.save's own, which cannot be read safely; "
            "save it again without pickle_protocol."
        )
    return UserError(f"{path}: holds something else than weights, or is damaged; expected a torch state dict.")
