"""The functions that turn scores into a token, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from uer_ds.config.generate import DecodingConfig, GeneratePaths, TextConfig
from uer_ds.errors import UserError
from uer_ds.generate.sampling import (
    Uniforms,
    draw,
    forbid_repeated_ngrams,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    narrowed,
    penalise_repetition,
)


def logits(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def left(scores: Tensor) -> list[int]:
    return (scores[0] > -torch.inf).nonzero().squeeze(1).tolist()


SCORES = logits(0.1, 0.4, 0.05, 0.3, 0.15)


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        (keep_top_k(SCORES, 2), [1, 3]),
        (keep_top_k(SCORES, 99), [0, 1, 2, 3, 4]),
        (keep_top_p(SCORES, 0.69), [1, 3]),  # 0.4 and 0.3 reach it
        (keep_top_p(SCORES, 0.71), [1, 3, 4]),
        (keep_top_p(SCORES, 0.01), [1]),  # the likeliest always stays
        (keep_min_p(SCORES, 0.3), [1, 3, 4]),  # at least 0.12
        (narrowed(SCORES, DecodingConfig(top_k=3, top_p=0.5)), [1, 3]),  # of 0.85: 0.47 and 0.35
        (narrowed(SCORES, DecodingConfig(top_k=0, min_p=0.99)), [1]),
    ],
)
def test_what_is_left(scores: Tensor, wanted: list[int]) -> None:
    assert left(scores) == wanted
    kept = scores[0, wanted]
    torch.testing.assert_close(kept - kept[0], SCORES[0, wanted] - SCORES[0, wanted[0]])


def test_temperature_sharpens() -> None:
    cold = narrowed(SCORES, DecodingConfig(top_k=0, temperature=0.5)).softmax(-1)
    squares = SCORES.exp() ** 2
    torch.testing.assert_close(cold, squares / squares.sum())


def test_repetition_is_penalised_whatever_the_sign() -> None:
    scores = torch.tensor([[2.0, -2.0, 4.0], [2.0, -2.0, 4.0]])
    found = penalise_repetition(scores, [[0, 1, 1], []], 2.0)
    assert found.tolist() == [[1.0, -4.0, 4.0], [2.0, -2.0, 4.0]]


def test_no_ngram_comes_twice() -> None:
    found = forbid_repeated_ngrams(torch.zeros(3, 6), [[1, 2, 3, 1, 2], [1, 2], [4]], 3)
    assert [(row == -torch.inf).nonzero().squeeze(1).tolist() for row in found] == [[3], [], []]
    single = forbid_repeated_ngrams(torch.zeros(1, 4), [[0, 2]], 1)
    assert left(single) == [1, 3]


def test_draws_follow_the_probabilities() -> None:
    """Each token owns the part of [0, 1) that its probability is."""
    uniform = torch.arange(1000) / 1000
    found = draw(SCORES.expand(1000, -1), uniform)
    shares = torch.bincount(found, minlength=5) / 1000
    torch.testing.assert_close(shares, SCORES[0].exp(), rtol=0, atol=2e-3)
    narrow = keep_top_k(SCORES, 2).expand(1000, -1)
    assert set(draw(narrow, uniform).tolist()) == {1, 3}
    assert draw(narrow, torch.full((1000,), 1 - 1e-12, dtype=torch.float64)).tolist() == [3] * 1000


def test_numbers_belong_to_seed_text_and_place() -> None:
    here = Uniforms(1)
    assert here.at([3, 5], 2).tolist() == [float(here.at([n], 2)) for n in (3, 5)]
    numbers = np.array([Uniforms(seed).at(range(50), place).tolist() for seed in (1, 2) for place in range(20)])
    assert len(set(numbers.ravel())) == numbers.size and 0.45 < numbers.mean() < 0.55
    assert numbers.min() >= 0 and numbers.max() < 1


@pytest.mark.parametrize(
    ("cls", "values", "words"),
    [
        (DecodingConfig, {"temperature": 0.0}, "--temperature is 0.0.*--greedy"),
        (DecodingConfig, {"top_p": 1.5}, "--top_p is 1.5; expected a number from 0 to 1"),
        (DecodingConfig, {"beam_size": 0}, "--beam_size is 0; expected 1 or more"),
        (TextConfig, {"stop": ("",)}, "--stop has an empty string"),
        (TextConfig, {"acrostic": "春夏"}, "there is no --form"),
        (TextConfig, {"samples_num": 0}, "--samples_num is 0"),
        (GeneratePaths, {"prompt": ("a",)}, "--load_model_path is missing"),
        (GeneratePaths, {"load_model_path": "m"}, "either --test_path FILE or --prompt TEXT"),
        (GeneratePaths, {"load_model_path": "m", "prompt": ("a",), "batch_size": 0}, "--batch_size is 0"),
    ],
)
def test_mistakes_are_named(cls: type, values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        cls(**values)
