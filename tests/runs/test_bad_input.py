"""Every mistake gets one sentence on stderr, exit status 2, no traceback, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs.conftest import TINY_MODEL, Run, pretrain_options, two_by_deepspeed
from uer_ds.cli.main import main
from uer_ds.config.resources import resource_names
from uer_ds.config.trials import fold_path
from uer_ds.storage.lock import FolderLock


def mistake(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run a command that must fail; returns its one sentence."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("uer-ds: ")
    assert "\n" not in said
    assert said.endswith(".")
    return said


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """Where the run would write; afterwards there must be no checkpoint, whole or partial."""
    yield tmp_path / "run"
    assert not list((tmp_path / "run").glob("*checkpoint*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset_path": "nowhere"}, "nowhere"),
        ({"encoder": "transfomer"}, "did you mean 'transformer'"),
        ({"scheduler": "linaer"}, "did you mean 'linear'"),
        ({"learning_rte": "1"}, "did you mean --learning_rate"),
        ({"total_stepps": "1"}, "did you mean --total_steps"),
        ({"batch_size": "many"}, "--batch_size"),
        ({"ds_config": "zero9"}, "--ds_config: no such file: zero9"),
        ({"config_path": "tiny"}, "--config_path: no such file: tiny"),
        ({"model": "gpt2"}, "model.json and --model gpt2; give one of them"),
        ({"config_path": None, "model": "roberta_L-2_H-100"}, "--model roberta_L-2_H-100: 2 layers of width 100"),
        ({"output_model_path": None}, "--output_model_path is missing"),
        ({"seq_length": 65}, "max_seq_length 64"),
        ({"total_steps": 0}, "--total_steps is 0"),
        ({"world_size": 3, "gpu_ranks": 5}, "rank 5, but --world_size is 3"),
        ({"target": "t5", "data_processor": "mlm"}, "old name of a whole objective"),
        ({"target": "sp"}, "target 'sp' has no labels in data_processor 'mlm'"),
    ],
)
def test_a_bad_option_is_named(
    options: dict[str, Any], words: str, material: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, **options))
    assert words in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hiden_size": 32}, "did you mean 'hidden_size'"),
        ({"heads_num": 5}, "heads_num 5"),
        ({"vocab_size": 7}, "vocab_size is 7"),
    ],
)
def test_a_bad_model_file_is_named(
    change: dict[str, Any], words: str, material: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bad_model.json", json.dumps({**TINY_MODEL, **change}))
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, config_path=path))
    assert words in said
    assert "bad_model.json" in said or "model JSON" in said


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"train_batch_size": 999}, "train_batch_size is 999"),
        ({"gradient_clipping": 0.5}, "gradient_clipping is 0.5, but the command line says --max_grad_norm 1.0"),
        ({"zero_optimization": {"stage": 7}}, "DeepSpeed refuses this configuration: "),
        ({"compile": {"deepcompile": True}}, "compile.deepcompile needs a GPU"),
        ({"zero_optimization": {"stage": 3, "mics_shard_size": 2}}, "MiCS ZeRO-3 sharding has been removed"),
    ],
)
def test_a_deepspeed_file_that_contradicts_the_options(
    engine: dict[str, Any], words: str, material: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "ds.json", json.dumps(engine))
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, ds_config=path))
    assert words in said
    assert "ds.json" in said


def test_a_dataset_of_another_vocabulary(
    material: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = (material / "vocab.txt").read_text(encoding="utf-8")
    other = write(tmp_path / "other.txt", vocabulary + "another\n")
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, vocab_path=other))
    assert "was made with another vocabulary than" in said
    assert "other.txt" in said


def test_a_dataset_without_a_sample_never_hangs(
    material: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next-sentence objective needs sentences; a dataset of one-line documents has none."""
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, data_processor="bert", target="mlm"))
    assert str(material / "dataset") in said


def test_a_checkpoint_that_does_not_fit(
    material: Path, output: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    run("uer-ds", "pretrain", *pretrain_options(material, small, total_steps=1))
    wide = write(tmp_path / "wide.json", json.dumps({**TINY_MODEL, "emb_size": 64, "hidden_size": 64}))
    start = {"pretrained_model_path": small / "checkpoint-1", "config_path": wide}
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, **start))
    assert "checkpoint-1" in said
    assert "32" in said
    assert "64" in said


def test_a_port_in_use(material: Path, output: Path, capsys: pytest.CaptureFixture[str], run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        done = run("uer-ds", "pretrain", *pretrain_options(material, output), expect=2, **place)
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(disk: Callable[[str], Path]) -> Path:
    return disk("256k")


def test_a_full_disk(material: Path, small_disk: Path, run: Run) -> None:
    done = run("uer-ds", "pretrain", *pretrain_options(material, small_disk / "run", total_steps=2), expect=2)
    assert "a checkpoint needs about" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((small_disk / "run").glob("*checkpoint*"))


def test_a_read_only_output_folder(
    material: Path, small_disk: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = mistake(capsys, "pretrain", *pretrain_options(material, small_disk / "run"))
    assert f"--output_model_path {small_disk / 'run'} cannot be written (Read-only file system)" in said


def tuning_options(material: Path, output: Path) -> list[str]:
    """A classifier of two classes, with its training file beside `output`."""
    examples = write(output.parent / "train.tsv", "label\ttext_a\n" + "0\t中文\n1\t文中\n" * 4)
    files = {"train_path": examples, "vocab_path": material / "vocab.txt", "config_path": material / "model.json"}
    words = [word for name, value in files.items() for word in (f"--{name}", str(value))]
    return ["classifier", *words, "--output_model_path", str(output)]


@pytest.mark.parametrize("command", ["finetune", "grid"])
def test_the_folder_of_a_pre_training_run_is_not_tuned_into(
    command: str, material: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run("uer-ds", "pretrain", *pretrain_options(material, folder, total_steps=1))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dev = ("--dev_path", str(tmp_path / "train.tsv"))
    said = mistake(capsys, command, *tuning_options(material, folder), *dev)
    assert "holds checkpoint-1 of a pre-training run, whose records would be overwritten; choose another folder" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["pretrain", "finetune", "cv"])
def test_a_folder_that_another_run_holds(
    command: str, material: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning = tuning_options(material, output)
    options = {
        "pretrain": pretrain_options(material, output),
        "finetune": [*tuning, "--dev_path", str(output.parent / "train.tsv")],
        "cv": [*tuning, "--folds_num", "2", "--train_features_path", str(output.parent / "features.npy")],
    }
    with FolderLock(Path(fold_path(str(output), 0)) if command == "cv" else output, "--output_model_path"):
        said = mistake(capsys, command, *options[command])
    assert f"is being written by another run (process {os.getpid()} {socket.gethostname()})" in said


def test_debug_shows_the_traceback(material: Path, output: Path, run: Run) -> None:
    done = run("uer-ds", "pretrain", "--debug", *pretrain_options(material, output, ds_config="zero9"), expect=1)
    assert "Traceback" in done.stderr
    assert "UserError" in done.stderr


class TestText:
    """Mistakes in corpora and vocabularies."""

    def preprocess(self, capsys: pytest.CaptureFixture[str], corpus: Path, vocabulary: Path, dataset: Path) -> str:
        command = (
            "--corpus_path",
            corpus,
            "--vocab_path",
            vocabulary,
            "--dataset_path",
            dataset,
            "--data_processor",
            "mlm",
        )
        said = mistake(capsys, "preprocess", *command)
        assert not dataset.exists()
        return said

    def test_missing_file(self, material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.preprocess(capsys, tmp_path / "none.txt", material / "vocab.txt", tmp_path / "d")
        assert "none.txt" in said

    def test_empty_corpus(self, material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        corpus = write(tmp_path / "empty.txt", "\n\n")
        said = self.preprocess(capsys, corpus, material / "vocab.txt", tmp_path / "d")
        assert "empty.txt" in said

    def test_not_utf8(self, material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        corpus = write(tmp_path / "gbk.txt", "好\n".encode() + "中文".encode("gbk") + b"\n")
        said = self.preprocess(capsys, corpus, material / "vocab.txt", tmp_path / "d")
        assert "gbk.txt" in said
        assert "byte 4" in said
        assert "line 2" in said

    def test_vocabulary_without_mask(self, material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = (material / "vocab.txt").read_text(encoding="utf-8").replace("[MASK]\n", "")
        said = self.preprocess(capsys, material / "text.txt", write(tmp_path / "no_mask.txt", text), tmp_path / "d")
        assert "no_mask.txt" in said
        assert "[MASK]" in said


@pytest.mark.parametrize("name", [name for name in resource_names("ds_configs") if name.endswith("fp16")])
def test_fp16_where_the_device_has_none(
    name: str, material: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from deepspeed.accelerator import get_accelerator

    if get_accelerator().is_fp16_supported():
        pytest.skip("this device computes in float16")
    said = mistake(capsys, "pretrain", *pretrain_options(material, output, ds_config=name))
    assert f"{name}.json" in said
    assert "fp16 is not supported" in said


def test_two_ranks_on_a_full_disk_both_end(material: Path, small_disk: Path, run: Run) -> None:
    options = pretrain_options(material, small_disk / "run", total_steps=2)
    done = run(*two_by_deepspeed("launch/pretrain.py", *options), expect=2, timeout=120)
    assert done.stderr.count("a checkpoint needs about") == 1
    assert "Traceback" not in done.stderr


def test_a_run_is_resumed_only_as_the_same_run(
    material: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run("uer-ds", "pretrain", *pretrain_options(material, folder, total_steps=1))
    for change, words in (
        ({"seed": 8}, "was trained with --seed 7, this run has 8"),
        ({"dataset_path": material / "held_out"}, "was trained on other data than there is now (fingerprint "),
        ({"seq_length": 16}, "data.seq_length 32, this run has 16"),
        ({"layernorm": "uer"}, "model.layernorm default, this run has uer"),
        ({"global_batch_size": 24}, "no multiple of 1 process x --batch_size 16 = 16; the nearest that work: "),
        ({"no_resume": True}, "give --force to remove them"),
    ):
        said = mistake(capsys, "pretrain", *pretrain_options(material, folder, **{"total_steps": 2, **change}))
        assert words in said
    assert (folder / "checkpoint-1" / "state.json").is_file()
    run("uer-ds", "pretrain", *pretrain_options(material, folder, total_steps=2, no_resume=True, force=True))
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
