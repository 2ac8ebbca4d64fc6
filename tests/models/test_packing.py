"""Packed rows give the same losses and gradients as one document a row, for every family that packs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.golden_families import FAMILIES, family
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights

LENGTHS = ((5, 11, 3), (9, 7))
"""Tokens of the documents in each row; the second row ends in padding."""

TARGET_LENGTHS = ((4, 6, 2), (3, 8))
WHOLE_ROW_TARGETS = {"sp", "cls"}
"""Their labels belong to a row, so such rows hold one sample."""


UNTIED = ("t5_output_not_tied", "bart_output_not_tied", "pegasus_output_not_tied")
"""Their files do not fit a tied model; random weights do as well here."""


def packable(name: str) -> bool:
    config = family(name, "normal").config()
    return config.encoder != "dual" and bool(set(config.target) - WHOLE_ROW_TARGETS)


def documents_of(lengths: Iterable[int], vocab_size: int, labels: tuple[str, ...], start: int) -> list[Batch]:
    """One unpadded batch for each document; a third of its positions has no label."""
    made = []
    for number, length in enumerate(lengths):
        random = torch.Generator().manual_seed(start + number)
        ids, gold = torch.randint(0, vocab_size, (2, 1, length), generator=random)
        gold = torch.where(torch.rand(gold.shape, generator=random) < 0.33, IGNORE, gold)
        segments = (torch.arange(length) > length // 2).long().unsqueeze(0) + 1
        made.append(Batch(ids, segments, labels={name: gold.clone() for name in labels}))
    return made


def pack(rows: list[list[Batch]], padding_document: int) -> Batch:
    """The documents of each row one behind the other, rows padded to the same length."""
    width = max(sum(document.ids.size(1) for document in row) for row in rows)

    def join(pieces: list[list[Tensor]], fill: int) -> Tensor:
        joined = [torch.cat(row, dim=1) for row in pieces]
        return torch.cat([F.pad(x, (0, width - x.size(1)), value=fill) for x in joined])

    def number(row: list[Batch]) -> list[Tensor]:
        return [torch.full_like(document.ids, place) for place, document in enumerate(row)]

    return Batch(
        ids=join([[d.ids for d in row] for row in rows], 0),
        segments=join([[d.segments for d in row] for row in rows], 0),
        positions=join([[torch.arange(d.ids.size(1)).unsqueeze(0) for d in row] for row in rows], 0),
        documents=join([number(row) for row in rows], padding_document),
        labels={name: join([[d.labels[name] for d in row] for row in rows], IGNORE) for name in rows[0][0].labels},
    )


def summed(model: Model, batches: Iterable[Batch]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Sums of all terms and gradients of the summed losses over `batches`."""
    model.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for batch in batches:
        for name, (total, count) in model(batch).items():
            totals[name] = totals.get(name, torch.zeros(())) + total
            totals[f"{name}_count"] = totals.get(f"{name}_count", torch.zeros(())) + count
    losses = [total for name, total in totals.items() if name.startswith("loss_") and total.requires_grad]
    torch.stack(losses).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return totals, gradients


def label_names(model: Model) -> tuple[str, ...]:
    return tuple(name for target in model.target.values() for name in target.label_names)  # type: ignore[union-attr]


LLAMA = {
    "emb_size": 16,
    "hidden_size": 16,
    "feedforward_size": 32,
    "heads_num": 4,
    "local_kv_heads_num": 2,
    "layers_num": 2,
    "vocab_size": 60,
    "remove_embedding_layernorm": True,
    "remove_transformer_bias": True,
    "rotary_position_embedding": True,
    "mask": "causal",
    "layernorm_positioning": "pre",
    "layernorm": "rms",
    "feed_forward": "gated",
    "hidden_act": "silu",
    "target": ["lm"],
}


TWO_WAY = {"emb_size": 12, "hidden_size": 16, "layers_num": 2, "vocab_size": 60, "bidirectional": True}
OTHERS = {"llama": LLAMA, **{f"bidirectional {cell}": {**TWO_WAY, "encoder": cell} for cell in ("rnn", "lstm", "gru")}}
"""Models without golden family: a small LLaMA, recurrent ones that read both ways (trained with mlm)."""


def small_model(name: str) -> Model:
    """The golden model of that name, or one of `OTHERS`, without dropout."""
    if name in OTHERS:
        torch.manual_seed(1)
        return build_model(model_config_from_dict({**OTHERS[name], "dropout": 0.0}))
    case = family(name, "normal")
    model = build_model(
        case.config(dropout=0.0, target=[t for t in case.config().target if t not in WHOLE_ROW_TARGETS])
    )
    if name not in UNTIED:
        load_weights(model, case.weights, strict=False)
    return model


def packed_and_single(model: Model, padding_document: int) -> tuple[Batch, list[Batch]]:
    """The same documents as one packed batch and as one batch each; with a decoder, targets are packed likewise."""
    config, labels = model.config, label_names(model)
    assert config.vocab_size
    encoder_labels = () if config.decoder else labels
    rows = [documents_of(row, config.vocab_size, encoder_labels, 100 * n) for n, row in enumerate(LENGTHS)]
    packed, single = pack(rows, padding_document), list(chain(*rows))
    if config.decoder:
        size = config.tgt_vocab_size or config.vocab_size
        targets = [documents_of(row, size, labels, 1000 * (n + 1)) for n, row in enumerate(TARGET_LENGTHS)]
        packed = with_target(packed, pack(targets, padding_document))
        single = [with_target(one, target) for one, target in zip(single, chain(*targets), strict=True)]
    return packed, single


def with_target(source: Batch, target: Batch) -> Batch:
    return replace(source, decoder=target, labels=target.labels)


@pytest.mark.parametrize("padding_document", [1, 7], ids=["as the last document", "of its own"])
@pytest.mark.parametrize("name", [*(name for name in FAMILIES if packable(name)), *OTHERS])
def test_packed_rows_equal_single_documents(name: str, padding_document: int) -> None:
    model = small_model(name)
    packed, single = packed_and_single(model, padding_document)
    wanted, wanted_gradients = summed(model, single)
    found, gradients = summed(model, [packed])
    assert found.keys() == wanted.keys()
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], rtol=1e-5, atol=0)
    for key in wanted_gradients:
        close = float(wanted_gradients[key].abs().max()) * 1e-5
        torch.testing.assert_close(gradients[key], wanted_gradients[key], rtol=1e-5, atol=close + 1e-7)


@pytest.mark.parametrize(
    "name", ["bert", "gpt2", "prefixlm", "t5_v1_1", "lstm_lm", "bilstm_bilm", "gatedcnn_lm", *OTHERS]
)
def test_a_document_knows_nothing_of_its_neighbours(name: str) -> None:
    """Features of the first document stay when the second one changes."""
    model = small_model(name).eval()
    packed, _ = packed_and_single(model, 1)
    before = model.encode(packed)
    first = packed.documents == 0
    after = model.encode(replace(packed, ids=torch.where(first, packed.ids, (packed.ids + 1) % 50)))
    assert torch.equal(before[first], after[first])
    assert not torch.allclose(before[~first], after[~first])
