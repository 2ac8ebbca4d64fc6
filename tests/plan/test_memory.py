"""Memory by part against sums made by hand, and what must grow or shrink with what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from uer_ds.models.zoo import resolve_model
from uer_ds.plan.division import FULL, HALF, Division, division_of
from uer_ds.plan.memory import FIXED, FIXED_LOW_PRECISION, Subject, moments, peak
from uer_ds.plan.rows import Rows

P, V = 102_121_131, 20_907
BASE = Subject(resolve_model("bert/base_config").replace(vocab_size=V, target=("mlm",)), P, "adamw", "cpu")
ROWS = Rows(8, 128, 128, predicted=19.2)
ONE = Division(0, 1, FULL, bucket=50_000_000)


@pytest.mark.parametrize(
    ("stage", "width", "bytes_each"),
    [  # weights, float32 weights, moments, gradients, then their copies in the step
        (0, FULL, 4 + 8 + 4),
        (0, HALF, 2 + 4 + 8 + 2 + 4),
        (1, FULL, 4 + 4 + 8 + 4 + 4),
        (2, HALF, 2 + 4 + 8 + 2 + 2 + 4),
    ],
)
def test_the_step_of_one_process_holds_so_many_bytes_a_parameter(stage: int, width: int, bytes_each: int) -> None:
    step = moments(BASE, replace(ONE, stage=stage, width=width), ROWS)["step"]
    fixed = FIXED["cpu"][stage] + (FIXED_LOW_PRECISION if width == HALF else 0)
    assert step.total == pytest.approx(fixed + bytes_each * P)


def test_stage_3_keeps_a_bucket_and_a_buffer_of_gradients() -> None:
    step = moments(BASE, replace(ONE, stage=3), ROWS)["step"]
    assert step.total == pytest.approx(FIXED["cpu"][3] + (4 + 4 + 8 + 4 + 4) * P + 4 * 50_000_000)


def test_many_processes_divide_what_their_stage_divides() -> None:
    many = [peak(replace(BASE, device="gpu"), replace(ONE, stage=s, processes=64), ROWS) for s in range(4)]
    assert many[0].optimizer == pytest.approx(8 * P)
    assert all(each.optimizer == pytest.approx(12 * P / 64) for each in many[1:])
    assert many[1].weights == pytest.approx(4 * P) and many[3].weights == pytest.approx(4 * P / 64 + 4 * P)
    step = moments(replace(BASE, device="gpu"), replace(ONE, stage=2, processes=64), ROWS)["step"]
    assert step.gradients == pytest.approx(4 * P / 64)


def test_stage_3_of_a_large_model_gathers_no_more_than_it_may() -> None:
    wide = replace(ONE, stage=3, processes=64, live=10_000_000)
    assert peak(BASE, wide, ROWS).weights == pytest.approx(4 * P / 64 + 4 * 10_000_000)


def test_offloading_moves_the_optimizer_to_the_host() -> None:
    gpu = replace(BASE, device="gpu")
    away = peak(gpu, replace(ONE, stage=2, processes=4, offload=True), ROWS)
    assert away.optimizer == 0 and away.host == pytest.approx(16 * P / 4)
    assert away.total < peak(gpu, replace(ONE, stage=2, processes=4), ROWS).total


def test_recomputation_and_smaller_batches_need_less() -> None:
    full = moments(BASE, ONE, ROWS)["loss"].activations
    assert moments(replace(BASE, recompute=1), ONE, ROWS)["loss"].activations < full / 4
    assert moments(BASE, ONE, ROWS.of(4))["loss"].activations == pytest.approx(full / 2)


def test_accumulated_gradients_exist_beside_all_activations() -> None:
    alone, several = (moments(replace(BASE, accumulation=n), ONE, ROWS)["loss"] for n in (1, 2))
    assert several.gradients - alone.gradients == pytest.approx(4 * P)


def test_logits_never_exceed_a_chunk() -> None:
    few, many = (moments(BASE, ONE, replace(ROWS, predicted=n))["loss"].logits for n in (1e4, 1e5))
    assert few == many


def test_a_deepspeed_json_is_read() -> None:
    zero = {"stage": 2, "reduce_bucket_size": 7, "offload_optimizer": {"device": "cpu"}, "overlap_comm": True}
    division = division_of({"bf16": {"enabled": True}, "zero_optimization": zero}, 8)
    assert division == Division(2, 8, HALF, offload=True, overlap=True, bucket=7)
    assert division_of({}, 1) == Division(0, 1, FULL)
