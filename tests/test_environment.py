"""Problems of installation end in one clear sentence.

Environment.sh in a folder of its own, with stand-ins for programs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OLD_PYTHON = '#!/bin/sh\ncase "$2" in *sys.exit*) exit 1 ;; *) echo 3.8.18 ;; esac\n'
SMALL_DISK = '#!/bin/sh\necho "Filesystem 1M-blocks Used Available Capacity Mounted on"\necho "x 9 9 100 9% /"\n'


def program(folder: Path, name: str, text: str) -> Path:
    """An executable script `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def shell(folder: Path, command: str, path: str | None = None) -> str:
    """Run a function of environment.sh that must fail; returns its one sentence."""
    bash = shutil.which("bash")
    assert bash
    environ = {"PATH": path or "/usr/bin:/bin", "HOME": str(folder)}
    words = [bash, "-c", f". {ROOT}/environment.sh; {command}"]
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("setup: ")
    return lines[0]


def test_no_python(tmp_path: Path) -> None:
    assert "no-such-python is not installed" in shell(tmp_path, "check_machine no-such-python")


def test_an_old_python(tmp_path: Path) -> None:
    old = program(tmp_path, "python3", OLD_PYTHON)
    assert "is Python 3.8.18; 3.10 or newer is needed" in shell(tmp_path, f"check_machine {old}")


def test_no_compiler(tmp_path: Path) -> None:
    assert "no C++ compiler" in shell(tmp_path, f"check_machine {sys.executable}", path=str(tmp_path))


def test_no_disk(tmp_path: Path) -> None:
    program(tmp_path / "bin", "df", SMALL_DISK)
    program(tmp_path / "bin", "c++", "#!/bin/sh\n")
    said = shell(tmp_path, f"check_machine {sys.executable}", path=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert "100 MB are free here, about 4000 are needed" in said


@pytest.mark.parametrize(
    ("pip_says", "words"),
    [
        ("NewConnectionError: failed", "the package index cannot be reached"),
        ("OSError: No space left on device", "the disk is full"),
        ("ERROR: No matching distribution found for x", "No matching distribution found for x"),
    ],
)
def test_pip_fails(pip_says: str, words: str, tmp_path: Path) -> None:
    program(tmp_path / ".venv" / "bin", "python", f"#!/bin/sh\necho '{pip_says}'\nexit 1\n")
    assert words in shell(tmp_path, "pip_install log something")
