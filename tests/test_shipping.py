"""What is shipped: wheel and sdist work in an empty folder, from text to texts; the Dockerfile is linted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from uer_ds.engine.ops_cache import cache_folder

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from setuptools import build_meta as b; b.build_{}('../dist')"
TEXT = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少床前明月光疑是地上霜举头望明月低头思故乡"


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of a clean copy."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git, which tells what is shipped")
    folder = tmp_path_factory.mktemp("ship")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    for kind in ("sdist", "wheel"):
        run(sys.executable, "-c", BUILD.format(kind), cwd=folder / "source")
    return folder / "dist"


@pytest.fixture(scope="module")
def program(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`uer-ds` of the wheel, in an environment that has our requirements but not this tree."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    here = next((folder / "lib").glob("python*")) / "site-packages"
    # Its own .pth files, and so the editable install of this tree, are not followed.
    (here / "requirements.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index"]
    run(*pip, next(built.glob("*.whl")), cwd=folder)
    return folder / "bin" / "uer-ds"


def test_the_sdist_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    run(sys.executable, "-c", BUILD.format("wheel"), cwd=source)
    first, second = (zipfile.ZipFile(next(folder.glob("*.whl"))) for folder in (built, tmp_path / "dist"))
    assert sorted(first.namelist()) == sorted(second.namelist())
    names = [name for name in first.namelist() if not name.endswith("RECORD")]
    assert len(names) > 300 and all(first.read(name) == second.read(name) for name in names)
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


def test_from_text_to_texts_in_an_empty_folder(
    program: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ops = tmp_path_factory.mktemp("ops") / "compiled"
    if cache_folder().is_dir():  # DeepSpeed's C++ parts, as this machine has compiled them before: twenty seconds
        shutil.copytree(cache_folder(), ops)

    def uer_ds(line: str) -> str:
        variables = {"DS_ACCELERATOR": "cpu", "PYTHONPATH": "", "TORCH_EXTENSIONS_DIR": str(ops)}
        return run(program, *line.split(), cwd=tmp_path, **variables)

    where = "import uer_ds; print(uer_ds.__file__)"
    assert run(program.parent / "python", "-c", where, cwd=tmp_path).startswith(str(program.parents[1]))
    assert re.fullmatch(r"uer-ds \d+\.\d+\.\d+\n", uer_ds("--version"))
    (tmp_path / "corpus.txt").write_text("".join(TEXT[n % 20 :] + "\n" for n in range(80)), encoding="utf-8")
    uer_ds("vocab --corpus_path corpus.txt --delimiter char --output_path vocab.txt")
    text = "--corpus_path corpus.txt --vocab_path vocab.txt --tokenizer char"
    uer_ds(f"preprocess {text} --dataset_path dataset --data_processor lm")
    model = "--config_path gpt2/poem_tiny_config --ds_config zero1 --seq_length 32 --batch_size 4"
    uer_ds(f"pretrain --dataset_path dataset --output_model_path output {model} --total_steps 3 --report_steps 1")
    uer_ds("convert output output_hf --to huggingface")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "output_hf").iterdir()}
    assert len((tmp_path / "output" / "metrics.jsonl").read_text().splitlines()) == 3
    said = [
        uer_ds(f"generate --load_model_path {name} --prompt 春眠 --greedy --max_new_tokens 6 --ignore_end")
        for name in ("output", "output_hf")
    ]
    assert said[0] == said[1] and said[0].startswith("春眠") and len(said[0].strip()) > 2


def test_the_dockerfile() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [name for _, name in stages] == ["base", "cpu", "cuda"] and ":latest" not in text
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split()[:-1]), line
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is None:
        pytest.skip("no hadolint")
    run(linter, "Dockerfile", cwd=ROOT)
