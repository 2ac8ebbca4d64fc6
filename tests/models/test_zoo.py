"""Names of models, their files, and their sizes without allocating them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from uer_ds.cli import models as models_command
from uer_ds.config.model import ModelConfig
from uer_ds.config.resources import resource_names
from uer_ds.errors import UserError
from uer_ds.models.model import build_shapes, count_parameters
from uer_ds.models.zoo import GRID, model_place, resolve_model

VOCABULARY = 21128
ROOT = Path(__file__).resolve().parents[2]


def count(config: ModelConfig | str) -> int:
    """Parameters of a configuration or of the model with a name; none is allocated."""
    config = resolve_model(config) if isinstance(config, str) else config
    return count_parameters(build_shapes(config.replace(vocab_size=VOCABULARY)))


def transformer(width: int, inner: int, layers: int) -> int:
    """Parameters of biased, ungated layers with two layer norms each."""
    return layers * (4 * width * (width + 1) + inner * (width + 1) + width * (inner + 1) + 4 * width)


@pytest.mark.parametrize("name", resource_names("models"))
def test_every_file_is_a_model(name: str) -> None:
    config = resolve_model(name)
    if config.layers_num:  # two layers say as much as eighty
        decoder_layers = 2 if config.decoder else None
        config = config.replace(layers_num=2, decoder_layers_num=decoder_layers)
    assert count(config) > 10**6


def test_counts_follow_from_the_sizes() -> None:
    table, mlm = VOCABULARY * 768, 768 * 769 + 2 * 768 + VOCABULARY
    bert = table + 512 * 768 + 3 * 768 + 2 * 768 + transformer(768, 3072, 12) + mlm
    assert count("bert/base") == bert + 768 * 769 + 2 * 769
    assert count("roberta_L-12_H-768") == bert
    assert count("gpt2") == table + 1024 * 768 + transformer(768, 3072, 12) + 2 * 768
    assert count("llama/7b") == 2 * VOCABULARY * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096


def test_the_grid_needs_no_files() -> None:
    assert len(GRID) == 24
    for name in GRID:
        config = resolve_model(name)
        assert name == f"roberta_L-{config.layers_num}_H-{config.hidden_size}"
        assert config.heads_num == config.hidden_size // 64  # type: ignore[operator]
        assert config.feedforward_size == 4 * config.hidden_size  # type: ignore[operator]
        assert config.target == ("mlm",)


@pytest.mark.parametrize(
    ("name", "words"),
    [("roberta_L-2_H-100", "a multiple of 64"), ("bert/tinny", "the nearest name in models/ is 'bert/tiny_config'")],
)
def test_a_wrong_name_is_refused(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_model(name)


def test_a_file_goes_before_a_grid_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_place("roberta_L-2_H-128") == "roberta_L-2_H-128"
    file = Path("roberta_L-2_H-128")
    file.write_text((ROOT / "models" / "gpt2" / "config.json").read_text("utf-8"), "utf-8")
    assert model_place(file.name) == file.name
    assert resolve_model(file.name).target == ("lm",)


def test_the_list_has_every_name_with_its_exact_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert models_command.run(argparse.Namespace(vocab_size=VOCABULARY)) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split() for line in lines if line}
    assert {*GRID, "bert/base", "gpt2", "t5-v1_1/xxlarge", "llama2/70b", "sbert/base"} <= cells.keys()
    grid = ["roberta_L-8_H-512", f"{count('roberta_L-8_H-512'):,}", f"{VOCABULARY:,}", "8", "512", "transformer", "mlm"]
    assert cells["roberta_L-8_H-512"] == grid
    assert cells["pegasus/large"][1:5] == [f"{count('pegasus/large'):,}", f"{VOCABULARY:,}", "16+16", "1024"]
    assert max(map(len, lines)) <= 100


def test_resolving_imports_no_torch() -> None:
    code = (
        "import sys; from uer_ds.models.zoo import resolve_model; resolve_model('gpt2'); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.strip() == "False"
