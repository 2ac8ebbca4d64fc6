"""DeepSpeed checkpoints of several ranks become the weights that the ranks had together, bit for bit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.runs.conftest import start_together
from uer_ds.convert import convert
from uer_ds.errors import UserError
from uer_ds.storage.zero import read_zero

WORKER = Path(__file__).with_name("zero_worker.py")


class Malicious:
    """Unpickled carelessly, it leaves a folder behind."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """What two ranks of DeepSpeed saved under each stage."""
    pytest.importorskip("deepspeed")
    output = tmp_path_factory.mktemp("zero")
    start_together(2, str(WORKER), output, timeout=300, DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
    return output


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gathered_weights_are_found_exactly(trained, tmp_path, stage):
    report = convert(trained / f"stage{stage}", tmp_path / "model.bin", to="uer")
    assert report.input_format == "DeepSpeed checkpoint"
    expected = torch.load(trained / f"gathered{stage}.bin", weights_only=True)
    found = torch.load(tmp_path / "model.bin", weights_only=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    tied = ("embedding.word.embedding.weight", "target.mlm.linear_2.weight")
    assert found[tied[0]].data_ptr() == found[tied[1]].data_ptr()


@pytest.mark.parametrize("stage", [2, 3])
def test_half_precision_has_its_float32_masters(trained, tmp_path, stage):
    """The weights that the optimizer keeps, of which the model's are the rounded ones."""
    convert(trained / f"stage{stage}_bf16", tmp_path / "model.bin", to="uer")
    rounded = torch.load(trained / f"gathered{stage}_bf16.bin", weights_only=True)
    found = torch.load(tmp_path / "model.bin", weights_only=True)
    assert found.keys() == rounded.keys()
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(torch.equal(found[name].bfloat16(), rounded[name]) for name in rounded)
    assert any(not torch.equal(found[name], rounded[name].float()) for name in rounded)


def test_a_zero_checkpoint_goes_straight_to_hugging_face(trained, tmp_path):
    report = convert(trained / "stage2", tmp_path / "hf")
    assert (report.export.family, report.export.head) == ("bert", "mlm_sp")


def save_ranks(folder: Path, stage: int, tensors: dict[str, torch.Tensor], ranks: int, padding: int = 0) -> None:
    """Files as DeepSpeed lays them out, for any number of ranks; `padding` numbers follow each parameter."""
    folder.mkdir(exist_ok=True)
    shapes = [{name: tensor.shape for name, tensor in tensors.items()}]
    if stage == 3:
        rows = [torch.nn.functional.pad(t.flatten(), (0, -t.numel() % ranks)).view(ranks, -1) for t in tensors.values()]
        vectors = torch.cat(rows, dim=1)
    else:
        whole = torch.cat([torch.nn.functional.pad(t.flatten(), (0, padding)) for t in tensors.values()])
        vectors = torch.nn.functional.pad(whole, (0, -len(whole) % (2 * ranks))).view(ranks, -1)
    module = {name: tensor.half() for name, tensor in tensors.items()}  # as after training in fp16
    model = {"module": module, "param_shapes": shapes, "shared_params": {"copy": "b"}}
    for rank in range(ranks if stage == 3 else 1):
        name = f"zero_pp_rank_{rank}_mp_rank_00" if stage == 3 else "mp_rank_00"
        torch.save(model, folder / f"{name}_model_states.pt")
    for rank in range(ranks):
        flat = list(vectors[rank].clone().split(7)) if stage == 3 else [vectors[rank].clone()]
        key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
        state = {"zero_stage": stage, "partition_count": ranks, key: flat}
        if padding:
            state["param_alignment_paddings"] = [[padding] * len(tensors)]
        torch.save({"optimizer_state_dict": state}, folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("ranks", [1, 3, 12])
def test_any_number_of_ranks_and_odd_sizes(tmp_path, stage, ranks):
    tensors = {"a": torch.randn(5, 3), "b": torch.randn(1), "c": torch.randn(2, 2, 3)}
    save_ranks(tmp_path, stage, tensors, ranks, padding=0 if stage == 3 else 1)
    found = read_zero(tmp_path)
    assert all(torch.equal(found[name].read(), tensors[name]) for name in tensors)  # the masters, not the fp16 weights
    assert found["copy"] is found["b"]


def test_a_missing_rank_is_named(tmp_path):
    save_ranks(tmp_path, 1, {"b": torch.randn(9)}, 3)
    (tmp_path / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(UserError, match="written by 3 ranks, but 2"):
        read_zero(tmp_path)


def test_model_parallel_checkpoints_are_refused(tmp_path):
    save_ranks(tmp_path, 1, {"b": torch.randn(9)}, 1)
    (tmp_path / "mp_rank_00_model_states.pt").rename(tmp_path / "mp_rank_01_model_states.pt")
    with pytest.raises(UserError, match="model-parallel"):
        read_zero(tmp_path)


def test_code_in_the_files_is_not_run(tmp_path):
    save_ranks(tmp_path / "ranks", 1, {"b": torch.randn(9)}, 1)
    path = tmp_path / "ranks" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    torch.save({"optimizer_state_dict": {"loss_scaler": Malicious(tmp_path / "trace")}}, path)
    with pytest.raises(UserError, match="mkdir"):
        read_zero(tmp_path / "ranks")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("tag", ["../elsewhere", "absent", ""])
def test_a_wrong_tag_is_refused(tmp_path, tag):
    (tmp_path / "latest").write_text(tag)
    with pytest.raises(UserError, match="latest"):
        convert(tmp_path, tmp_path / "out")
