"""Completion as bash does it, with the script that the command prints."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from uer_ds.cli.main import main

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from contextlib import redirect_stdout

    path = tmp_path_factory.mktemp("completion") / "uer-ds.bash"
    with path.open("w", encoding="utf-8") as file, redirect_stdout(file):
        assert main(["completion", "bash"]) == 0
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretr"], {"pretrain"}),
        (["finetune", "classifier_m"], {"classifier_mt"}),
        (["pretrain", "--recipe", "gpt2_poem"], {"gpt2_poem_tiny"}),
        (["pretrain", "--ds_config", "zero3_off"], {"zero3_offload", "zero3_offload_bf16", "zero3_offload_fp16"}),
        (["pretrain", "--data_processor", "ml"], {"mlm"}),
        (["pretrain", "--whole_w"], {"--whole_word_masking"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], script: Path) -> None:
    line = " ".join(f"'{word}'" for word in ["uer-ds", *words])
    ask = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
    ask += '"$(complete -p uer-ds | sed -E "s/.*-F ([^ ]+).*/\\1/")"; printf "%s\\n" "${COMPREPLY[@]}"'
    found = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) == expected


def test_other_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert "#compdef uer-ds" in capsys.readouterr().out
    assert main(["completion", "fish"]) == 0
    assert "complete -c uer-ds" in capsys.readouterr().out
    assert main(["completion", "powershell"]) == 2
