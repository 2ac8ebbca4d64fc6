"""Cloze and perplexity: numbers against plain computations, files, mistakes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.test_generate import HAN, LM, TOKENS
from tests.tools.models import CLS, LINES, MASK, MLM, SEP, made, words
from uer_ds.cli.main import main
from uer_ds.data.batch import Batch
from uer_ds.models.model import Model
from uer_ds.tokenizers import Tokenizer
from uer_ds.tools import rows
from uer_ds.tools.rows import answered, rows_of


def ids_of(line: str) -> list[int]:
    return [CLS, *(TOKENS.index(character) for character in line), SEP]


@torch.no_grad()
def log_probabilities(model: Model, name: str, ids: list[int]) -> torch.Tensor:
    batch = torch.tensor([ids])
    return model.logits(Batch(batch, torch.ones_like(batch)))[name][0].float().log_softmax(-1)


def loss_by_hand(name: str, line: str) -> tuple[float, int]:
    model, ids = made(LM if name == "lm" else MLM), ids_of(line)
    if name == "lm":
        scores = log_probabilities(model, "lm", ids)
        return -sum(float(scores[at, ids[at + 1]]) for at in range(len(ids) - 1)), len(ids) - 1
    total = 0.0
    for at in range(1, len(ids) - 1):
        masked = [*ids[:at], MASK, *ids[at + 1 :]]
        total -= float(log_probabilities(model, "mlm", masked)[at, ids[at]])
    return total, len(ids) - 2


@pytest.mark.parametrize("name", ["lm", "mlm"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_perplexity_by_line_and_in_all(
    name: str, batch_size: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(folder, "perplexity", name, batch_size=batch_size, prediction_path=folder / "out.tsv")
    assert main([*command, *(["--mlm"] if name == "mlm" else [])]) == 0
    head, *found = [line.split("\t") for line in (folder / "out.tsv").read_text(encoding="utf-8").splitlines()]
    assert head == ["perplexity", "tokens", "text"] and [row[2] for row in found] == LINES
    by_hand = [loss_by_hand(name, line) for line in LINES]
    for row, (loss, count) in zip(found, by_hand, strict=True):
        assert int(row[1]) == count
        assert float(row[0]) == pytest.approx(math.exp(loss / count), rel=1e-3)
    loss, count = (sum(part) for part in zip(*by_hand, strict=True))
    said = capsys.readouterr().err
    assert f"over {count} tokens" in said
    assert float(said.split("perplexity ")[1].split()[0]) == pytest.approx(math.exp(loss / count), rel=1e-3)


def test_blanks_are_filled_with_the_likeliest(folder: Path) -> None:
    text = folder / "blanks.txt"
    text.write_text(f"{HAN[1]}[MASK]{HAN[2]}[MASK]\n{LINES[1]}\n", encoding="utf-8")
    command = words(folder, "cloze", "mlm", topn=3, test_path=text)
    assert main([*command, "--prediction_path", str(folder / "blanks.jsonl")]) == 0
    first, second = [json.loads(line) for line in (folder / "blanks.jsonl").read_text("utf-8").splitlines()]
    ids = [CLS, TOKENS.index(HAN[1]), MASK, TOKENS.index(HAN[2]), MASK, SEP]
    scores = log_probabilities(made(MLM), "mlm", ids).exp()
    for at, blank in zip((2, 4), first["blanks"], strict=True):
        best = scores[at].topk(3)
        assert list(blank["guesses"]) == [TOKENS[token] for token in best.indices.tolist()]
        assert list(blank["guesses"].values()) == pytest.approx(best.values.tolist(), rel=1e-3)
        assert blank["answer"] is None
    assert len(second["blanks"]) == 1 and second["blanks"][0]["answer"] in LINES[1]


def test_uers_blocks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(folder, "cloze", "mlm", topn=2)]) == 0
    first = capsys.readouterr().out
    blocks = [block.splitlines() for block in first.strip().split("\n\n")]
    assert [block[0] for block in blocks] == LINES
    for sentence, guesses, answer in blocks:
        assert guesses.startswith("Predicted answer: ") and len(guesses.split()) == 4
        assert answer.removeprefix("Correct answer: ") in sentence
    assert main([*words(folder, "cloze", "mlm", topn=2, batch_size=1)]) == 0
    assert capsys.readouterr().out == first
    assert main([*words(folder, "cloze", "mlm", topn=2, seed=8)]) == 0
    assert capsys.readouterr().out != first


def test_files_of_any_size_keep_their_order(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 7)
    lines = [HAN[number % 40] * (1 + number % 11) for number in range(50)]
    sizes: list[int] = []

    def answer(batch: list[rows.Row]) -> list[int]:
        sizes.append(len(batch))
        return [len(row.ids) for row in batch]

    found = list(answered(lines, tokenizer, 8, 3, answer))
    assert [row.text for row, _ in found] == lines and [row.number for row, _ in found] == list(range(50))
    assert [length for _, length in found] == [min(8, len(line) + 2) for line in lines]
    assert [row.was_cut for row, _ in found] == [len(line) > 6 for line in lines] and max(sizes) == 3


def test_a_blank_is_a_token_only_where_it_is_asked_for(tokenizer: Tokenizer) -> None:
    line = f"{HAN[1]}[MASK]"
    assert rows_of([line], tokenizer, 16, True, 0)[0].ids == [CLS, TOKENS.index(HAN[1]), MASK, SEP]
    assert MASK not in rows_of([line], tokenizer, 16, False, 0)[0].ids


@pytest.mark.parametrize(
    ("command", "name", "options", "said"),
    [
        ("perplexity", "t5", {}, "judges answers and not texts"),
        ("perplexity", "lm", {"test_path": "nowhere"}, "nowhere: cannot be read"),
        ("perplexity", "lm", {"batch_size": 0}, "--batch_size is 0"),
        ("cloze", "mlm", {"topn": 0}, "--topn is 0"),
        ("cloze", "lm", {}, "no model with target mlm"),
    ],
)
def test_mistakes_are_named(
    command: str, name: str, options: dict[str, Any], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, command, name, **options)) == 2
    assert said in capsys.readouterr().err


def test_a_file_without_text_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.txt").write_text("\n")
    assert main(words(folder, "perplexity", "lm", test_path=folder / "empty.txt")) == 2
    assert "empty.txt: has no text" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["cloze", "perplexity"])
def test_several_processes_would_write_one_file(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "29999")
    assert main(words(folder, command, "mlm")) == 2
    assert "2 processes, but this command is for one" in capsys.readouterr().err
