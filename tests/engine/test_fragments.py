"""A loss scale that fp16 training has reached goes on, also between engines that keep it in different places."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler

from uer_ds.engine.fragments import _fill_loss_scale
from uer_ds.storage.zero import read_engine_state

REACHED = {"cur_scale": 512.0, "cur_iter": 77, "last_overflow_iter": 70, "cur_hysteresis": 1}


def scaler(**state: float) -> DynamicLossScaler:
    """A dynamic loss scale as ZeRO keeps it."""
    made = DynamicLossScaler(2.0**16, scale_window=1000, min_scale=1.0, delayed_shift=2, consecutive_hysteresis=False)
    for name, value in state.items():
        setattr(made, name, value)
    return made


def write_zero(folder: Path) -> None:
    """Files of one rank at stage 2, as far as a loss scale needs them."""
    model = {"param_shapes": [{"w": torch.Size([4])}], "global_steps": 77, "skipped_steps": 3}
    torch.save(model, folder / "mp_rank_00_model_states.pt")
    vectors = {"single_partition_of_fp32_groups": [torch.arange(4.0)], "base_optimizer_state": {"state": {}}}
    state = {"zero_stage": 2, "partition_count": 1, "loss_scaler": scaler(**REACHED), **vectors}
    torch.save({"optimizer_state_dict": state}, folder / "zero_pp_rank_0_mp_rank_00_optim_states.pt")


def test_a_loss_scale_moves_from_zero_to_stage_0(tmp_path: Path) -> None:
    write_zero(tmp_path)
    state = read_engine_state(tmp_path)
    assert state.loss_scale == REACHED
    assert state.counters == {"global_steps": 77, "global_samples": 0, "skipped_steps": 3}
    plain = SimpleNamespace(loss_scale_config=SimpleNamespace(dynamic_loss_scale=True, cur_scale=1.0, cur_iter=0))
    _fill_loss_scale(plain, state.loss_scale)
    assert (plain.loss_scale_config.cur_scale, plain.loss_scale_config.cur_iter) == (512.0, 77)


def test_a_loss_scale_moves_between_zero_stages() -> None:
    fresh = SimpleNamespace(loss_scaler=scaler())
    _fill_loss_scale(fresh, REACHED)
    assert {name: getattr(fresh.loss_scaler, name) for name in REACHED} == REACHED


@pytest.mark.parametrize("constant", [LossScaler(128.0), None])
def test_a_constant_loss_scale_stays(constant: LossScaler | None) -> None:
    optimizer = SimpleNamespace(loss_scaler=constant)
    _fill_loss_scale(optimizer, REACHED)
    assert constant is None or constant.cur_scale == 128.0
