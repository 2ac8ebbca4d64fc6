"""Models built straight into ZeRO-3 partitions by two ranks: the weights of a model built at once, without its memory.

One launch of two ranks builds all models of this file (`partitioned_worker.py`).
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.runs.conftest import Run
from tests.runs.partitioned_cases import CASES, LARGE, SEED, Case, large_config
from uer_ds.models.init import shrink_branches
from uer_ds.models.model import build_model, build_shapes
from uer_ds.models.weights import save_weights

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def built_at_once(case: Case) -> dict[str, Tensor]:
    """What one process has under ZeRO 0, before DeepSpeed rounds it to the type of the run."""
    torch.manual_seed(SEED)
    model = build_model(case.config())
    if case.deep_init:
        shrink_branches(model)
    return model.state_dict()


def large_shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in build_shapes(large_config()).named_parameters()}


def write_zeros(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + end)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with the weights of all models, gathered from two ranks."""
    folder = tmp_path_factory.mktemp("partitioned")
    save_weights(
        {name: weight + 1.0 for name, weight in built_at_once(CASES["tied"]).items()}, folder / "other.safetensors"
    )
    write_zeros(folder / f"{LARGE}.safetensors", large_shapes())
    run_together(2, "tests/runs/partitioned_worker.py", folder, timeout=120)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_have_the_weights_of_one(name: str, built: Path) -> None:
    found, wanted = load_file(built / f"{name}.safetensors"), built_at_once(CASES[name])
    assert found.keys() == wanted.keys()
    for key, weight in wanted.items():
        assert found[key].dtype == TYPES[CASES[name].dtype]
        assert torch.equal(found[key], weight.to(found[key].dtype)), key


def test_pretrained_weights_reach_every_partition(built: Path) -> None:
    found, wanted = (load_file(built / f"{name}.safetensors") for name in ("tied-loaded", "other"))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("moment", ["built", "loaded"])
def test_no_rank_ever_holds_a_large_model(moment: str, built: Path) -> None:
    for rank in (0, 1):
        measured = json.loads((built / f"{LARGE}-{rank}.json").read_text())
        assert measured["whole"] > 1000  # MiB
        assert measured[moment] < 0.75 * measured["whole"], measured


def test_no_rank_ever_holds_the_weights_that_it_saves(built: Path) -> None:
    """Not even rank 0, which writes the plain weights of all, tensor by tensor from the files of the ranks."""
    for rank in (0, 1):
        measured = json.loads((built / f"save-{rank}.json").read_text())
        assert measured["file"] > measured["whole"] > 60  # MiB; tied weights are in the file twice
        assert measured["saved"] < 0.6 * measured["whole"], measured  # the largest tensor is a third of it
