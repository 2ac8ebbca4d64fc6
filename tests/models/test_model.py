"""The model as a whole: half precision, evaluation, labels and inputs that do not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.models.golden_families import FAMILIES, family
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.errors import UserError
from uer_ds.models.model import build_model

TRAINABLE = [name for name in FAMILIES if family(name, "normal").config().encoder != "dual"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "pegasus", "bert_residual_attention", "bert_sinusoidalpos"])
def test_half_precision_follows_full_precision(name: str, dtype: torch.dtype) -> None:
    case = family(name, "normal")
    torch.manual_seed(0)
    model = build_model(case.config(dropout=0.0))
    batch = case.batch()
    wanted = model(batch)
    found = model.to(dtype)(batch)
    for key, (total, count) in found.items():
        assert total.dtype == count.dtype == torch.float32
        if key.startswith("loss"):
            torch.testing.assert_close(total, wanted[key][0], rtol=2e-2, atol=0)
    torch.stack([total for key, (total, _) in found.items() if key.startswith("loss")]).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_parameter_gets_a_gradient_even_without_labels(name: str) -> None:
    """What DeepSpeed needs: each rank runs the same parts, also where a batch has nothing to predict."""
    case = family(name, "normal")
    model = build_model(case.config())
    batch = case.batch()
    none = {label: torch.full_like(values, IGNORE) for label, values in batch.labels.items()}
    terms = model(replace(batch, labels=none))
    assert all(total == count == 0 for total, count in terms.values())
    torch.stack([total for key, (total, _) in terms.items() if key.startswith("loss")]).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_terms_are_plain_and_count_labels() -> None:
    case = family("bert", "normal")
    batch = case.batch()
    terms = build_model(case.config())(batch)
    assert set(terms) == {"loss_mlm", "accuracy_mlm", "loss_sp", "accuracy_sp"}
    assert {name: int(terms[f"loss_{name}"][1]) for name in batch.labels} == batch.label_counts()


def test_dropout_is_off_in_evaluation() -> None:
    case = family("bert", "normal")
    model = build_model(case.config(dropout=0.5))
    batch = case.batch()
    assert not torch.equal(model.encode(batch), model.encode(batch))
    model.eval()
    assert torch.equal(model.encode(batch), model.encode(batch))


def test_what_does_not_fit_is_named() -> None:
    bert, t5 = (family(name, "normal") for name in ("bert", "t5"))
    batch = bert.batch()
    with pytest.raises(UserError, match="target 'sp' needs labels sp, but the batch has mlm"):
        build_model(bert.config())(Batch(batch.ids, batch.segments, labels={"mlm": batch.labels["mlm"]}))
    with pytest.raises(UserError, match="the batch has no decoder input"):
        build_model(t5.config())(batch)
    with pytest.raises(UserError, match="vocab_size is missing"):
        build_model(bert.config(vocab_size=None))
    with pytest.raises(UserError, match=r"ids have shape \(3, 24\) and segments \(3, 23\)"):
        build_model(bert.config()).encode(batch.ids, batch.segments[:, 1:])
    with pytest.raises(UserError, match=r"rows of 24 tokens are longer than the position table \(max_seq_length 8\)"):
        build_model(bert.config(max_seq_length=8)).encode(batch)


WRONG_INPUT = {
    "no segments": ([[2, 3]], None, "segments are NoneType and no array of integers"),
    "ragged rows": ([[2, 3], [2]], [[1, 1], [1]], "ids are list and no array of integers"),
    "broken numbers": ([[2.0, 3.5]], [[1, 1]], "ids are of type torch.float32; expected integers"),
    "unknown ids": ([[2, 200]], [[1, 1]], "ids go from 2 to 200; this model knows 0 to 199"),
    "negative ids": ([[-1, 2]], [[1, 1]], "ids go from -1 to 2"),
    "a third segment": ([[2, 3]], [[1, 3]], "segments go from 1 to 3; this model knows 0 to 2"),
    "an empty row": ([[]], [[]], r"ids have shape (1, 0)"),
    "no batch": ([2, 3], [1, 1], r"ids have shape (2,)"),
}


@pytest.mark.parametrize("name", WRONG_INPUT)
def test_arrays_that_are_no_ids_are_refused(name: str) -> None:
    ids, segments, words = WRONG_INPUT[name]
    with pytest.raises(UserError, match=re.escape(words)):
        build_model(family("bert", "normal").config()).encode(ids, segments)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64])
def test_ids_of_any_integer_type_are_read(dtype: type) -> None:
    model = build_model(family("bert", "normal").config()).eval()
    ids, segments = np.array([[2, 3, 4]]), np.array([[1, 2, 0]])
    found = model.encode(ids.astype(dtype), segments.astype(dtype))
    assert torch.equal(found, model.encode(ids.tolist(), segments.tolist()))


def test_two_streams_refuse_packed_rows() -> None:
    case = family("sbert", "normal")
    batch = replace(case.batch(), documents=torch.zeros_like(case.batch().ids))
    with pytest.raises(UserError, match="one text a row, but the rows are packed"):
        build_model(case.config()).encode_streams(batch)
