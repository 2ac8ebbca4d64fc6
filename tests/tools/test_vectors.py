"""Vectors of sentences and words: numbers against plain computations, formats, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
import torch.nn.functional as F

from tests.cli.test_generate import HAN, LM, TOKENS
from tests.tools.models import CLS, LINES, MLM, SEP, made, words
from uer_ds.cli.main import main
from uer_ds.data.batch import Batch
from uer_ds.models.model import Model
from uer_ds.tools import vectors as files
from uer_ds.tools.features import Whitening

DRAWN = np.random.default_rng(3)


@torch.no_grad()
def states(model: Model, ids: list[int]) -> torch.Tensor:
    """[S, H] of one row alone."""
    batch = torch.tensor([ids])
    return model.encode(Batch(batch, torch.ones_like(batch)))[0]


def ids_of(text: str) -> list[int]:
    return [CLS, *(TOKENS.index(character) for character in text), SEP]


POOLED = {
    "first": lambda hidden: hidden[0],
    "last": lambda hidden: hidden[-1],
    "mean": lambda hidden: hidden.mean(0),
    "max": lambda hidden: hidden.amax(0),
}


@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_features_are_the_pooled_rows(pooling: str, batch_size: int, folder: Path) -> None:
    out = folder / "vectors.npy"
    command = words(folder, "features", "mlm", pooling=pooling, batch_size=batch_size, prediction_path=out)
    assert main(command) == 0
    model = made(MLM)
    expected = torch.stack([POOLED[pooling](states(model, ids_of(line))) for line in LINES])
    np.testing.assert_allclose(np.load(out), expected, rtol=2e-4, atol=2e-5)
    assert not list(folder.glob(".vectors*"))


def test_a_causal_model_is_pooled_at_its_last_token(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "features", "lm", prediction_path=folder / "lm.npy")) == 0
    assert "pooling last" in capsys.readouterr().err
    expected = torch.stack([states(made(LM), ids_of(line))[-1] for line in LINES])
    np.testing.assert_allclose(np.load(folder / "lm.npy"), expected, rtol=2e-4, atol=2e-5)


def test_parquet_has_the_texts_and_pt_is_uers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS", 3)
    for name in ("v.npy", "v.parquet", "v.pt"):
        assert main(words(folder, "features", "mlm", prediction_path=folder / name)) == 0
    numbers = np.load(folder / "v.npy")
    table = pyarrow.parquet.read_table(folder / "v.parquet").to_pydict()
    assert table["text"] == LINES
    np.testing.assert_array_equal(np.array(table["vector"], dtype=np.float32), numbers)
    np.testing.assert_array_equal(torch.load(folder / "v.pt", weights_only=True).numpy(), numbers)


def test_whitening_is_uers() -> None:
    vectors = (DRAWN.normal(size=(200, 6)) @ DRAWN.normal(size=(6, 6)) + 5).astype(np.float32)
    found = Whitening.fit([vectors[:70], vectors[70:]], 4)(vectors)
    wide, variances, _ = np.linalg.svd(np.cov(vectors.astype(np.float64).T))
    expected = ((vectors - vectors.mean(0)) @ (wide / np.sqrt(variances))[:, :4]).astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-4)  # a direction may point the other way


def test_whitened_vectors_and_a_kept_whitening(folder: Path) -> None:
    lines = folder / "many.txt"
    lines.write_text("".join(HAN[i % 40] * (1 + i % 3) + HAN[(7 * i) % 40] + "\n" for i in range(60)), encoding="utf-8")
    kept = folder / "white.npz"
    given: dict[str, Any] = {"test_path": lines, "pooling": "mean", "prediction_path": folder / "plain.npy"}
    assert main(words(folder, "features", "mlm", **given)) == 0
    size = {"whitening_size": 5, "whitening_output": kept, "prediction_path": folder / "white.npy"}
    assert main(words(folder, "features", "mlm", **{**given, **size})) == 0
    white = np.load(folder / "white.npy")
    assert white.shape == (60, 5) and np.linalg.norm(white, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(Whitening.fit([np.load(folder / "plain.npy")], 5)(np.load(folder / "plain.npy")), white)
    again = {**given, "whitening_input": kept, "prediction_path": folder / "again.npy"}
    assert main(words(folder, "features", "mlm", **again)) == 0
    np.testing.assert_array_equal(np.load(folder / "again.npy"), white)


def test_words_as_text_and_as_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = made(MLM).embedding.get_submodule("word.embedding").weight.detach().numpy()  # type: ignore[union-attr]
    for name in ("words.txt2", "table.npy"):
        command = words(folder, "embeddings", "mlm", word_embedding_path=folder / name)
        at = command.index("--test_path")
        assert main(command[:at] + command[at + 2 :]) == 0
    head, *lines = (folder / "words.txt2").read_text(encoding="utf-8").splitlines()
    assert head == f"{table.shape[0]} {table.shape[1]}" and len(lines) == len(table)
    assert [line.split(" ")[0] for line in lines] == TOKENS
    found = np.array([line.split(" ")[1:] for line in lines], dtype=np.float32)
    np.testing.assert_allclose(found, table, rtol=1e-5)
    np.testing.assert_array_equal(np.load(folder / "table.npy"), table)
    assert (folder / "table.txt").read_text(encoding="utf-8").splitlines() == TOKENS


def blocks(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.strip().split("\n\n")]


def test_neighbours_alone_and_in_context(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, text = folder / "asked.txt", HAN[3] + HAN[5] + HAN[9]
    asked.write_text(f"{HAN[5]}\n{HAN[5]}\t{text}\n{HAN[3]}{HAN[5]}\n", encoding="utf-8")
    outputs = []
    for batch_size in (32, 3):
        assert main(words(folder, "neighbours", "mlm", test_path=asked, topn=4, batch_size=batch_size)) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    alone, within, pair = blocks(outputs[0])
    model = made(MLM)
    table = model.embedding.get_submodule("word.embedding").weight.detach()  # type: ignore[union-attr,operator]
    others = [token for token in TOKENS if not token.startswith("[")]

    def best(cosines: dict[str, float]) -> list[str]:
        ranked = sorted(cosines.items(), key=lambda pair: -pair[1])[:4]
        return [f"{token}\t{value:.4f}" for token, value in ranked]

    def rows_near(vector: torch.Tensor, without: str) -> dict[str, float]:
        near = {token: float(F.cosine_similarity(table[TOKENS.index(token)], vector, dim=0)) for token in others}
        return {token: value for token, value in near.items() if token not in without}

    assert alone == [f"Target word: {HAN[5]}", *best(rows_near(table[TOKENS.index(HAN[5])], HAN[5]))]
    both = HAN[3] + HAN[5]
    middle = (table[TOKENS.index(HAN[3])] + table[TOKENS.index(HAN[5])]) / 2
    assert pair == [f"Target word: {both}", *best(rows_near(middle, both))]
    own = states(model, ids_of(text))[2]
    put = {
        token: states(model, [CLS, TOKENS.index(HAN[3]), TOKENS.index(token), TOKENS.index(HAN[9]), SEP])[2]
        for token in others
        if token != HAN[5]
    }
    near = {token: float(F.cosine_similarity(vector, own, dim=0)) for token, vector in put.items()}
    assert within == [f"Target word: {HAN[5]}\t{text}", *best(near)]


def test_only_candidates_are_neighbours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, some = folder / "asked.txt", folder / "some.txt"
    asked.write_text(f"{HAN[5]}\n", encoding="utf-8")
    some.write_text(f"{HAN[1]}\t7\n[MASK]\n{HAN[2]} 3\n", encoding="utf-8")
    assert main(words(folder, "neighbours", "mlm", test_path=asked, cand_vocab_path=some)) == 0
    assert {line.split("\t")[0] for line in blocks(capsys.readouterr().out)[0][1:]} == {HAN[1], HAN[2]}


@pytest.mark.parametrize(
    ("command", "text", "options", "said"),
    [
        ("features", None, {"prediction_path": "v.tsv"}, "ends in .npy, .parquet, .pt"),
        ("features", None, {}, "--prediction_path is None"),
        ("features", "\n", {"prediction_path": "v.npy"}, "has no text"),
        ("features", None, {"prediction_path": "v.npy", "whitening_size": 4}, "have 3 directions"),
        ("features", None, {"prediction_path": "v.npy", "whitening_size": 0}, "--whitening_size is 0"),
        (
            "features",
            None,
            {"prediction_path": "v.npy", "whitening_input": "vocab.txt"},
            "cannot be read as a whitening",
        ),
        ("neighbours", "山\t水\n", {}, "text 1: the text '水' does not have the word '山'"),
        ("neighbours", None, {"cand_vocab_path": "mlm.json"}, "none of its words is in the model's vocabulary"),
        ("neighbours", None, {"topn": 0}, "--topn is 0"),
    ],
)
def test_mistakes_are_named(
    command: str,
    text: str | None,
    options: dict[str, Any],
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    if text is not None:
        (folder / "text.txt").write_text(text, encoding="utf-8")
        options = {**options, "test_path": folder / "text.txt"}
    assert main(words(folder, command, "mlm", **options)) == 2
    assert said in capsys.readouterr().err
    assert not list(folder.glob(".v.*"))
