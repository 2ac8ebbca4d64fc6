"""AdamW and Adafactor against UER-py's own numbers, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from uer_ds.train.optim import Adafactor, AdamW, parameter_groups

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "optim"
CASES = json.loads((GOLDEN / "optimizers.json").read_text())


def tensors_of(golden: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


def optimizer_of(case: dict[str, Any], parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    groups = [{**group, "params": [parameters[n] for n in group["params"]]} for group in case["groups"]]
    defaults = {name: value for name, value in case["defaults"].items() if name != "beta1"}
    return AdamW(groups, **defaults) if "betas" in defaults else Adafactor(groups, **defaults)


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_equal_uer(name: str) -> None:
    golden = load_file(GOLDEN / f"{name}.safetensors")
    courses, gradients = tensors_of(golden, "param."), tensors_of(golden, "grad.")
    parameters = {key: nn.Parameter(course[0].clone()) for key, course in courses.items()}
    optimizer = optimizer_of(CASES[name], parameters)
    for step in range(CASES[name]["steps"]):
        for key, parameter in parameters.items():
            parameter.grad = gradients[key][step].clone()
        if "lr" in golden:
            for group in optimizer.param_groups:
                group["lr"] = float(golden["lr"][step])
        optimizer.step()
        for key, parameter in parameters.items():
            torch.testing.assert_close(parameter.data, courses[key][step + 1], rtol=1e-6, atol=1e-7)
    for key, value in tensors_of(golden, "final_state.").items():
        kind, parameter_name = key.split(".", 1)
        torch.testing.assert_close(optimizer.state[parameters[parameter_name]][kind], value, rtol=1e-5, atol=1e-9)


def test_the_layout_of_gradients_does_not_matter() -> None:
    start = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    results = []
    for turn in (lambda x: x, lambda x: x.T.contiguous().T):
        parameter = nn.Parameter(start.clone())
        optimizer = AdamW([parameter], lr=0.1, weight_decay=0.01)
        for _ in range(3):
            parameter.grad = turn(parameter.detach().sin())
            optimizer.step()
        results.append(parameter.detach())
    assert torch.equal(*results)


def test_a_rate_of_zero_moves_nothing() -> None:
    """The first update of a warm-up."""
    parameter = nn.Parameter(torch.ones(3))
    optimizer = AdamW([parameter], lr=0.0, weight_decay=0.01, correct_bias=True)
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert parameter.detach().equal(torch.ones(3)) and float(optimizer.state[parameter]["exp_avg"][0]) > 0


def test_adafactor_takes_stacks_of_matrices() -> None:
    parameter = nn.Parameter(torch.ones(2, 3, 4, 1))
    parameter.grad = torch.ones_like(parameter)
    Adafactor([parameter], lr=0.1, scale_parameter=False, relative_step=False).step()
    torch.testing.assert_close(parameter.data, torch.full_like(parameter, 0.9))


def test_no_group_is_empty() -> None:
    model = nn.Linear(2, 2, bias=False)
    groups = parameter_groups(model, {"weight": True}, 0.01)
    assert [group["weight_decay"] for group in groups] == [0.01]
