"""The public names, lazily imported, and every example of their documentation, run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import uer_ds
from tests.runs.conftest import ROOT, write_text
from uer_ds.cli.main import main
from uer_ds.models.weights import save_weights

DOCS = ROOT / "docs"
TEXT = "今天天气很好"


def examples(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)


@pytest.fixture
def material_of_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vocab.txt, corpus_zh and model.bin in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "text.txt", 100, seed=4)
    with (tmp_path / "text.txt").open("a", encoding="utf-8") as file:
        file.write(f"{TEXT}\n" * 5)
    assert main(["vocab", "--corpus_path", "text.txt", "--delimiter", "bert", "--output_path", "vocab.txt"]) == 0
    made = ["--vocab_path", "vocab.txt", "--dataset_path", "corpus_zh", "--data_processor", "mlm"]
    assert main(["preprocess", "--corpus_path", "text.txt", *made]) == 0
    size = uer_ds.load_tokenizer(vocab_path="vocab.txt").vocab_size
    model = uer_ds.build_model(uer_ds.load_config("roberta_L-2_H-128", vocab_size=size))
    save_weights(model.state_dict(), "model.bin")


def test_every_example_runs(material_of_the_examples: None) -> None:
    scope: dict[str, Any] = {}
    for number, code in enumerate(examples("api.md")):
        exec(compile(code, f"docs/api.md, example {number + 1}", "exec"), scope)
    assert number == 6
    model = scope["model"]
    state = torch.load("model.bin", weights_only=True)
    assert all(torch.equal(parameter, state[name]) for name, parameter in model.state_dict().items())
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_both_languages_show_the_same_examples() -> None:
    assert examples("api.md") == examples("api_zh.md")


def test_every_public_name_is_documented() -> None:
    for document in ("api.md", "api_zh.md"):
        text = (DOCS / document).read_text("utf-8")
        assert not [name for name in uer_ds.__all__ if name not in text]


def test_names_are_there_and_cost_nothing_before_they_are_used() -> None:
    code = (
        "import sys, uer_ds\n"
        "assert not {'torch', 'numpy', 'deepspeed'} & set(sys.modules)\n"
        "uer_ds.load_config('bert/tiny'), uer_ds.UserError\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(uer_ds.__all__) <= set(dir(uer_ds))\n"
        "for name in uer_ds.__all__: getattr(uer_ds, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="no attribute 'load_wheights'; it has Batch"):
        uer_ds.load_wheights  # noqa: B018


def test_a_configuration_comes_from_wherever_it_lies(tmp_path: Path) -> None:
    tiny = uer_ds.load_config("bert/tiny")
    assert uer_ds.load_config(ROOT / "models" / "bert" / "tiny_config.json") == tiny
    assert uer_ds.load_config(tiny.to_dict(), layers_num=1) == tiny.replace(layers_num=1)
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    (folder / "state.json").write_text("{}")
    (folder / "config.json").write_text((ROOT / "models" / "bert" / "tiny_config.json").read_text("utf-8"), "utf-8")
    assert uer_ds.load_config(folder) == uer_ds.load_config(tmp_path) == tiny


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layer_num": 2}, "did you mean 'layers_num'"),
        ({"emb_size": 8}, "is missing"),
        ("bert/tinny", "the nearest name in models/ is 'bert/tiny_config'"),
        ("", "no such file"),
    ],
)
def test_a_configuration_that_is_none_is_refused(values: Any, words: str) -> None:
    with pytest.raises(uer_ds.UserError, match=words):
        uer_ds.load_config(values)


def test_a_configuration_of_hugging_face_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    with pytest.raises(uer_ds.UserError, match="uer-ds convert --to uer"):
        uer_ds.load_config(tmp_path)
