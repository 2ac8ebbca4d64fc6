"""Compiled regions: the same numbers, and nothing compiled again for other rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch
from uer_ds.models.compiling import compile_regions
from uer_ds.models.dropout import dropout
from uer_ds.models.model import Model, build_model

SIZES = {"emb_size": 16, "hidden_size": 16, "feedforward_size": 32, "heads_num": 2, "layers_num": 2, "vocab_size": 50}
ENCODER = {**SIZES, "embedding": ["word", "pos"], "mask": "fully_visible", "target": ["mlm"], "max_seq_length": 64}
DECODER = {
    **ENCODER,
    "decoder": "transformer",
    "tgt_embedding": ["word", "pos"],
    "target": ["lm"],
    "layernorm_positioning": "pre",
}
KINDS = {"encoder": (ENCODER, 3), "decoder": (DECODER, 4)}
"""Model JSON and how many regions its compilation finds: layers, and the head of mlm."""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def made(kind: str, dropout: float) -> Model:
    torch.manual_seed(0)
    config = model_config_from_dict({**KINDS[kind][0], "encoder": "transformer", "dropout": dropout})
    return build_model(config).train()


def batch(model: Model, rows: int, length: int) -> Batch:
    random = torch.Generator().manual_seed(length)
    ids = torch.randint(0, 50, (rows, length), generator=random)
    name = next(iter(model.target))
    decoder = Batch(ids, torch.ones_like(ids)) if model.decoder is not None else None
    return Batch(ids, torch.ones_like(ids), labels={name: ids}, decoder=decoder)


def answer(model: Model, rows: int, length: int) -> list[Tensor]:
    """Loss and gradients."""
    model.zero_grad()
    torch.manual_seed(1)
    terms = model(batch(model, rows, length))
    loss = next(total for name, (total, _) in terms.items() if name.startswith("loss_"))
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_the_same(kind: str, dropout: float) -> None:
    """Under dropout too: the same bits are drawn in the same order."""
    plain, compiled = made(kind, dropout), made(kind, dropout)
    assert compile_regions(compiled, backend="aot_eager") == KINDS[kind][1]
    for found, wanted in zip(answer(compiled, 3, 12), answer(plain, 3, 12), strict=True):
        torch.testing.assert_close(found, wanted)
    with torch.compiler.set_stance("fail_on_recompile"):
        for rows, length in ((3, 20), (5, 7), (2, 33)):
            found, wanted = answer(compiled, rows, length)[0], answer(plain, rows, length)[0]
            torch.testing.assert_close(found, wanted)


def test_two_dropouts_are_not_taken_for_one() -> None:
    """And the backward pass has the masks of the forward pass."""

    def twice(x: Tensor) -> Tensor:
        return dropout(2 * dropout(x, 0.25, True), 0.25, True)

    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True)
    x = torch.ones(30, 40, requires_grad=True)
    torch.manual_seed(3)
    found = compiled(x)
    torch.manual_seed(3)
    assert torch.equal(found, twice(x))
    found.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, found)
    assert 0.5 < float((found > 0).float().mean()) < 0.62  # of both: 0.5625; of one: 0.75
