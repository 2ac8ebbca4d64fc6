"""All schedules against UER-py's multipliers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uer_ds.config.options import read_values
from uer_ds.config.run import SCHEDULERS, OptimConfig
from uer_ds.errors import UserError
from uer_ds.train.schedules import SCHEDULES, learning_rate

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden" / "optim" / "schedules.json").read_text())


def title(case: dict[str, Any]) -> str:
    return f"{case['scheduler']}-{case['base_lr']}-{case['warmup']}-{case.get('lr_decay', '')}"


@pytest.mark.parametrize("case", GOLDEN["schedules"], ids=title)
def test_multipliers_equal_uer(case: dict[str, Any]) -> None:
    values = {"scheduler": case["scheduler"], "warmup": case["warmup"], "lr_decay": case.get("lr_decay", 0.5)}
    if "error" in case:  # UER-py divides by zero
        with pytest.raises(UserError, match="--warmup"):
            OptimConfig(**values)
        return
    optim, wanted = OptimConfig(learning_rate=case["base_lr"], **values), case["multipliers"]
    found = [learning_rate(optim, update, GOLDEN["total_steps"]) / optim.learning_rate for update in range(len(wanted))]
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_every_option_has_a_schedule() -> None:
    assert set(SCHEDULES) == set(SCHEDULERS)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'linear'"):
        read_values(OptimConfig, {"scheduler": "liner"}, "here")
