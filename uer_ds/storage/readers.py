"""Weight files as lazily read tensors: safetensors, torch `.bin` of any age, and sharded checkpoints with an index.

Files are checked when they are opened (kind, length, header) and refused with one sentence. Memory: one tensor at a
time.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.torch_file import TorchFile

SAFETENSORS_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))  # how pickles of these protocols begin


def file_kind(path: Path) -> str | None:
    """`safetensors`, `torch` or None (neither), told by the first bytes."""
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith((b"PK", *PICKLES)):
        return "torch"
    if path.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{"):
        return "safetensors"
    return None


def read_weights(path: Path) -> dict[str, LazyTensor]:
    """The tensors of one weight file; raises `UserError` for anything else."""
    if path.name.endswith(".index.json"):
        return read_sharded(path)
    kind = file_kind(path)
    if kind == "safetensors":
        return read_safetensors(path)
    if kind == "torch":
        return TorchFile(path).tensors()
    raise UserError(
        f"{path}: is not a checkpoint ({describe_content(path)}); expected safetensors or a torch .bin file."
    )


def describe_content(path: Path) -> str:
    """What a file that is no checkpoint looks like, for an error message."""
    start = path.read_bytes()[:200] if path.stat().st_size < 1 << 20 else path.open("rb").read(200)
    if not start:
        return "the file is empty"
    if b"\0" in start:
        return f"it begins with the bytes {start[:8].hex(' ')}"
    try:
        first_line = start.decode("utf-8", errors="strict" if len(start) < 200 else "ignore").splitlines()[0]
    except (UnicodeDecodeError, IndexError):
        return f"it begins with the bytes {start[:8].hex(' ')}"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; download the real file"
    return f"it is text beginning with {first_line[:40]!r}"


def read_safetensors(path: Path) -> dict[str, LazyTensor]:
    """The tensors of a safetensors file."""
    data_start, entries = _safetensors_header(path)
    data_bytes = path.stat().st_size - data_start
    tensors = {}
    described = 0
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        tensor, end = _safetensors_entry(path, name, entry, data_start)
        tensors[name] = tensor
        described = max(described, end)
    if described > data_bytes:
        raise UserError(
            f"{path}: is truncated: its header tells of {described} bytes of data, {data_bytes} are there; copy again."
        )
    return tensors


def _safetensors_header(path: Path) -> tuple[int, dict[str, Any]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length_bytes = file.read(8)
        length = struct.unpack("<Q", length_bytes)[0] if len(length_bytes) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise UserError(
                f"{path}: has no safetensors header ({size} bytes in all); it is damaged or something else."
            )
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise UserError(f"{path}: the safetensors header is not JSON ({error}); the file is damaged.") from None
    if not isinstance(header, dict):
        raise UserError(f"{path}: the safetensors header is not a JSON object; the file is damaged.")
    return 8 + length, header


def _safetensors_entry(path: Path, name: str, entry: Any, data_start: int) -> tuple[LazyTensor, int]:
    try:
        dtype = SAFETENSORS_DTYPES[entry["dtype"]]
        shape = tuple(int(n) for n in entry["shape"])
        begin, end = map(int, entry["data_offsets"])
        size = math.prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(
            f"{path}: the header entry of {name!r} cannot be understood; the file is damaged or too new."
        ) from None
    if begin < 0 or min(shape, default=0) < 0 or end - begin != size:
        raise UserError(
            f"{path}: the header gives {name!r} {end - begin} bytes, which its shape {list(shape)} contradicts."
        )

    def read() -> torch.Tensor:
        buffer = bytearray(end - begin)
        with path.open("rb") as file:
            file.seek(data_start + begin)
            file.readinto(buffer)
        return torch.frombuffer(buffer, dtype=dtype).reshape(shape) if buffer else torch.empty(shape, dtype=dtype)

    return LazyTensor(shape, dtype, read), end


def read_sharded(index_path: Path) -> dict[str, LazyTensor]:
    """The tensors of a checkpoint in several files, listed by `*.index.json`."""
    weight_map = read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index_path}: has no weight_map; expected tensor names and the files they are in.")
    shards = {}
    for file_name in sorted(set(map(str, weight_map.values()))):
        shards[file_name] = read_weights(shard_path(index_path, file_name))
    lost = [name for name, file_name in weight_map.items() if name not in shards[file_name]]
    if lost:
        raise UserError(f"{index_path}: lists {lost[0]!r} in {weight_map[lost[0]]}, which does not have it.")
    return {name: tensor for shard in shards.values() for name, tensor in shard.items()}


def shard_path(index_path: Path, file_name: str) -> Path:
    """The file of a shard; names that lead out of the folder are refused."""
    if Path(file_name).name != file_name or "\\" in file_name or file_name.endswith(".index.json"):
        raise UserError(
            f"{index_path}: names the file {file_name!r}; only plain names in the same folder are accepted."
        )
    path = index_path.parent / file_name
    if not path.is_file():
        raise UserError(f"{index_path}: the shard {file_name} is missing; copy it into {index_path.parent}.")
    return path
