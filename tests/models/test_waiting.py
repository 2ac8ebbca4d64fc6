"""A step on an accelerator never waits for it: what the host must know it has found before the batch left.

On torch's meta device tensors have shapes and no values, so any question after a value is an error there.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.test_packing import packed_and_single
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.models.compiling import compile_regions
from uer_ds.models.model import Model, build_model
from uer_ds.models.visibility import Visibility

SIZES = {"emb_size": 32, "hidden_size": 32, "vocab_size": 50, "layers_num": 2, "max_seq_length": 32}
TRANSFORMER = {**SIZES, "feedforward_size": 64, "heads_num": 2, "embedding": ["word", "pos"], "dropout": 0.1}
T5 = {
    **TRANSFORMER,
    "embedding": ["word"],
    "tgt_embedding": ["word"],
    "decoder": "transformer",
    "relative_position_embedding": True,
    "target": ["lm"],
}
RECURRENT = {**SIZES, "embedding": ["word"], "target": ["lm"]}
LLAMA = {
    **TRANSFORMER,
    "embedding": ["word"],
    "rotary_position_embedding": True,
    "layernorm": "rms",
    "feed_forward": "gated",
    "local_kv_heads_num": 1,
}
ALBERT = {
    **TRANSFORMER,
    "emb_size": 16,
    "factorized_embedding_parameterization": True,
    "parameter_sharing": True,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {**LLAMA, "target": ["lm"], "mask": "causal"},
    "albert": {**ALBERT, "target": ["mlm"]},
    "mlm": {**TRANSFORMER, "target": ["mlm"]},
    "lm": {**TRANSFORMER, "target": ["lm"], "mask": "causal"},
    "prefix": {**TRANSFORMER, "target": ["lm"], "mask": "causal_with_prefix"},
    "t5": T5,
    "residual": {**TRANSFORMER, "target": ["mlm"], "has_residual_attention": True},
    "lstm": {**RECURRENT, "encoder": "lstm"},
    "both ways": {**RECURRENT, "encoder": "lstm", "bidirectional": True, "target": ["mlm"]},
    "elmo": {**RECURRENT, "encoder": "bilstm", "target": ["bilm"]},
    "gatedcnn": {**RECURRENT, "encoder": "gatedcnn", "kernel_size": 3, "block_size": 2},
}


def model_of(name: str) -> Model:
    torch.manual_seed(1)
    return build_model(model_config_from_dict(MODELS[name]))


def packed(model: Model) -> Batch:
    return packed_and_single(model, padding_document=3)[0]


def loss_of(model: Model, batch: Batch) -> torch.Tensor:
    return sum(total for key, (total, _) in model(batch).items() if key.startswith("loss_"))  # type: ignore[return-value]


def unpacked(batch: Batch) -> Batch:
    decoder = batch.decoder and dataclasses.replace(batch.decoder, documents=None, positions=None)
    return dataclasses.replace(batch, documents=None, positions=None, decoder=decoder)


@pytest.mark.parametrize("rows", ["packed", "padded"])
@pytest.mark.parametrize("recompute", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_asks_for_no_value(name: str, recompute: int, rows: str) -> None:
    with torch.device("meta"):
        model = model_of(name).bfloat16().train()
    model.recompute_activations(recompute)
    batch = packed(model)
    if rows == "padded":
        batch = unpacked(batch)
    batch = batch.to("meta")
    loss_of(model, batch).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):
        model(dataclasses.replace(batch, known=None))


class Operators(TorchDispatchMode):
    """Counts the operators that run inside the `with` block, in the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.runs[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


FLASH = {"llama": 2, "albert": 2, "mlm": 2, "lm": 2, "t5": 2}
"""Model -> how often it attends without bias, prefix or scores of its own: in each layer, T5 in those that read its
encoder."""


@pytest.mark.parametrize("recompute", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_packed_rows_take_flash_attention(name: str, recompute: int) -> None:
    """On the meta device as on a GPU: both passes of torch's kernel, once more where layers are computed again."""
    with torch.device("meta"):
        model = model_of(name).bfloat16().train()
    model.recompute_activations(recompute)
    with Operators() as operators:
        loss_of(model, packed(model).to("meta")).backward()
    calls = FLASH.get(name, 0)
    assert operators.runs["_flash_attention_forward"] == calls * (1 + recompute)
    assert operators.runs["_flash_attention_backward"] == calls


@pytest.mark.parametrize("name", ["mlm", "t5", "llama"])
def test_compiled_regions_ask_for_no_value(name: str) -> None:
    torch.compiler.reset()
    with torch.device("meta"):
        model = model_of(name).bfloat16().train()
    assert compile_regions(model, backend="aot_eager") >= 2
    loss_of(model, packed(model).to("meta")).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_what_is_known_changes_no_number(name: str) -> None:
    model = model_of(name).eval()
    batch = packed(model)
    gradients = []
    for known in (None, batch.look()):
        model.zero_grad()
        loss_of(model, dataclasses.replace(batch, known=known)).backward()
        gradients.append({key: parameter.grad for key, parameter in model.named_parameters()})
    assert all(torch.equal(gradient, gradients[1][key]) for key, gradient in gradients[0].items())


def test_bounds_need_no_value_either() -> None:
    batch = packed(model_of("t5"))
    assert batch.decoder is not None
    parts = (batch.segments, batch.documents, batch.decoder.segments, batch.decoder.documents)
    asked = Visibility("fully_visible", *parts).bounds
    told = Visibility("fully_visible", *parts, batch.look().documents).bounds
    assert all(torch.equal(one, other) for one, other in zip(asked, told, strict=True))
    elsewhere = (part.to("meta") for part in parts if part is not None)
    assert [part.shape for part in Visibility("fully_visible", *elsewhere, batch.look().documents).bounds] == [
        told[0].shape
    ] * 2


def test_a_part_of_rows_knows_the_documents_of_whole_ones() -> None:
    whole = packed(model_of("mlm"))  # 19 tokens a row
    cut = (part[:, :18] for part in (whole.ids, whole.segments, whole.positions, whole.documents))  # type: ignore[index]
    batch = Batch(*cut, labels={"mlm": whole.labels["mlm"][:, :18]})
    parts = [batch.part(number, 2).to("meta") for number in range(2)]
    assert [part.look().documents for part in parts] == [batch.look().documents] * 2
    assert sum(part.look().labels["mlm"] for part in parts) == batch.look().labels["mlm"]
    assert sum(part.look().tokens for part in parts) == batch.look().tokens


def test_a_bias_is_hidden_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the CPU, where it has the size of all scores; also where layers are computed again."""
    made = []
    hide = Visibility.hide
    monkeypatch.setattr(Visibility, "hide", lambda self, bias: made.append(bias) or hide(self, bias))
    with torch.device("meta"):
        model = model_of("t5").train()
    model.recompute_activations(1)
    loss_of(model, packed(model).to("meta")).backward()
    assert len(made) == 2  # encoder, decoder


def test_source_and_targets_are_packed_together() -> None:
    model = model_of("t5")
    for part in ("source", "targets"):
        batch = packed(model)
        decoder = dataclasses.replace(batch.decoder, documents=None)
        batch = dataclasses.replace(batch, **({"documents": None} if part == "source" else {"decoder": decoder}))
        with pytest.raises(UserError, match="one of them has no documents"):
            model(batch)
