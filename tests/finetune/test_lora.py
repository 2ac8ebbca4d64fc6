"""Adapters: what is trained, and that the weights that are kept do the same without them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.finetune.test_heads import SIZES, batch, task_model
from uer_ds.config.finetune import LoraConfig
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.finetune.heads import PairHead
from uer_ds.finetune.lora import DOWN, UP, adapters_of, add_adapters, is_adapter, merged, silent_adapters
from uer_ds.finetune.model import TaskModel, file_name, freeze, level_of
from uer_ds.models.model import build_model

STREAM = {
    **{size: SIZES[size] for size in SIZES if size not in ("vocab_size", "layers_num")},
    "embedding": ["word", "pos"],
    "encoder": "transformer",
    "layers_num": 1,
    "max_seq_length": 16,
    "dropout": 0.0,
}
CONFIG = LoraConfig(use_lora=True, lora_r=4, lora_alpha=6.0)


def weights(model: TaskModel) -> dict[str, Tensor]:
    """By their names in files, as the engine gives them."""
    return {file_name(name): p.detach() for name, p in model.named_parameters(remove_duplicate=False)}


def learnt(**more: object) -> TaskModel:
    """A model whose adapters are no longer what they were at the beginning."""
    model = task_model(**more)
    disturb(model)
    return model


def disturb(model: TaskModel) -> None:
    """Give `model` adapters that are not silent."""
    add_adapters(model, CONFIG, (), seed=5)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter(file_name(name)):
                parameter.add_(torch.randn(parameter.shape, generator=generator) / 4)


def put(model: TaskModel, found: dict[str, Tensor]) -> None:
    """Load weights by their names in files; all must be there."""
    names = {file_name(name): name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert set(found) == set(names)
    model.load_state_dict({names[name]: tensor for name, tensor in found.items()}, strict=False)


def test_adapters_begin_silent_and_only_they_and_the_head_learn() -> None:
    model = task_model().eval()
    before, names = model(batch(), predict=True), set(weights(model))
    add_adapters(model, CONFIG, (), seed=5)
    torch.testing.assert_close(model(batch(), predict=True), before, rtol=0, atol=0)
    trained = {file_name(name) for name, p in model.named_parameters() if p.requires_grad}
    layers = [f"encoder.transformer.{i}.self_attn.linear_layers.{n}" for i in range(3) for n in (0, 2)]
    adapters = {layer + end for layer in layers for end in (DOWN, UP)}
    assert trained == adapters | {name for name in names if name.startswith("output_layer")}
    assert set(weights(model)) == names | adapters
    freeze(model, False, 2)
    assert {level_of(name) for name, p in model.named_parameters() if p.requires_grad} == {3, None}


MODELS: tuple[dict[str, object], ...] = (
    {},
    {"parameter_sharing": True},
    {"has_residual_attention": True},
    {"layernorm_positioning": "pre", "remove_attention_scale": True, "mask": "causal"},
)


@pytest.mark.parametrize("more", MODELS, ids=lambda more: ",".join(more) or "plain")
def test_merged_weights_are_the_model_with_its_adapters(more: dict[str, object]) -> None:
    adapted, plain = learnt(**more).eval(), task_model(**more).eval()
    expected, whole = adapted(batch(), predict=True), weights(adapted)
    adapters = adapters_of(whole, CONFIG)
    assert not torch.allclose(expected, plain(batch(), predict=True), atol=1e-3)
    put(plain, merged(whole, adapters))
    torch.testing.assert_close(plain(batch(), predict=True), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_both_streams_of_a_tied_pair_keep_the_same_weights(tied: bool) -> None:
    values = {"embedding": "dual", "encoder": "dual", "stream_0": STREAM, "stream_1": STREAM, "tie_weights": tied}

    def pair_model() -> TaskModel:
        torch.manual_seed(0)
        body = build_model(model_config_from_dict({**values, "vocab_size": 30, "dropout": 0.0}))
        return TaskModel(body, PairHead(16, 2, "mean")).eval()

    adapted, plain, first = pair_model(), pair_model(), batch()
    pairs = replace(first, second=Batch(first.ids.flip(0), first.segments))
    disturb(adapted)
    assert len([name for name, _ in adapted.named_parameters() if UP in file_name(name)]) == (2 if tied else 4)
    put(plain, merged(weights(adapted), adapters_of(weights(adapted), CONFIG)))
    torch.testing.assert_close(plain(pairs, predict=True), adapted(pairs, predict=True), rtol=0, atol=1e-5)


def test_silent_adapters_stand_beside_merged_weights() -> None:
    adapted = learnt().eval()
    expected, whole = adapted(batch(), predict=True), weights(adapted)
    silent = silent_adapters({name: tuple(p.shape) for name, p in adapted.named_parameters()})
    source = {**merged(whole, adapters_of(whole, CONFIG)), **{name: tensor() for name, tensor in silent.items()}}
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            parameter.copy_(source[file_name(name)])
    torch.testing.assert_close(adapted(batch(), predict=True), expected, rtol=0, atol=1e-5)


def test_what_no_file_had_is_learnt_too() -> None:
    model = task_model()
    add_adapters(model, CONFIG, ("embedding.seg.embedding.weight", "output_layer_1.weight"), seed=5)
    trained = {file_name(name) for name, p in model.named_parameters() if p.requires_grad}
    assert "embedding.seg.embedding.weight" in trained and "embedding.word.embedding.weight" not in trained


def test_a_body_without_attention_is_refused() -> None:
    model = task_model(encoder="lstm", embedding=["word"])
    with pytest.raises(UserError, match="--use_lora adapts the projections of attention"):
        add_adapters(model, CONFIG, (), seed=5)
