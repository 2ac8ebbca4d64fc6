"""Blends: exact shares, nothing repeated too early, rows as their own objectives make them. Static copies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toy_dataset import random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.blend import Blend, RowParts, StaticSamples, apportion
from uer_ds.data.samples import Objective
from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives import build_objective
from uer_ds.objectives.causal_lm import CausalLanguageModel
from uer_ds.objectives.mlm import MaskedLanguageModel
from uer_ds.objectives.span_corruption import SpanCorruption


class Fake(Objective):
    """An objective whose batches say which samples they hold."""

    spec = OBJECTIVE_SPECS["lm"]

    def __init__(self, tag: int, size: int):
        self.tag, self.size = tag, size
        self.dataset = type("Dataset", (), {"folder": f"folder {tag}", "documents": 0, "items": 0, "tokens": 0})()

    def __len__(self) -> int:
        return self.size

    def batch(self, epochs: np.ndarray, numbers: np.ndarray) -> Batch:
        ids = torch.from_numpy(np.stack([np.full_like(numbers, self.tag), epochs, numbers], axis=1))
        return Batch(ids=ids, segments=torch.ones_like(ids))


def drawn(blend: Blend, epochs: range) -> list[tuple[int, int, int]]:
    numbers = np.tile(np.arange(len(blend)), len(epochs))
    batch = blend.batch(np.repeat(np.array(epochs), len(blend)), numbers)
    return [(tag, epoch, number) for tag, epoch, number in batch.ids.tolist()]


def test_without_weights_an_epoch_is_every_sample_once() -> None:
    blend = Blend([Fake(0, 7), Fake(1, 20), Fake(2, 1)], (), seed=7)
    expected = [(tag, 3, n) for tag, size in enumerate((7, 20, 1)) for n in range(size)]
    assert sorted(drawn(blend, range(3, 4))) == expected


def test_weights_are_exact_and_parts_repeat_late() -> None:
    blend = Blend([Fake(0, 10), Fake(1, 90)], (3, 1), seed=7)
    samples = drawn(blend, range(6))
    assert Counter(tag for tag, _, _ in samples[:100]) == {0: 75, 1: 25}
    assert len(set(samples)) == len(samples) == 600
    for tag, size in ((0, 10), (1, 90)):
        epochs = Counter(epoch for t, epoch, _ in samples if t == tag)
        assert all(count == size for epoch, count in epochs.items() if epoch < max(epochs))


def test_apportion_adds_up() -> None:
    assert apportion(np.array([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]
    assert apportion(np.array([0.0, 2.5]), 7).tolist() == [0, 7]


def test_bad_weights_and_empty_parts_are_refused() -> None:
    with pytest.raises(UserError, match="not all of them 0"):
        Blend([Fake(0, 1), Fake(1, 1)], (0, 0), seed=7)
    with pytest.raises(UserError, match="folder 1: the lm objective finds no sample"):
        Blend([Fake(0, 5), Fake(1, 0)], (1, 1), seed=7)
    assert len(Blend([Fake(0, 5), Fake(1, 0)], (), seed=7)) == 5


def test_rows_are_those_of_the_parts_whatever_their_width(tmp_path: Path) -> None:
    spans = row_options(32, span_masking=True, span_max_length=5)
    datasets = [toy_dataset(tmp_path / str(size), random_documents(30, size)) for size in (4, 40)]
    parts = [SpanCorruption(dataset, spans) for dataset in datasets]
    blend = Blend(parts, (), seed=7)
    numbers = np.random.default_rng(0).permutation(len(blend))
    together = blend.batch(np.zeros_like(numbers), numbers)
    assert together.decoder is not None
    for i in range(len(numbers)):
        alone = blend.batch(np.zeros(1, int), numbers[i : i + 1])
        assert alone.decoder is not None and torch.equal(alone.ids[0], together.ids[i])
        width = alone.decoder.ids.shape[1]
        for name in ("ids", "segments", "documents", "positions"):
            assert torch.equal(getattr(alone.decoder, name)[0], getattr(together.decoder, name)[i, :width])
        assert torch.equal(alone.labels["lm"][0], together.labels["lm"][i, :width])
        documents, segments = together.decoder.documents, together.decoder.segments
        assert documents is not None and (documents[i][segments[i] == 0] > documents[i][segments[i] > 0].max()).all()


def test_static_samples_repeat_after_their_copies(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, random_documents(30, 20))
    objective = StaticSamples(MaskedLanguageModel(dataset, row_options(32)), 3)
    batch = objective.batch(np.arange(7), np.full(7, 4))
    versions = [row.tobytes() for row in batch.labels["mlm"].numpy()]
    assert len(set(versions)) == 3 and versions[:3] == versions[3:6] and versions[6] == versions[0]
    options = row_options(seq_length=32, dup_factor=3)
    built = build_objective("mlm", dataset, options)
    assert torch.equal(built.batch(np.array([10]), np.array([4])).ids[0], batch.ids[1])


def test_a_blend_has_the_shape_of_its_objective(tmp_path: Path) -> None:
    parts = [
        CausalLanguageModel(toy_dataset(tmp_path / str(k), random_documents(9, 9)), row_options(8)) for k in range(2)
    ]
    blend = Blend(parts, (1, 2), seed=7)
    assert blend.spec is parts[0].spec and len(blend) == len(parts[0]) + len(parts[1])


@pytest.mark.parametrize("packed", [True, False])
def test_parts_of_rows_are_the_rows_and_each_label_is_in_one_of_them(tmp_path: Path, packed: bool) -> None:
    dataset = toy_dataset(tmp_path, random_documents(30, 40))
    whole = MaskedLanguageModel(dataset, row_options(24, no_packing=not packed))
    parts = [RowParts(whole, number, 3) for number in range(3)]
    assert all((len(part), part.spec, part.dataset) == (len(whole), whole.spec, dataset) for part in parts)
    numbers = np.arange(4)
    batch = whole.batch(numbers * 0, numbers)
    made = [part.batch(numbers * 0, numbers) for part in parts]
    assert [part.ids.shape for part in made] == [(4, 8)] * 3
    for name in ("ids", "segments", *(["documents", "positions"] if packed else [])):
        assert torch.equal(torch.cat([getattr(part, name) for part in made], 1), getattr(batch, name))
    assert torch.equal(torch.cat([part.labels["mlm"] for part in made], 1), batch.labels["mlm"])
    if not packed:
        assert made[2].positions is not None and made[2].positions[0].tolist() == list(range(16, 24))


def test_a_label_of_a_whole_row_belongs_to_its_first_part() -> None:
    batch = Batch(torch.zeros(3, 4), torch.ones(3, 4), labels={"sp": torch.tensor([1, 0, IGNORE])})
    assert [batch.part(number, 2).label_counts()["sp"] for number in range(2)] == [2, 0]
    assert batch.part(0, 2).labels["sp"].tolist() == [1, 0, IGNORE]
