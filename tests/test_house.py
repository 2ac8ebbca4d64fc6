"""The shape of the house: imports point one way, doors hold no logic, the command line answers at once."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "uer_ds"
DOOR_FOLDERS = ("launch", "preprocess", "finetune", "convert")

# Rooms from the ground up; a module may import from its own level or below.
LEVELS = {
    "errors": 0,
    "storage": 0,
    "objective_specs": 0,
    "registry": 0,
    "config": 1,
    "launch": 1,
    "tokenizers": 2,
    "data": 3,
    "models": 4,
    "objectives": 4,
    "plan": 5,
    "report": 3,
    "engine": 5,
    "demo": 1,
    "train": 6,
    "generate": 6,
    "tools": 6,
    "finetune": 7,
    "convert": 7,
    "doctor": 7,
    "cli": 8,
    "__main__": 9,
}
NEEDS_TORCH = {"data.batch", "data.blend", "data.loader", "data.samples"}
"""Modules of data in flight; all other data modules are numpy only."""
LIGHT_STORAGE = {f"storage.{name}" for name in ("checksums", "disk", "files", "lines", "lock", "places")}
"""Modules of files without tensors: what numpy rooms may import of that room."""


def modules() -> dict[str, Path]:
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    """Names of the modules that `path` imports; type-checking blocks do not count."""
    found: set[str] = set()
    body = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(n)
        for b in ast.walk(body)
        if isinstance(b, ast.If) and "TYPE_CHECKING" in ast.unparse(b.test)
        for n in ast.walk(b)
    }
    for node in body.body if top_level_only else ast.walk(body):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(name: str) -> str:
    return name.split(".")[0]


def test_imports_point_one_way() -> None:
    wrong = []
    for name, path in modules().items():
        for target in imported(path):
            level = LEVELS.get(room(target.removeprefix("uer_ds.")), 0) if target.startswith("uer_ds.") else 0
            if name and level > LEVELS[room(name)]:
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_every_room_has_a_level() -> None:
    assert {room(name) for name in modules() if name} == set(LEVELS) - ({"finetune"} - {room(n) for n in modules()})


@pytest.mark.parametrize(
    ("library", "rooms"),
    [("deepspeed", {"engine"}), ("argparse", {"cli"}), ("torch.distributed", {"engine"})],
)
def test_a_library_has_one_home(library: str, rooms: set[str]) -> None:
    users = {room(n) for n, path in modules().items() if any(f"{i}.".startswith(f"{library}.") for i in imported(path))}
    assert users <= rooms


def test_numpy_rooms_do_not_import_torch() -> None:
    heavy = NEEDS_TORCH | {name for name in modules() if room(name) == "storage"} - LIGHT_STORAGE - {"storage"}
    wrong = [
        name
        for name, path in modules().items()
        if (room(name) in ("config", "launch", "tokenizers") or (room(name) == "data" and name not in NEEDS_TORCH))
        or name in LIGHT_STORAGE
        if any(room(i) == "torch" or i.removeprefix("uer_ds.") in heavy for i in imported(path))
    ]
    assert not wrong


def test_environment_variables_are_read_at_the_edges_only() -> None:
    wrong = [
        name
        for name, path in modules().items()
        if room(name) in ("config", "data", "models", "objectives", "train") and "os.environ" in path.read_text("utf-8")
    ]
    assert not wrong


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        str(p) for p in [*PACKAGE.rglob("*.py"), *doors()] if not ast.get_docstring(ast.parse(p.read_text("utf-8")))
    ]
    assert not silent


def doors() -> list[Path]:
    return [path for folder in DOOR_FOLDERS for path in (ROOT / folder).glob("*.py")]


@pytest.mark.parametrize("door", doors(), ids=lambda path: path.name)
def test_doors_hold_no_logic(door: Path) -> None:
    body = ast.parse(door.read_text(encoding="utf-8")).body
    assert not [
        n for n in ast.walk(ast.Module(body, [])) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.For, ast.While))
    ]
    assert len(body) == 6  # docstring, three imports, the path, the call
    assert "uer_ds.cli.main" in imported(door)


def test_doors_are_not_named_like_modules() -> None:
    standard = set(sys.stdlib_module_names)
    assert not [d.name for d in doors() if d.stem in standard | {"tokenizers", "torch", "numpy", "deepspeed"}]


def test_the_wheel_carries_every_json() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["data-files"]
    for folder in ("models", "ds_configs", "launch/recipes"):
        for path in (ROOT / folder).rglob("*.json"):
            here = path.parent.relative_to(ROOT).as_posix()
            assert declared[f"share/uer_ds/{here}"] == [f"{here}/*.json"]


@pytest.mark.parametrize("command", ["", "preprocess", "vocab", "report"])
def test_light_commands_import_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from uer_ds.cli.main import main\n"
        f"try: main({[c for c in [command] if c] + ['--help']!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'deepspeed', 'numba', 'pyarrow', 'transformers', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_the_wheel_carries_what_clusters_need() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["data-files"]
    carried = {path for globs in declared.values() for glob in globs for path in ROOT.glob(glob)}
    needed = {path for path in (ROOT / "launch").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert needed - carried == set((ROOT / "launch").glob("*.py"))  # doors, which `uer-ds` opens too
