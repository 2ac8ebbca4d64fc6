"""bert and albert: where A and B come from, the labels, truncation, and what a row looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, PAD, SEP, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.chunks import SentenceChunks, sentences_up_to
from uer_ds.data.dataset import Dataset
from uer_ds.data.tokens import TokenTable
from uer_ds.errors import UserError
from uer_ds.objectives import build_objective
from uer_ds.objectives.options import RowOptions
from uer_ds.objectives.sentence import NextSentence, SentenceOrder, balanced


def numbered(documents: int, sentences: int, length: int) -> list[list[list[int]]]:
    """Document d is nothing but the id 200 + d; sentence s is told by its place."""
    return [[[200 + d] * length for _ in range(sentences)] for d in range(documents)]


def true_ids(batch: Batch) -> np.ndarray:
    """The rows before masking."""
    labels = batch.labels["mlm"].numpy()
    return np.where(labels != IGNORE, labels, batch.ids.numpy())


def options(seq_length: int = 64, **values: object) -> RowOptions:
    return row_options(seq_length, **values)


def all_samples(objective: NextSentence | SentenceOrder, epochs: int = 1) -> Batch:
    numbers = np.tile(np.arange(len(objective)), epochs)
    return objective.batch(np.repeat(np.arange(epochs), len(objective)), numbers)


def halves(ids: np.ndarray, segments: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """The ids of A and B of each row, checking the brackets around them."""
    result = []
    for row, segment in zip(ids, segments, strict=True):
        end_a, end_b = int((segment == 1).sum()), int((segment > 0).sum())
        assert row[0] == CLS and row[end_a - 1] == SEP and row[end_b - 1] == SEP and (row[end_b:] == PAD).all()
        assert (segment[:end_a] == 1).all() and (segment[end_a:end_b] == 2).all()
        result.append((row[1 : end_a - 1].tolist(), row[end_a : end_b - 1].tolist()))
    return result


def test_next_sentence_labels_tell_where_b_comes_from(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, numbered(40, 6, 10))
    batch = all_samples(NextSentence(dataset, row_options(63)), epochs=50)
    pairs, labels = halves(true_ids(batch), batch.segments.numpy()), batch.labels["sp"].numpy()
    for (a, b), label in zip(pairs, labels.tolist(), strict=True):
        assert len(set(a)) == 1 and len(set(b)) == 1 and (a[0] != b[0]) == (label == 1)
        assert len(a) % 10 == 0  # nothing is cut here, so A is whole sentences
    assert len(labels) == 40 * 50 and abs(labels.mean() - 0.5) < 0.04


def test_a_is_cut_uniformly_and_random_partners_are_uniform(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, numbered(20, 6, 10))
    objective = NextSentence(dataset, row_options(63, short_seq_prob=0.0))
    batch = all_samples(objective, epochs=200)
    pairs = halves(true_ids(batch), batch.segments.numpy())
    cuts = np.bincount([len(a) // 10 for a, _ in pairs], minlength=7)
    assert (abs(cuts[1:6] / len(pairs) - 0.2) < 0.03).all() and cuts[0] == cuts[6] == 0
    others = np.bincount([b[0] - 200 for a, b in pairs if a[0] != b[0]], minlength=20)
    assert abs(others / others.sum() - 0.05).max() < 0.02


def test_a_single_sentence_always_gets_a_random_partner(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, numbered(30, 1, 10))
    batch = all_samples(NextSentence(dataset, row_options(64)))
    assert batch.labels["sp"].tolist() == [1] * 30


def test_the_only_document_is_its_own_partner(tmp_path: Path) -> None:
    batch = all_samples(NextSentence(toy_dataset(tmp_path, numbered(1, 1, 5)), row_options(16)))
    assert halves(true_ids(batch), batch.segments.numpy()) == [([200] * 5, [200] * 5)]


def test_short_sequences_have_the_given_share(tmp_path: Path) -> None:
    documents = [[[300] for _ in range(61)] for _ in range(50)]
    dataset = toy_dataset(tmp_path, documents)
    batch = all_samples(SentenceOrder(dataset, row_options(64, short_seq_prob=0.25)), epochs=40)
    short = (batch.segments > 0).sum(dim=1).numpy() < 64
    assert abs(short.mean() - 0.25 * 59 / 60) < 0.03  # one target in sixty is the full length
    lengths = (batch.segments > 0).sum(dim=1).numpy()[short] - 3
    assert lengths.min() == 2 and abs(lengths.mean() - (2 + 60) / 2) < 2


def test_sentence_order_swaps_half_of_the_pairs(tmp_path: Path) -> None:
    documents = [[list(range(200 + 60 * d, 200 + 60 * d + 60))[k : k + 6] for k in range(0, 60, 6)] for d in range(10)]
    dataset = toy_dataset(tmp_path, documents)
    objective = SentenceOrder(dataset, row_options(64, short_seq_prob=0.0))
    batch = all_samples(objective, epochs=100)
    labels = batch.labels["sp"].numpy()
    for (a, b), label in zip(halves(true_ids(batch), batch.segments.numpy()), labels.tolist(), strict=True):
        first, second = (b, a) if label else (a, b)
        assert first[-1] + 1 == second[0] and np.all(np.diff(first + second) == 1)
    assert abs(labels.mean() - 0.5) < 0.05


def test_a_lonely_sentence_has_an_empty_partner(tmp_path: Path) -> None:
    batch = all_samples(SentenceOrder(toy_dataset(tmp_path, [[[300, 301]]]), row_options(8)), epochs=20)
    rows = {tuple(row) for row in true_ids(batch).tolist()}
    assert rows == {(CLS, 300, 301, SEP, SEP, 0, 0, 0), (CLS, SEP, 300, 301, SEP, 0, 0, 0)}


def test_truncation_drops_from_the_longer_side_as_one_by_one() -> None:
    for a in range(1, 25):
        for b in range(25):
            for room in (7, 8):
                x, y = a, b
                while x + y > room:
                    x, y = (x - 1, y) if x > y else (x, y - 1)
                assert balanced(np.array([[a], [b]]), room).ravel().tolist() == [x, y]


def test_truncation_takes_from_both_ends_equally(tmp_path: Path) -> None:
    documents = [[list(range(200, 240)), list(range(300, 340))]]
    dataset = toy_dataset(tmp_path, documents)
    objective = SentenceOrder(dataset, row_options(23, short_seq_prob=0.0))
    first_chunk = objective.batch(np.arange(400), np.zeros(400, int))
    fronts = []
    for a, _ in halves(true_ids(first_chunk), first_chunk.segments.numpy()):
        if a and a[0] < 300:
            assert np.all(np.diff(a) == 1)
            fronts.append(a[0] - 200)
    assert 5 <= min(fronts) < max(fronts) and abs(np.mean(fronts) - 10) < 0.7  # 20 of 40 are dropped


def test_chunks_cover_every_sentence_once(tmp_path: Path) -> None:
    dataset: Dataset = toy_dataset(tmp_path, random_documents(50, longest=9, items=30), shards=3)
    table = TokenTable(dataset)
    chunks = SentenceChunks(table, 40)
    documents, bounds = chunks.locate(np.arange(len(chunks)))
    seen = [int(start) for chunk in bounds for start in chunk[:-1]]
    expected = [int(start) for d in range(50) for start in table.item_starts(d)[:-1]]
    assert seen == expected
    assert documents == sorted(documents)


def test_a_sentence_longer_than_a_chunk_goes_on_in_the_next(tmp_path: Path) -> None:
    table = TokenTable(toy_dataset(tmp_path, [[[200] * 5, [201] * 50, [202] * 3]]))
    chunks = SentenceChunks(table, 20)
    _, bounds = chunks.locate(np.arange(len(chunks)))
    assert [chunk.tolist() for chunk in bounds] == [[0, 5, 55], [20, 40], [55, 58]]


def test_the_rest_of_a_last_sentence_is_a_chunk_only_when_it_fills_one(tmp_path: Path) -> None:
    chunks = SentenceChunks(TokenTable(toy_dataset(tmp_path, [[[200] * 5, [201] * 20], [[202] * 70]])), 20)
    _, bounds = chunks.locate(np.arange(len(chunks)))
    assert [chunk.tolist() for chunk in bounds] == [[0, 5, 25], [25, 95], [45, 65], [65, 85]]


def test_sentences_up_to() -> None:
    bounds = np.array([10, 13, 20, 21])
    assert [sentences_up_to(bounds, n) for n in (-4, 1, 3, 4, 10, 11, 99)] == [1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_samples_do_not_depend_on_their_batch(tmp_path: Path, name: str) -> None:
    dataset = toy_dataset(tmp_path, random_documents(30, longest=9, items=30))
    objective = build_objective(name, dataset, options())
    numbers, epochs = np.arange(12), np.arange(12) % 3
    batch = objective.batch(epochs, numbers)
    for i in range(12):
        alone = objective.batch(epochs[i : i + 1], numbers[i : i + 1])
        assert (alone.ids[0] == batch.ids[i]).all() and alone.labels["sp"][0] == batch.labels["sp"][i]


@pytest.mark.parametrize(("name", "least"), [("bert", 5), ("albert", 5), ("bart", 3), ("gsg", 4)])
def test_rows_without_room_are_refused(tmp_path: Path, name: str, least: int) -> None:
    dataset = toy_dataset(tmp_path, random_documents(9, longest=9, items=9))
    objective = build_objective(name, dataset, options(seq_length=least))
    assert objective.batch(np.zeros(9, int), np.arange(9) % len(objective)).ids.shape == (9, least)
    with pytest.raises(UserError, match=f"--seq_length is {least - 1}; the {name} objective needs"):
        build_objective(name, dataset, options(seq_length=least - 1))


def test_documents_without_sentences_are_refused(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, random_documents(3, 9), layout="documents")
    with pytest.raises(UserError, match="layout 'documents', but the bert objective reads 'sentences'"):
        build_objective("bert", dataset, options())
