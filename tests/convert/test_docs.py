"""The page about conversion: its commands run as they stand, one after the other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from uer_ds.cli.main import main
from uer_ds.convert import convert
from uer_ds.models.weights import save_weights
from uer_ds.tokenizers import load_tokenizer

transformers = pytest.importorskip("transformers")
DOCS = Path(__file__).resolve().parents[2] / "docs"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好我们中文预训练模型"]
DOOR = ["python3", "convert/convert_checkpoint.py"]


def commands(name: str) -> list[list[str]]:
    """The words of every shell command on a page, without the program's name."""
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    return [["convert", *words[2:]] if words[:2] == DOOR else words[1:] for words in lines]


@pytest.fixture
def files_of_the_page(tmp_path, monkeypatch, small_bert) -> None:
    """What the page takes for granted: a UER file without JSON, a tagger, a run, two vocabularies."""
    monkeypatch.chdir(tmp_path)
    Path("google_zh_vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    Path("new_vocab.txt").write_text("\n".join([*VOCABULARY[:9], "新", "词"]) + "\n", encoding="utf-8")
    size = len(VOCABULARY)
    for steps in (100, 200):
        Path("output").mkdir(exist_ok=True)
        checkpoint = small_bert(Path("output", f"checkpoint-{steps}"), vocab_size=size, heads_num=2)
        (checkpoint / "tokenizer").mkdir()
        description = load_tokenizer(vocab_path="google_zh_vocab.txt").save(checkpoint / "tokenizer")
        (checkpoint / "tokenizer" / "description.json").write_text(json.dumps(description))
        (checkpoint / "state.json").write_text("{}")
    convert("output", "roberta_tiny.bin", to="uer")
    for beside in Path().glob("roberta_tiny_*"):
        beside.unlink()  # as files come from the model zoo's page
    body = {name: w for name, w in torch.load("roberta_tiny.bin").items() if not name.startswith("target.")}
    head = {"output_layer.weight": torch.randn(3, 64), "output_layer.bias": torch.randn(3)}
    save_weights({**body, **head}, "tagger.bin")


def test_every_command_of_the_page_runs(files_of_the_page, capsys):
    for words in commands("convert.md"):
        assert main(words) == 0, (words, capsys.readouterr().err)
    assert "the logits of both sides differ by at most" in capsys.readouterr().out
    names = json.loads(Path("tagger_again_labels.json").read_text())
    assert names == {"O": 0, "B-PER": 1, "I-PER": 2}
    for folder in ("roberta_tiny_hf", "trained_hf", "again_hf"):
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
        assert len(transformers.AutoTokenizer.from_pretrained(folder)) == model.config.vocab_size
    assert "embedding.word_embedding.weight" in torch.load("page.bin")
    assert torch.load("adapted.bin")["embedding.word.embedding.weight"].shape == (11, 64)


def test_both_languages_show_the_same_commands():
    assert commands("convert.md") == commands("convert_zh.md")
    assert len(commands("convert.md")) == 13
