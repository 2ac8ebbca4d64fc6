"""Every numeric option of every config class has a range, or a reason why none; and the ranges are kept.

The classes are found, not listed, so a new option without a range fails here.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import uer_ds
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import ClassifierOptions, PredictPaths, PredictRun
from uer_ds.config.model import model_config_from_dict
from uer_ds.config.options import Options, Range, option, option_types, prefixed
from uer_ds.config.run import AUTO, OptimConfig, TrainConfig
from uer_ds.errors import UserError

NO_RANGE = {
    "seed": "any integer is a seed",
    "length_penalty": "a power of either sign: below 0 shorter texts are favoured",
}
"""Numeric options of which no number is wrong."""


def config_classes() -> list[type]:
    """All classes with options, of all modules that may have one."""
    found = set()
    for package in ("config", "cli"):
        for module in pkgutil.iter_modules([f"{uer_ds.__path__[0]}/{package}"], f"uer_ds.{package}."):
            for thing in vars(importlib.import_module(module.name)).values():
                if isinstance(thing, type) and dataclasses.is_dataclass(thing):
                    found |= {thing} if any("help" in f.metadata for f in dataclasses.fields(thing)) else set()
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


CLASSES = config_classes()


def numeric(cls: type) -> Iterator[dataclasses.Field[Any]]:
    """The options of `cls` that are numbers or lists of them."""
    types = option_types(cls)
    return (field for field in dataclasses.fields(cls) if types[field.name].kind in (int, float))


RANGED = [(cls, field) for cls in CLASSES for field in numeric(cls) if field.metadata["range"]]


def checked(cls: type, name: str, number: float) -> Any:
    """Let the ranges of `cls` look at one option, all others at their defaults, and at nothing else."""
    config = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(config, field.name, field.default)
    object.__setattr__(config, name, (number,) if option_types(cls)[name].many else number)
    Options.__post_init__(config)
    return config


def test_the_classes_are_found() -> None:
    assert {OptimConfig, TrainConfig, ClassifierOptions, PredictPaths, TokenizerConfig} < set(CLASSES)
    assert len(CLASSES) > 30 and len(RANGED) > 100


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_the_ranges_of_a_class_are_looked_at(cls: type) -> None:
    """It has the base that does it, and calls it where it looks at more."""
    assert issubclass(cls, Options)
    for field in numeric(cls):
        if field.metadata["range"]:
            with pytest.raises(UserError, match=f"{field.name} (is|has) nan; expected"):
                cls(**{field.name: (math.nan,) if option_types(cls)[field.name].many else math.nan})


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_number_has_a_range_or_a_reason(cls: type) -> None:
    without = {field.name for field in numeric(cls) if not field.metadata["range"]}
    assert without <= set(NO_RANGE), f"give {without - set(NO_RANGE)} a range: least, above, most, below"


@pytest.mark.parametrize(("cls", "field"), RANGED, ids=lambda part: getattr(part, "name", None) or part.__name__)
def test_bounds_are_kept(cls: type, field: dataclasses.Field[Any]) -> None:
    limits, step = field.metadata["range"], 1 if option_types(cls)[field.name].kind is int else 1e-9
    inside = [bound for bound in (limits.least, limits.most) if math.isfinite(bound)]
    inside += [bound + side * step for bound, side in ((limits.above, 1), (limits.below, -1)) if math.isfinite(bound)]
    outside = [limits.least - step, limits.most + step, limits.above, limits.below, math.nan, math.inf, -math.inf]
    assert inside
    for number in inside:
        checked(cls, field.name, number)
    for number in outside:
        with pytest.raises(UserError) as error:
            checked(cls, field.name, number)
        assert str(error.value).startswith(f"{cls.DASHES}{field.name} ")  # type: ignore[attr-defined]
        assert str(error.value).endswith(f" {number}; expected {limits}.")


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"least": 0}, "0 or more"),
        ({"above": 0}, "a number above 0"),
        ({"least": 0, "most": 1}, "a number from 0 to 1"),
        ({"least": 0, "below": 1}, "a number from 0 to below 1"),
        ({"above": 0, "most": 1}, "a number above 0 and at most 1"),
        ({"above": 0, "below": 1}, "a number above 0 and below 1"),
    ],
)
def test_a_range_in_words(bounds: dict[str, float], words: str) -> None:
    assert str(Range(**bounds)) == words


def test_integers_of_any_size_are_compared() -> None:
    assert 10**400 in Range(least=0) and -(10**400) not in Range(least=0)


def test_words_and_nothing_stand_outside() -> None:
    assert TrainConfig(batch_size=AUTO).accumulation_steps is None
    with pytest.raises(UserError, match=r"^--batch_size is -2; expected 1 or more\.$"):
        TrainConfig(batch_size=-2)


def test_the_same_options_for_another_side() -> None:
    @dataclasses.dataclass(frozen=True)
    class Side(Options):
        size: int = option(1, "size", least=1)

    with pytest.raises(UserError, match=r"^--tgt_size is 0; expected 1 or more\.$"):
        prefixed(Side, "tgt_", "TargetSide")(tgt_size=0)


def test_keys_of_a_file_have_no_dashes() -> None:
    with pytest.raises(UserError, match=r"^a\.json: dropout is 1\.5; expected a number from 0 to below 1\.$"):
        model_config_from_dict({"dropout": 1.5}, "a.json")


def test_a_task_that_predicts_is_told_before_the_model_is_read() -> None:
    paths = PredictPaths("model", "test.tsv", "answers.tsv")
    with pytest.raises(UserError, match=r"^--doc_stride is 0; expected 1 or more\.$"):
        PredictRun("cmrc", paths, TokenizerConfig(), {"doc_stride": 0})


@pytest.mark.parametrize("scheduler", ["inverse_sqrt", "tri_stage"])
def test_schedules_that_need_a_warm_up(scheduler: str) -> None:
    """Of pre-training and fine-tuning alike, whose options these are."""
    assert OptimConfig(warmup=1e-3, scheduler=scheduler).warmup
    with pytest.raises(UserError, match=f"--scheduler {scheduler} needs a warm-up, found --warmup 0"):
        OptimConfig(warmup=0.0, scheduler=scheduler)


def test_the_stages_of_a_run_are_no_longer_than_it() -> None:
    assert OptimConfig(warmup=0.5, lr_decay=0.5, scheduler="tri_stage").lr_decay
    assert OptimConfig(warmup=0.6, lr_decay=0.5, scheduler="linear").lr_decay  # which has no last stage
    with pytest.raises(UserError, match=r"--warmup 0\.6 and --lr_decay 0\.5 are more than the whole run"):
        OptimConfig(warmup=0.6, lr_decay=0.5, scheduler="tri_stage")
