"""The loader: the same updates with any number of workers, in order, and never a hang."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.toy_dataset import SPECIAL, VOCAB_SIZE, random_documents, toy_dataset
from uer_ds.data.batch import Batch
from uer_ds.data.loader import Loader
from uer_ds.data.sampler import Sampler
from uer_ds.errors import UserError
from uer_ds.objectives.mlm import MaskedLanguageModel


@pytest.fixture
def objective(tmp_path: Path) -> MaskedLanguageModel:
    return MaskedLanguageModel(toy_dataset(tmp_path, random_documents(60, 20)), VOCAB_SIZE, SPECIAL, seq_length=16)


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
    objective = MaskedLanguageModel(toy_dataset(tmp_path / "empty", []), VOCAB_SIZE, SPECIAL)
    with pytest.raises(UserError, match=r"empty: the mlm objective .* 0 documents, 0 items and 0 tokens"):
        Loader(objective, Sampler(1, 7), 0, 1, 1, 1)


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
