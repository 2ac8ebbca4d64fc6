"""One pair of files, `.bin` and `.idx`, in Megatron's indexed format (version 1): token ids and the bounds of items
and documents.

`.bin` is nothing but token ids. `.idx`: a header of 34 bytes (9 of magic, version, data type, number of items, number
of bounds), then the sizes (int32, one an item), the byte offsets (int64, one an item) and the document bounds (int64,
item numbers). An item is a sentence, or a document, or one side of a pair; a document is a run of items.

Opening maps both files and compares their sizes with the header; it costs the same for ten documents and for 10^9.
megatron-core and DeepSpeed read these files and we read theirs. They agree on the numbers of the data types up to
int64 and on no unsigned one (16 bits are 8 in Megatron, 6 in DeepSpeed), so ids below 2^15 are stored as int16, which
both understand. Only `dtype_for_vocabulary`'s middle case (32,769 to 65,499 entries) is read by Megatron and by us,
but not by DeepSpeed.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from uer_ds.data.files import COPY_BYTES, FileRecord, FileWriter
from uer_ds.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")

# Number in the header -> what it may mean; the size of `.bin` decides. 6, 7 and 8 are Megatron's float64, float32 and
# uint16, but DeepSpeed's uint16, uint32 and uint64. Fractions are no token ids.
READABLE_TYPES: dict[int, tuple[str, ...]] = {
    1: ("u1",),
    2: ("i1",),
    3: ("<i2",),
    4: ("<i4",),
    5: ("<i8",),
    6: ("<u2",),
    7: ("<u4",),
    8: ("<u2", "<u8"),
}
WRITTEN_TYPES = {"int16": 3, "int32": 4, "uint16": 8}


def dtype_for_vocabulary(vocab_size: int) -> np.dtype[Any]:
    """The smallest type for ids: int16, then uint16 (up to Megatron's limit of 65,499 entries), then int32."""
    if vocab_size <= 1 << 15:
        return np.dtype(np.int16)
    return np.dtype(np.uint16) if vocab_size < 65500 else np.dtype(np.int32)


class IndexedDataset:
    """A read-only pair of files. Raises `UserError`, naming the file and its byte count, for anything that is not one.

    Attributes:
        dtype: numpy type of the ids.
        sizes: [items] int32, tokens in each item.
        pointers: [items] int64, byte offset of each item in `.bin`.
        document_bounds: [documents + 1] int64; document d is the items from document_bounds[d] to before
            document_bounds[d + 1].
        tokens: [tokens] ids of all items in one row, memory-mapped.
    """

    def __init__(self, prefix: str | Path):
        self.prefix = Path(prefix)
        index = _map(Path(f"{prefix}.idx"))
        data = _map(Path(f"{prefix}.bin"))
        code, items, bounds = self._read_header(index)
        end_of_sizes = HEADER.size + 4 * items
        end_of_pointers = end_of_sizes + 8 * items
        self.sizes: np.ndarray = index[HEADER.size : end_of_sizes].view("<i4")
        self.pointers: np.ndarray = index[end_of_sizes:end_of_pointers].view("<i8")
        self.document_bounds: np.ndarray = index[end_of_pointers : end_of_pointers + 8 * bounds].view("<i8")
        self._check_bounds()
        self.dtype = self._resolve_type(code, len(data))
        self.tokens: np.ndarray = data.view(self.dtype)

    def __reduce__(self) -> tuple[type[IndexedDataset], tuple[Path]]:
        return IndexedDataset, (self.prefix,)  # another process maps the files itself

    @property
    def items(self) -> int:
        return len(self.sizes)

    @property
    def documents(self) -> int:
        return len(self.document_bounds) - 1

    def token_start(self, item: int) -> int:
        """Where item number `item` begins in `tokens`; `items` itself gives the end."""
        return int(self.pointers[item]) // self.dtype.itemsize if item < self.items else len(self.tokens)

    def item(self, i: int) -> np.ndarray:
        """The ids of item `i`, a view."""
        start = self.token_start(i)
        return self.tokens[start : start + int(self.sizes[i])]

    def document(self, d: int) -> np.ndarray:
        """The ids of document `d`, all its items in a row, a view."""
        first, end = self.document_bounds[d : d + 2]
        return self.tokens[self.token_start(int(first)) : self.token_start(int(end))]

    def _read_header(self, index: np.ndarray) -> tuple[int, int, int]:
        name = f"{self.prefix}.idx"
        start = index[: len(MAGIC)].tobytes()
        if len(index) < HEADER.size and MAGIC.startswith(start):
            raise UserError(
                f"{name} is too short ({len(index)} of {HEADER.size} header bytes): it is truncated; make the dataset"
                " again or copy it again."
            )
        if start != MAGIC:
            raise UserError(
                f"{name} ({len(index)} bytes) begins with {start!r}; expected a Megatron index, which begins with"
                f" {MAGIC!r}: it is another kind of file or damaged; make the dataset again or copy it again."
            )
        _, version, code, items, bounds = HEADER.unpack(index[: HEADER.size].tobytes())
        if version != 1 or code not in READABLE_TYPES:
            raise UserError(
                f"{name} has version {version} and data type {code}; expected version 1 and a type of 1 to 8:"
                " it was made by another program or is damaged."
            )
        expected = HEADER.size + 12 * items + 8 * bounds
        if len(index) not in (expected, expected + items):  # Megatron may append one byte an item (modes)
            raise UserError(
                f"{name} has {len(index)} bytes, but its header ({items} items, {bounds} document bounds) asks for"
                f" {expected}: it is truncated or damaged; make the dataset again or copy it again."
            )
        return code, items, bounds

    def _check_bounds(self) -> None:
        if len(self.document_bounds) < 2 and self.items:  # nobody ended a document: every item is one
            self.document_bounds = np.arange(self.items + 1)
        last = int(self.document_bounds[-1]) if len(self.document_bounds) else -1
        if last != self.items:
            raise UserError(
                f"{self.prefix}.idx ends its last document at item {last} but has {self.items} items:"
                " it is damaged; make the dataset again or copy it again."
            )

    def _resolve_type(self, code: int, data_bytes: int) -> np.dtype[Any]:
        """The type that explains the number of bytes in `.bin`."""
        needed = []
        for name in READABLE_TYPES[code]:
            dtype = np.dtype(name)
            end = int(self.pointers[-1]) + int(self.sizes[-1]) * dtype.itemsize if self.items else 0
            needed.append(end)
            if end == data_bytes:
                return dtype
        raise UserError(
            f"{self.prefix}.bin has {data_bytes} bytes, but {self.prefix.name}.idx describes {needed[0]}:"
            " it is truncated or belongs to another index; make the dataset again or copy both files again."
        )


def _map(path: Path) -> np.ndarray:
    """The bytes of a file, memory-mapped; an empty file, which the system refuses to map, is an empty array."""
    try:
        if path.stat().st_size == 0:
            return np.empty(0, np.uint8)
        return np.asarray(
            np.memmap(path, np.uint8, mode="r")
        )  # without the subclass: its slices cost a microsecond more
    except FileNotFoundError:
        raise UserError(f"{path} is missing; a token shard is a .bin and an .idx file of the same name.") from None


class IndexedDatasetWriter:
    """Writes one pair of files; they appear under their names in `finish`, `.idx` last.

    Memory does not grow with the number of items: sizes and bounds wait in unnamed temporary files. As a context
    manager it finishes on success and leaves nothing behind on an exception.
    """

    def __init__(self, prefix: str | Path, dtype: np.dtype[Any] | type):
        self.prefix = Path(prefix)
        self.dtype = np.dtype(dtype)
        self.items = 0
        self.documents = 0
        self.tokens = 0
        self._code = WRITTEN_TYPES[self.dtype.name]
        self._limits = np.iinfo(self.dtype)
        self._last_bound = 0
        self._data = FileWriter(f"{prefix}.bin")
        self._sizes = tempfile.TemporaryFile(dir=self.prefix.parent)
        self._bounds = tempfile.TemporaryFile(dir=self.prefix.parent)

    def __enter__(self) -> IndexedDatasetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()

    def add_item(self, ids: np.ndarray | list[int]) -> None:
        """Append one item."""
        array = np.asarray(ids)
        self.add_items(array, np.array([0, len(array)]))

    def add_items(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        """Append many items: item i is ids[offsets[i] : offsets[i + 1]], and offsets cover all of `ids`."""
        assert offsets[0] == 0 and offsets[-1] == len(ids)
        if len(ids):
            assert self._limits.min <= ids.min() and ids.max() <= self._limits.max, "ids do not fit the file's type"
        self._data.write(np.ascontiguousarray(ids, dtype=self.dtype))
        self._sizes.write(np.diff(offsets).astype("<i4").tobytes())
        self.items += len(offsets) - 1
        self.tokens += len(ids)

    def end_document(self) -> None:
        """The items since the last bound are one document; without any item nothing happens."""
        self.end_documents(np.array([self.items]))

    def end_documents(self, bounds: np.ndarray) -> None:
        """Documents end before these items (numbers in the file, ascending); empty ones are dropped."""
        ends = bounds[np.diff(bounds, prepend=self._last_bound) > 0]
        if not len(ends):
            return
        assert ends[-1] <= self.items
        self._bounds.write(ends.astype("<i8").tobytes())
        self._last_bound = int(ends[-1])
        self.documents += len(ends)

    def finish(self) -> tuple[FileRecord, FileRecord]:
        """Make both files whole and durable; an open document is ended. Returns the records of `.bin` and `.idx`."""
        self.end_document()
        index = FileWriter(f"{self.prefix}.idx")
        try:
            self._write_index(index)
            records = self._data.finish(), index.finish()
        except BaseException:
            index.abort()
            self.abort()
            raise
        self._close_spools()
        return records

    def abort(self) -> None:
        """Forget everything written so far."""
        self._data.abort()
        self._close_spools()

    def _close_spools(self) -> None:
        self._sizes.close()
        self._bounds.close()

    def _write_index(self, index: FileWriter) -> None:
        index.write(HEADER.pack(MAGIC, 1, self._code, self.items, self.documents + 1))
        for sizes in _chunks(self._sizes, "<i4"):
            index.write(sizes)
        end = 0
        for sizes in _chunks(self._sizes, "<i4"):
            ends = end + np.cumsum(sizes, dtype=np.int64) * self.dtype.itemsize
            index.write(ends - sizes.astype(np.int64) * self.dtype.itemsize)
            end = int(ends[-1])
        index.write(np.zeros(1, "<i8"))
        for bounds in _chunks(self._bounds, "<i8"):
            index.write(bounds)


def _chunks(file: IO[bytes], dtype: str) -> Any:
    """The numbers in a file from its start, some MB at a time."""
    file.seek(0)
    while data := file.read(COPY_BYTES):
        yield np.frombuffer(data, dtype)
