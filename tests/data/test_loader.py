"""The loader: the same updates with any number of workers, in order, and never a hang."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.toy_dataset import random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.blend import Blend, StaticSamples
from uer_ds.data.loader import Loader
from uer_ds.data.sampler import Sampler
from uer_ds.data.samples import Objective, require_samples
from uer_ds.errors import UserError
from uer_ds.objectives.causal_lm import CausalLanguageModel
from uer_ds.objectives.mlm import MaskedLanguageModel


@pytest.fixture
def objective(tmp_path: Path) -> MaskedLanguageModel:
    return MaskedLanguageModel(toy_dataset(tmp_path, random_documents(60, 20)), row_options(16))


def take(loader: Loader, updates: int) -> list[list[Batch]]:
    return [next(loader) for _ in range(updates)]


def equal(one: list[list[Batch]], other: list[list[Batch]]) -> bool:
    return all(
        torch.equal(a.ids, b.ids) and torch.equal(a.labels["mlm"], b.labels["mlm"])
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(objective: MaskedLanguageModel, workers: int) -> None:
    sampler = Sampler(len(objective), 7)
    plain = Loader(objective, sampler, 1, 2, 3, 2)
    with Loader(objective, sampler, 1, 2, 3, 2, workers=workers, prefetch=4) as ahead:
        first, second = take(plain, 7), take(ahead, 7)
    assert equal(first, second) and len(first[0]) == 2 and first[0][0].ids.shape == (3, 16)


def test_it_resumes_from_the_samples_consumed(objective: MaskedLanguageModel) -> None:
    sampler = Sampler(len(objective), 7)
    loader = Loader(objective, sampler, 0, 1, 4, 1, workers=2)
    before = take(loader, 3)
    assert loader.consumed == 12
    after = take(loader, 3)
    loader.close()
    assert equal(take(Loader(objective, sampler, 0, 1, 4, 1, consumed=12), 3), after) and not equal(before, after)


@pytest.mark.parametrize("workers", [0, 2])
def test_stop_ends_after_the_update_that_reaches_it(objective: MaskedLanguageModel, workers: int) -> None:
    with Loader(objective, Sampler(len(objective), 7), 0, 2, 2, 1, workers=workers, stop=10) as loader:
        assert len(list(loader)) == 3 and loader.consumed == 12


def test_no_sample_is_an_error_that_names_the_dataset(tmp_path: Path) -> None:
    objective = MaskedLanguageModel(toy_dataset(tmp_path / "empty", []), row_options())
    with pytest.raises(UserError, match=r"empty: the mlm objective .* 0 documents, 0 items and 0 tokens"):
        require_samples(objective)


def test_an_error_in_a_worker_reaches_the_caller_and_close_ends_the_threads(objective: MaskedLanguageModel) -> None:
    class Failing(MaskedLanguageModel):
        def batch(self, epochs: Any, numbers: Any) -> Batch:
            raise RuntimeError("disk gone")

    objective.__class__ = Failing
    loader = Loader(objective, Sampler(len(objective), 7), 0, 1, 2, 1, workers=2)
    with pytest.raises(RuntimeError, match="disk gone"):
        next(loader)
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_ranks_together_read_what_one_rank_reads(objective: MaskedLanguageModel) -> None:
    sampler = Sampler(len(objective), 7)
    alone = next(Loader(objective, sampler, 0, 1, 8, 1))[0].ids.numpy()
    parts = [next(Loader(objective, sampler, rank, 4, 1, 2)) for rank in range(4)]
    together = np.concatenate([parts[rank][micro].ids.numpy() for micro in range(2) for rank in range(4)])
    assert (alone == together).all()


class Slow(Objective):
    """An objective whose batches come when `gate` opens, or with a mistake."""

    def __init__(self, objective: MaskedLanguageModel, mistake: Exception | None = None):
        self.objective, self.mistake, self.gate = objective, mistake, threading.Event()
        self.dataset = objective.dataset

    def __len__(self) -> int:
        return len(self.objective)

    def batch(self, epochs: Any, numbers: Any) -> Batch:
        self.gate.wait(10)
        if self.mistake:
            raise self.mistake
        return self.objective.batch(epochs, numbers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stall_is_said_and_waited_for(objective: MaskedLanguageModel, workers: int) -> None:
    slow: Any = Slow(objective)
    waited: list[float] = []

    def stalled(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            slow.gate.set()

    samples = Sampler(len(slow), 7)
    with Loader(slow, samples, 0, 1, 2, 1, workers=workers, stalled=stalled, stall_seconds=0.05) as loader:
        assert next(loader)[0].ids.shape == (2, 16)
        next(loader)
    assert len(waited) == 2
    assert 0.05 <= waited[0] < waited[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_s_mistake_names_dataset_and_samples(objective: MaskedLanguageModel, workers: int) -> None:
    broken: Any = Slow(objective, OSError(5, "Input/output error"))
    broken.gate.set()
    with (
        Loader(broken, Sampler(len(broken), 7, shuffle=False), 0, 1, 2, 1, workers=workers) as loader,
        pytest.raises(UserError, match=r"samples \[0, 1\] of epochs \[0, 0\] cannot be made .*Input/output error"),
    ):
        next(loader)


def test_a_blend_names_the_dataset_that_cannot_be_read(tmp_path: Path) -> None:
    parts = [
        MaskedLanguageModel(toy_dataset(tmp_path / name, random_documents(60, 20)), row_options(16)) for name in "ab"
    ]
    broken: Any = Slow(parts[1], OSError(5, "Input/output error"))
    broken.gate.set()
    broken.spec = parts[1].spec
    blend = Blend([parts[0], broken], [], 7)
    loader = Loader(blend, Sampler(len(blend), 7), 0, 1, 16, 1)
    with pytest.raises(UserError, match=r"/b: samples \[.*Input/output error"):
        take(loader, 4)


def padded_objectives(folder: Path) -> dict[str, Any]:
    """Objectives of one document a row, by a word that says what they are."""
    documents = random_documents(60, 40)
    mlm, lm = (
        kind(toy_dataset(folder / name, documents), row_options(32, no_packing=True))
        for name, kind in (("mlm", MaskedLanguageModel), ("lm", CausalLanguageModel))
    )
    return {"mlm": mlm, "lm": lm, "blend": Blend([mlm, mlm], (3, 1), 7), "static": StaticSamples(mlm, 2)}


@pytest.mark.parametrize("kind", ["mlm", "lm", "blend", "static"])
def test_lengths_are_those_of_the_rows(kind: str, tmp_path: Path) -> None:
    objective = padded_objectives(tmp_path)[kind]
    numbers = np.arange(len(objective))
    tell = objective.lengths
    assert tell is not None
    for epoch in (0, 5):
        epochs = np.full_like(numbers, epoch)
        found = (objective.batch(epochs, numbers).segments > 0).sum(1)
        assert tell(epochs, numbers).tolist() == found.tolist() and len(set(found.tolist())) > 10


def test_full_rows_tell_no_lengths(tmp_path: Path, objective: MaskedLanguageModel) -> None:
    assert objective.lengths is None
    assert Blend([objective, *padded_objectives(tmp_path).values()], (), 7).lengths is None


def test_micro_batches_of_like_lengths_are_cut(tmp_path: Path) -> None:
    """Nothing but padding goes, and two ranks with four micro-batches read much less of it than one batch has."""
    objective = padded_objectives(tmp_path)["mlm"]
    sampler = Sampler(len(objective), 7, lengths=objective.lengths)
    parts = [Loader(objective, sampler, rank, 2, 4, 4, trim=8) for rank in range(2)]
    batches = [batch for loader in parts for batch in next(loader)]
    assert all(batch.ids.size(1) % 8 == 0 and batch.ids.is_contiguous() for batch in batches)
    assert len({batch.ids.size(1) for batch in batches}) > 2
    [whole] = next(Loader(objective, Sampler(len(objective), 7), 0, 1, 32, 1))
    rows = [(ids[s > 0].tolist(), m[s > 0].tolist()) for b in [whole] for ids, s, m in rows_of(b)]
    cut = [(ids[s > 0].tolist(), m[s > 0].tolist()) for b in batches for ids, s, m in rows_of(b)]
    assert sorted(cut) == sorted(rows)
    real = sum(len(ids) for ids, _ in rows)
    assert real <= sum(batch.ids.numel() for batch in batches) < 1.3 * real < whole.ids.numel()
    assert all(batch.label_counts() == {"mlm": int((batch.labels["mlm"] != IGNORE).sum())} for batch in batches)


def rows_of(batch: Batch) -> Any:
    return zip(batch.ids, batch.segments, batch.labels["mlm"], strict=True)


def test_a_decoder_s_rows_are_cut_for_themselves() -> None:
    ids = torch.arange(1, 41).reshape(2, 20)
    segments = torch.zeros(2, 20, dtype=torch.long)
    segments[0, :9], segments[1, :3] = 1, 1
    answers = Batch(ids[:, :12], segments[:, 2:14])  # 7 and 1 real tokens
    batch = Batch(ids, segments, labels={"lm": ids[:, :12], "cls": ids[:, 0]}, decoder=answers).trimmed(4)
    assert batch.ids.shape == (2, 12) and batch.decoder is not None and batch.decoder.ids.shape == (2, 8)
    assert batch.labels["lm"].shape == (2, 8) and batch.labels["cls"].shape == (2,)
    assert Batch(ids, torch.zeros_like(ids)).trimmed(8).ids.shape == (2, 8)
    assert Batch(ids, torch.ones_like(ids)).trimmed(8).ids.shape == (2, 20)  # a multiple would be longer
    assert Batch(ids, segments, second=answers).trimmed(4).ids.shape == (2, 20)


def test_batches_are_pinned_where_that_is_wanted(
    objective: MaskedLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(id(tensor))
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    sampler = Sampler(len(objective), 7)
    with Loader(objective, sampler, 0, 1, 4, 1, workers=1, pin_memory=True) as loader:
        batches = take(loader, 2)
    assert equal(batches, take(Loader(objective, sampler, 0, 1, 4, 1), 2))
    assert len(set(pinned)) >= 5  # ids, segments, positions, documents, labels


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU's driver")
def test_pinned_batches_are_page_locked(objective: MaskedLanguageModel) -> None:
    with Loader(objective, Sampler(len(objective), 7), 0, 1, 4, 1, workers=1, pin_memory=True) as loader:
        [batch] = next(loader)
    assert batch.ids.is_pinned() and batch.labels["mlm"].is_pinned()
    assert batch.to("cuda", non_blocking=True).ids.device.type == "cuda"
