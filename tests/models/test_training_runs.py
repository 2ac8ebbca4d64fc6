"""Twenty updates with UER-py's optimizer and schedule: losses and final weights follow UER-py's own runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.models.golden_families import NORMS, family
from uer_ds.config.run import OptimConfig
from uer_ds.models.init import decays
from uer_ds.models.model import build_model
from uer_ds.models.weights import load_weights
from uer_ds.train.optim import AdamW, parameter_groups
from uer_ds.train.schedules import learning_rate

RUNS = json.loads((Path(__file__).resolve().parents[1] / "golden" / "optim" / "training_runs.json").read_text())
UPDATES, BASE_RATE = 20, 1e-3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", RUNS["families"])
def test_twenty_updates_follow_uer(name: str, norm: str) -> None:
    run = RUNS["families"][name]
    wanted, case = run[NORMS[norm]], family(name, norm)
    model = build_model(case.config(dropout=0.0))
    load_weights(model, case.weights)
    optim = OptimConfig(learning_rate=BASE_RATE)
    optimizer = AdamW(parameter_groups(model, decays(model), optim.weight_decay), lr=BASE_RATE)
    batch = case.batch()
    for update in range(UPDATES):
        rate = learning_rate(optim, update, UPDATES)
        assert rate == pytest.approx(wanted["learning_rates"][update])
        for group in optimizer.param_groups:
            group["lr"] = rate
        sums = {key.removeprefix("loss_"): total for key, (total, _) in model(batch).items() if key.startswith("loss")}
        loss = torch.stack([total / case.denominator(label) for label, total in sums.items()]).sum()
        assert loss.item() == pytest.approx(wanted["losses"][update], rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key, norm_wanted in wanted["final_parameter_norms"].items():
        assert model.get_parameter(key).norm().item() == pytest.approx(norm_wanted, rel=1e-4), key


def test_decay_follows_uer_by_type() -> None:
    for name, run in RUNS["families"].items():
        found = decays(build_model(family(name, "uer").config()))
        undecayed = set(run["uer_layernorm"]["no_weight_decay"])
        assert {key for key, decay in found.items() if not decay} == undecayed & set(found)
