"""What is written is compared with the original before it is published, and a small fault is enough to refuse it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uer_ds.convert import convert
from uer_ds.errors import UserError
from uer_ds.storage.lazy import TensorMap

GOLDENS = Path(__file__).resolve().parents[1] / "golden" / "models"


@pytest.fixture
def fault(monkeypatch) -> Callable[[str, str], None]:
    """Lets a writer write zeros in place of the tensors whose name has a certain ending."""

    def break_writer(where: str, ending: str) -> None:
        module, name = where.rsplit(".", 1)
        write = getattr(__import__(module, fromlist=[name]), name)

        def wrong(path: Path, tensors: TensorMap, *rest: Any) -> Any:
            broken = {
                key: item.map(torch.zeros_like) if key.endswith(ending) else item for key, item in tensors.items()
            }
            assert sum(broken[key] is not tensors[key] for key in tensors) == 1
            return write(path, broken, *rest)

        monkeypatch.setattr(where, wrong)

    return break_writer


def test_a_lost_matrix_at_hugging_face_is_noticed(small_bert, tmp_path, fault):
    """Initial weights are small, so that one of the matrices hardly shows in the logits."""
    pytest.importorskip("transformers")
    model = small_bert(tmp_path / "model")
    fault("uer_ds.convert.huggingface.write_safetensors", "layer.1.attention.output.dense.weight")
    with pytest.raises(UserError, match=r"of the largest .expected at most 0\.0001.*nothing was written"):
        convert(model, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    assert convert(model, tmp_path / "hf", verify=False).export.difference is None


@pytest.mark.parametrize("source", ["ours", "theirs"])
@pytest.mark.parametrize("output", ["x.bin", "folder"])
def test_a_lost_matrix_in_our_files_is_noticed(small_bert, tmp_path, fault, source, output):
    pytest.importorskip("transformers")
    model = small_bert(tmp_path / "model")
    if source == "theirs":
        convert(model, tmp_path / "hf")
    fault(
        f"uer_ds.convert.export.write_{'torch' if output == 'x.bin' else 'safetensors'}",
        "1.self_attn.final_linear.weight",
    )
    with pytest.raises(UserError, match="nothing was written"):
        convert(
            tmp_path / "hf" if source == "theirs" else model,
            tmp_path / output,
            to="uer" if output == "x.bin" else "safetensors",
        )
    assert not (tmp_path / output).exists()


def test_a_wrong_fold_is_noticed(small_bert, tmp_path, monkeypatch):
    """`--layernorm uer` changes the scales; the written file is verified, not what it was made from."""
    model = small_bert(tmp_path / "model")
    report = convert(model, tmp_path / "x.bin", to="uer", layernorm="uer")
    assert report.export.difference is not None
    monkeypatch.setattr(
        "uer_ds.convert.our_model.fold_layer_norm",
        lambda tensors, inverse: {
            name: item.map(lambda values: values * 1.1) if name.endswith("gamma") else item
            for name, item in tensors.items()
        },
    )
    with pytest.raises(UserError, match=r"expected at most 0\.01"):
        convert(model, tmp_path / "y.bin", to="uer", layernorm="uer")


@pytest.mark.parametrize("name", ["lstm_lm", "bilstm_bilm", "siamese_lstm", "sbert", "transformer_mt", "cls_mean"])
def test_models_without_a_counterpart_are_verified_too(tmp_path, name):
    report = convert(GOLDENS / name, tmp_path / "x.bin", to="uer", verify=True)
    assert report.export.difference is not None
    assert report.export.difference.absolute == 0


def test_verify_is_never_ignored(small_bert, tmp_path):
    pytest.importorskip("transformers")
    convert(small_bert(tmp_path / "model"), tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"--verify builds the original with transformers.*name the folder"):
        convert(tmp_path / "x.safetensors", tmp_path / "y.bin", to="uer", heads_num=4, verify=True)
    notes = convert(tmp_path / "x.safetensors", tmp_path / "y.bin", to="uer", heads_num=4).export.notes
    assert any("not with transformers" in note for note in notes)


def test_what_transformers_refuses_is_one_sentence(small_bert, tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")

    def fail(folder: Path) -> None:
        raise ValueError("no such thing\nand more")

    monkeypatch.setattr(transformers.BertForMaskedLM, "from_pretrained", fail)
    with pytest.raises(UserError, match=r"cannot run BertForMaskedLM .no such thing.; --no_verify"):
        convert(small_bert(tmp_path / "model"), tmp_path / "hf")
