"""`uer-ds submit`: what it refuses before a job waits in a queue, and what it fills in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy_dataset import random_documents, toy_dataset
from uer_ds.cli.main import main


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    return str(toy_dataset(tmp_path / "dataset", random_documents(40, 30)).folder)


def test_a_dry_run_shows_the_script_with_a_default_output(dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "--recipe", "bert_xlarge", "--nodes", "4", "--dry_run"]
    assert main([*words, "--", "--dataset_path", dataset]) == 0
    script = capsys.readouterr().out
    assert f"OUTPUT={Path.cwd() / 'output' / 'bert_xlarge'}\n" in script
    assert "--output_model_path output/bert_xlarge)" in script
    assert "#SBATCH --exclusive" in script


def test_a_dry_run_without_a_dataset_checks_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    """The shortest command there is."""
    words = ["submit", "--recipe", "bert_xlarge", "--nodes", "4"]
    assert main([*words, "--dry_run"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("#!/bin/bash\n#SBATCH")
    assert "no --dataset_path yet" in said.err
    assert main([*words, "--dry_run", "--", "--batch_size", "7"]) == 2
    assert "--global_batch_size 512 is no multiple of" in capsys.readouterr().err
    assert main([*words, "--dry_run", "--", "--dataset_path", "nowhere"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_processes_that_do_not_divide_the_batch_are_refused(dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "--recipe", "bert_xlarge", "--nodes", "3", "--gpus_per_node", "8", "--dry_run"]
    assert main([*words, "--", "--dataset_path", dataset]) == 2
    said = capsys.readouterr().err
    assert "--global_batch_size 512 is no multiple of 24 processes" in said
    assert "the nearest that work: " in said


def test_hosts_get_deepspeed_s_own_options(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hosts").write_text("a slots=2\nb slots=2\n")
    words = ["submit", "--hostfile", str(tmp_path / "hosts"), "--launcher", "openmpi", "--dry_run"]
    words += ["--deepspeed=--master_addr=10.0.0.1", "--", "--recipe", "bert_base", "--dataset_path", dataset]
    assert main(words) == 0
    shown = capsys.readouterr().out.split()
    assert shown[shown.index("--launcher") + 1] == "openmpi"
    assert shown.index("--master_addr=10.0.0.1") < shown.index("--recipe")
    assert shown[-1] == "output/bert_base"
