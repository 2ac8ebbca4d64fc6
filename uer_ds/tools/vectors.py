"""Files of vectors, written as they come: .npy, .parquet with the texts, .pt as UER-py writes it. N rows, H width.

The file gets its name when it is whole; memory does not grow with it (but for .pt, which torch writes in one piece).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.storage.files import replacing
from uer_ds.tools.features import Vectors

ROWS = 4096
"""Vectors in memory at a time."""


class Growing:
    """Vectors on disk whose number is not known yet: `append`, then `blocks` as often as wanted.

    The texts, one for each, lie in a file beside them.
    """

    def __init__(self, folder: Path):
        self._numbers, self._texts = folder / "vectors.raw", folder / "texts.txt"
        self._out = self._numbers.open("wb"), self._texts.open("w", encoding="utf-8", newline="\n")
        self.count, self.width = 0, 0

    def append(self, text: str, vector: Vectors) -> None:
        """One more, float32 [H]."""
        self._out[0].write(vector.tobytes())
        print(text, file=self._out[1])
        self.count, self.width = self.count + 1, len(vector)

    def close(self) -> None:
        """Nothing more will come."""
        for file in self._out:
            file.close()

    def blocks(self) -> Iterator[Vectors]:
        """All vectors in order, [n, H] at a time."""
        for start in range(0, self.count, ROWS):
            shape = (min(ROWS, self.count - start), self.width)
            yield np.fromfile(self._numbers, np.float32, shape[0] * shape[1], offset=4 * start * self.width).reshape(
                shape
            )

    def texts(self) -> Iterator[str]:
        """All texts in order."""
        with self._texts.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n")


def write_vectors(path: Path, blocks: Iterable[Vectors], count: int, width: int, texts: Iterator[str]) -> None:
    """`count` vectors of `width` numbers, in the format that the ending says; replaces the file when all is written."""
    with replacing(path) as temporary:
        _WRITERS[path.suffix](temporary, blocks, (count, width), texts)


def _npy(path: Path, blocks: Iterable[Vectors], shape: tuple[int, int], texts: Iterator[str]) -> None:
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4").tobytes())


def _parquet(path: Path, blocks: Iterable[Vectors], shape: tuple[int, int], texts: Iterator[str]) -> None:
    """Columns `text` and `vector`, a list of H float32."""
    import pyarrow
    import pyarrow.parquet

    fields = [("text", pyarrow.string()), ("vector", pyarrow.list_(pyarrow.float32(), shape[1]))]
    with pyarrow.parquet.ParquetWriter(path, pyarrow.schema(fields)) as file:
        for block in blocks:
            numbers = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.reshape(-1)), shape[1])
            words = list(islice(texts, len(block)))
            file.write_table(pyarrow.table([pyarrow.array(words), numbers], schema=pyarrow.schema(fields)))


def _pt(path: Path, blocks: Iterable[Vectors], shape: tuple[int, int], texts: Iterator[str]) -> None:
    import torch

    torch.save(torch.from_numpy(np.concatenate(list(blocks))), path)


_WRITERS: dict[str, Any] = {".npy": _npy, ".parquet": _parquet, ".pt": _pt}


def scratch_folder(path: Path) -> Path:
    """A new folder beside `path` for what is not ready yet (a run that was killed may have left one: it is emptied)."""
    folder = path.with_name(f".{path.name}.work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
