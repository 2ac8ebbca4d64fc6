"""Weights to files, one tensor at a time: safetensors (sharded above 5 GB) and torch `.bin`.

The headers are made from shapes alone, so that each tensor is read, written and forgotten. `.bin` files are the zip
archives of `torch.save`, written with the standard library: data types, names and ties come back from any torch since
1.6.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.files import write_json
from uer_ds.storage.lazy import LazyTensor, TensorMap, raw_bytes
from uer_ds.storage.readers import SAFETENSORS_DTYPES

SHARD_BYTES = 5 * 10**9
SAFETENSORS_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}
ALIGNMENT = 64  # of each tensor in a .bin, as torch does
STORAGE_TYPES = {
    torch.float32: "FloatStorage",
    torch.float64: "DoubleStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.int16: "ShortStorage",
    torch.int8: "CharStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
}


def write_safetensors_file(path: Path, tensors: TensorMap) -> None:
    """One safetensors file; tied tensors are written under each name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in tensors.items():
        end = position + tensor.bytes
        header[name] = {
            "dtype": _name_of(tensor, name, SAFETENSORS_NAMES, "safetensors"),
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # the data starts at a multiple of 8
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(raw_bytes(tensor))


def write_safetensors(folder: Path, tensors: TensorMap, shard_bytes: int = SHARD_BYTES) -> list[str]:
    """`model.safetensors` in `folder`, or shards of at most `shard_bytes` with an index; returns the file names."""
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        write_safetensors_file(folder / "model.safetensors", shards[0])
        return ["model.safetensors"]
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors_file(folder / file_name, shard)
        weight_map.update(dict.fromkeys(shard, file_name))
    total = sum(tensor.bytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)
    return [*dict.fromkeys(weight_map.values()), "model.safetensors.index.json"]


def _name_of(tensor: LazyTensor, name: str, names: dict[torch.dtype, str], form: str) -> str:
    """What a format calls the type of a tensor."""
    if tensor.dtype not in names:
        raise UserError(
            f"{name} has the type {str(tensor.dtype).removeprefix('torch.')}, which a {form} file cannot hold; choose "
            "another format or convert the tensors to float32 first."
        )
    return names[tensor.dtype]


def _shards(tensors: TensorMap, shard_bytes: int) -> list[dict[str, LazyTensor]]:
    shards: list[dict[str, LazyTensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.bytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.bytes
    return shards


class _Storage:
    """Stands for a tensor's values in the pickle; the values are a file of the archive."""

    def __init__(self, key: str, name: str, tensor: LazyTensor):
        self.key = key
        self.name = name
        self.tensor = tensor


class _Pickled:
    """A tensor as `torch.save` writes it: a call that rebuilds it from its storage."""

    def __init__(self, storage: _Storage):
        self.storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        shape = self.storage.tensor.shape
        stride = torch.empty(shape, device="meta").stride()
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, shape, stride, False, OrderedDict())


class _StatePickler(pickle.Pickler):
    """Writes storages as references to the files of the archive."""

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        storage_type = getattr(torch, _name_of(obj.tensor, obj.name, STORAGE_TYPES, ".bin"))
        return ("storage", storage_type, obj.key, "cpu", obj.tensor.size)


def write_torch(path: Path, tensors: TensorMap) -> None:
    """A `torch.save` file of an ordered state dict; tied tensors share one storage."""
    storages: dict[int, _Storage] = {}
    for name, tensor in tensors.items():
        storages.setdefault(id(tensor), _Storage(str(len(storages)), name, tensor))
    state = OrderedDict((name, _Pickled(storages[id(tensor)])) for name, tensor in tensors.items())
    buffer = io.BytesIO()
    _StatePickler(buffer, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _write_record(archive, "data.pkl", memoryview(buffer.getvalue()))
        _write_record(archive, "byteorder", memoryview(sys.byteorder.encode()))
        for storage in storages.values():
            _write_record(archive, f"data/{storage.key}", raw_bytes(storage.tensor))
        _write_record(archive, "version", memoryview(b"3\n"))


def _write_record(archive: zipfile.ZipFile, name: str, content: memoryview) -> None:
    """One file of the archive, padded by an extra field so that its content is aligned."""
    info = zipfile.ZipInfo(f"archive/{name}")
    assert archive.fp is not None
    header = 30 + len(info.filename) + 20  # the fixed part, the name, the sizes of large files
    padding = -(archive.fp.tell() + header + 4) % ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    info.file_size = content.nbytes
    with archive.open(info, "w", force_zip64=True) as record:
        record.write(content)
