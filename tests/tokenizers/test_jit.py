"""Compiled code is kept on disk, compiling is announced once, and a folder that cannot be written is no obstacle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
from uer_ds.tokenizers.jit import compiled

@compiled("int64(int64)")
def twice(x):
    return 2 * x

@compiled("int64(int64)")
def thrice(x):
    return x + twice(x)
"""


def run(folder: Path, home: Path) -> tuple[str, str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "HOME": str(home)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", "import kernel_module as m; print(m.thrice(7))"],
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip(), done.stderr


def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    (tmp_path / "kernel_module.py").write_text(MODULE)
    answer, said = run(tmp_path, tmp_path)
    assert answer == "21" and said.count("Compiling") == 1
    assert list((tmp_path / "__pycache__").glob("*.nbc"))
    assert run(tmp_path, tmp_path) == ("21", "")


def test_the_cache_moves_when_the_package_cannot_be_written(tmp_path: Path) -> None:
    """A file where the cache folder should be stands for a read-only installation (which root could write)."""
    package, home = tmp_path / "package", tmp_path / "home"
    package.mkdir()
    home.mkdir()
    (package / "kernel_module.py").write_text(MODULE)
    (package / "__pycache__").write_text("")
    assert run(package, home)[0] == "21"
    assert list(home.rglob("*.nbc"))
    assert run(package, home) == ("21", "")


def test_without_any_place_for_the_cache_it_still_works(tmp_path: Path) -> None:
    package, home = tmp_path / "package", tmp_path / "home"
    package.mkdir()
    home.write_text("")
    (package / "kernel_module.py").write_text(MODULE)
    (package / "__pycache__").write_text("")
    answer, said = run(package, home)
    assert answer == "21" and said.count("Compiling") == 1
