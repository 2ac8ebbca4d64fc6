"""The formulas of activations against what autograd really saves, for small models of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.models.labels import Labels
from uer_ds.models.model import Model, build_model
from uer_ds.plan.activations import Kept, activation_bytes, head_bytes
from uer_ds.plan.rows import Rows

B, S, T = 3, 40, 24
SMALL = {"hidden_size": 64, "emb_size": 64, "feedforward_size": 192, "heads_num": 4, "layers_num": 3, "vocab_size": 50}
BERT = {**SMALL, "embedding": ["word", "pos", "seg"], "encoder": "transformer", "target": ["mlm"]}
PRE_GATED = {"layernorm_positioning": "pre", "layernorm": "rms", "feed_forward": "gated", "hidden_act": "silu"}
DECODER = {"decoder": "transformer", "decoder_layers_num": 2, "tgt_embedding": ["word"], "target": ["lm"]}
LAYERS: dict[str, dict[str, Any]] = {
    "post": {},
    "no dropout": {"dropout": 0.0},
    "pre": {"layernorm_positioning": "pre"},
    "relu": {"hidden_act": "relu"},
    "gated": {"feed_forward": "gated"},
    "pre, gated, rms": {**PRE_GATED, "dropout": 0.0},
    "UER's norm": {"layernorm": "uer"},
    "T5's norm": {"layernorm": "t5"},
    "residual": {"has_residual_attention": True},
    "residual, no dropout": {"has_residual_attention": True, "dropout": 0.0},
    "shared layers": {"parameter_sharing": True, "factorized_embedding_parameterization": True, "emb_size": 32},
    "grouped keys": {"local_kv_heads_num": 2},
    "position bias": {"relative_position_embedding": True},
    "decoder": DECODER,
    "pre decoder": {**DECODER, "layernorm_positioning": "pre"},
}


def saved_bytes(model: Model, batch: Batch) -> float:
    """Of everything that the forward pass leaves, and of the batch; storages once, parameters not at all."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            found[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        pack(model.output(batch))
    return float(sum(storage.nbytes() for storage in found.values()))


def both(changes: dict[str, Any], kind: torch.dtype = torch.float32, document: int = S, layers: int = 0) -> list[float]:
    """Saved, and by formula, without what the batch itself takes."""
    config = model_config_from_dict({**BERT, **changes}, "test")
    model = build_model(config).to(kind).train()
    model.recompute_activations(layers)
    ids = torch.randint(5, 50, (B, S))
    documents = (torch.arange(S) // document).expand(B, S) if document < S else None
    target = torch.randint(5, 50, (B, T))
    decoder = Batch(target, torch.ones_like(target)) if config.decoder else None
    rows = Rows(B, S, document, T if config.decoder else 0)
    kept = Kept(kind.itemsize, "cpu")
    batch = Batch(ids, torch.ones_like(ids), documents=documents, decoder=decoder)
    return [saved_bytes(model, batch), activation_bytes(config, rows, kept, layers)]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("changes", LAYERS.values(), ids=LAYERS.keys())
def test_transformers_keep_what_the_formula_says(changes: dict[str, Any], kind: torch.dtype) -> None:
    saved, planned = both(changes, kind)
    assert planned == pytest.approx(saved, rel=0.02)


def test_attention_keeps_bytes_for_pairs_inside_documents_only() -> None:
    saved, planned = both({}, document=8)
    assert planned == pytest.approx(saved, rel=0.02)
    assert planned < both({})[1]


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_pieces_that_are_recomputed_keep_their_inputs(layers: int) -> None:
    saved, planned = both({}, layers=layers)
    working = both({"layers_num": layers + 1})[1] - both({"layers_num": 1})[1]
    assert planned - working == pytest.approx(saved, rel=0.03)


@pytest.mark.parametrize("encoder", ["rnn", "lstm", "gru", "birnn", "bilstm", "bigru", "gatedcnn"])
def test_other_encoders_keep_about_what_the_formula_says(encoder: str) -> None:
    saved, planned = both({"encoder": encoder, "kernel_size": 3, "block_size": 2})
    assert planned == pytest.approx(saved, rel=0.12)


@pytest.mark.parametrize("target", ["mlm", "lm"])
def test_heads_keep_what_the_formula_says(target: str) -> None:
    config = model_config_from_dict(
        {**BERT, "target": [target], "mask": "causal" if target == "lm" else "fully_visible"}, "test"
    )
    model = build_model(config).train()
    labels = torch.full((B, S), IGNORE)
    labels[:, :10] = 7
    parts: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        parts.append(tensor)
        return tensor

    hidden = torch.randn(B, S, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ((loss, *_),) = model.target[target](hidden, torch.ones(B, S), Labels(labels))
    gradients = loss.grad_fn.gradients  # kept by the head itself
    storages = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in [*parts, gradients.source]
    }
    for parameter in model.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    saved = sum(storages.values()) + gradients.hidden.nbytes
    assert head_bytes(config, 30, Kept(4, "cpu")) == pytest.approx(saved, rel=0.05)
