"""Model FLOPs against torch's counter of executed products, and by hand where more is executed than needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.models import products
from uer_ds.models.flops import Work, training_flops, work_of
from uer_ds.models.model import Model, build_model

SMALL = {"hidden_size": 32, "emb_size": 32, "feedforward_size": 96, "heads_num": 4, "layers_num": 3, "vocab_size": 50}
BERT = {**SMALL, "embedding": ["word", "pos", "seg"], "encoder": "transformer", "mask": "fully_visible"}
ALBERT = {"parameter_sharing": True, "factorized_embedding_parameterization": True, "emb_size": 16}
T5 = {"embedding": ["word"], "tgt_embedding": ["word"], "decoder": "transformer", "relative_position_embedding": True}


@pytest.fixture(autouse=True)
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter knows torch's own products only."""
    monkeypatch.setattr(products, "prefers_onednn", lambda: False)


def build(values: dict[str, Any]) -> Model:
    return build_model(model_config_from_dict({"target": ["mlm"], **BERT, **values}, "test"))


@pytest.mark.parametrize("changes", [{}, ALBERT, {"feed_forward": "gated"}], ids=["bert", "albert", "gated"])
def test_an_encoder_executes_what_is_counted(changes: dict[str, Any]) -> None:
    model = build(changes)
    ids = torch.randint(1, 50, (2, 24))
    with FlopCounterMode(display=False) as counter:
        model.encode(ids, torch.ones_like(ids))
    assert training_flops(model, Work(tokens=48, pairs=2 * 24 * 24)) == 3 * counter.get_total_flops()


def test_a_decoder_executes_what_is_counted() -> None:
    model = build({**T5, "target": ["lm"], "layers_num": 2, "decoder_layers_num": 3})
    source, target = torch.randint(1, 50, (2, 24)), torch.randint(1, 50, (2, 10))
    batch = Batch(source, torch.ones_like(source), decoder=Batch(target, torch.ones_like(target)))
    with FlopCounterMode(display=False) as counter:
        model.output(batch)
    work = Work(tokens=48, pairs=2 * 24 * 24, target_tokens=20, target_pairs=2 * 10 * 10, memory_pairs=2 * 10 * 24)
    assert training_flops(model, work) == 3 * counter.get_total_flops()


def test_heads_cost_only_where_there_are_labels() -> None:
    model = build({})
    assert training_flops(model, Work(0, 0, labels={"mlm": 7})) == 3 * 2 * 7 * (32 * 32 + 32 * 50)


def test_only_what_is_seen_is_work() -> None:
    segments = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 2, 0, 0]])
    documents = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    labels = {"lm": torch.tensor([[3, 0, IGNORE, 1, 1, IGNORE]] * 2)}
    batch = Batch(segments, segments, documents=documents, labels=labels)
    assert work_of(batch, "fully_visible") == Work(9, 2 * 2 + 3 * 3 + 4 * 4, labels={"lm": 8})
    assert work_of(batch, "causal") == Work(9, 3 + 6 + 10, labels={"lm": 8})
    assert work_of(batch, "causal_with_prefix").pairs == 2 * 2 + 3 * 3 + 3 * 3 + 4
    decoder = Batch(
        torch.ones(2, 3), torch.tensor([[1, 1, 0], [1, 1, 1]]), documents=torch.tensor([[0, 1, 1], [0, 0, 0]])
    )
    work = work_of(Batch(segments, segments, documents=documents, decoder=decoder), "fully_visible")
    assert (work.target_tokens, work.target_pairs, work.memory_pairs) == (5, 1 + 1 + 6, 2 + 3 + 3 * 4)


@pytest.mark.parametrize("encoder", ["lstm", "bigru", "gatedcnn"])
def test_each_weight_of_other_encoders_meets_each_token_once(encoder: str) -> None:
    more = {"kernel_size": 3, "block_size": 1} if encoder == "gatedcnn" else {}
    target = ["bilm" if encoder == "bigru" else "lm"]
    model = build({"encoder": encoder, "embedding": ["word"], "target": target, "hidden_size": 64, **more})
    matrices = [p for p in model.encoder.parameters() if p.dim() > 1 and p.shape.numel() > max(p.shape)]
    assert training_flops(model, Work(10, 0)) == 3 * 2 * 10 * sum(p.numel() for p in matrices)
