"""Every family against UER-py: vectors, logits, losses, right predictions, gradients, with both layer norms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.golden_families import FAMILIES, HERE, NORMS, SHARED, Family, family
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.errors import UserError
from uer_ds.models.model import Model, build_model
from uer_ds.models.pooling import pool
from uer_ds.models.weights import load_weights

OUTPUT_NOT_TIED = ("t5_output_not_tied", "bart_output_not_tied", "pegasus_output_not_tied")
"""UER-py ties, then shares, and so loses the tie. Here all three matrices are one; these files need it undone."""

QUIRKS_OF_POOLING = ("cls_pair_mean", "cls_pair_max", "cls_pair_last")
"""UER-py multiplies by the segment ids before it pools; here segment 2 counts like segment 1."""

SIAMESE_CLASSES = 3


def close(found: Tensor, wanted: Tensor) -> None:
    """To 1e-5 of the largest value."""
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def load(case: Family, **changes: object) -> Model:
    model = build_model(case.config(**changes)).eval()
    if case.meta["kind"] == "siamese":
        width = model.config.stream_0.hidden_size  # type: ignore[union-attr]
        model.classifier = nn.Linear(4 * width, SIAMESE_CLASSES)
    report = load_weights(model, case.weights)
    assert report.missing == report.unexpected == ()
    return model


def untie(name: str) -> dict[str, object]:
    return {"tie_weights": False} if name in OUTPUT_NOT_TIED else {}


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=NORMS)
def case(name: str, request: pytest.FixtureRequest) -> Family:
    found = family(name, request.param)
    if request.param == "normal" and not found.meta["has_uer_layernorm"]:
        pytest.skip("both layer norms are the same here")
    return found


ALL, OWN = 50, 36
"""Families that UER-py's numbers were taken of, and those of them that lie in the repository."""


def test_no_family_is_missing() -> None:
    """The repository holds at least one of each kind, in 20 MB; the others are checked where they are."""
    assert len(list(HERE.iterdir())) == OWN
    assert sum(path.stat().st_size for path in HERE.parent.rglob("*") if path.is_file()) <= 20 * 10**6
    if not SHARED.is_dir():
        pytest.skip(f"{ALL - OWN} of {ALL} families lie outside the repository, in {SHARED}, which is not here")
    assert len(FAMILIES) == ALL


def test_names_and_parameters_are_those_of_uer(name: str) -> None:
    case = family(name, "uer")
    model = load(case, **untie(name))
    assert sum(p.numel() for p in model.parameters()) == case.meta["parameters"] or _ties_more(model)
    for tied in case.meta["shared_tensors"]:
        assert len({id(model.get_parameter(n)) for n in tied}) == 1


def _ties_more(model: Model) -> bool:
    """True for models whose output matrix is tied here, but not in UER-py (see OUTPUT_NOT_TIED)."""
    return bool(model.config.decoder and model.config.tie_weights and model.config.share_embedding)


def test_vectors(name: str, case: Family) -> None:
    model, batch, io = load(case, **untie(name)), case.batch(), case.io
    if batch.second is not None:
        for number, hidden in enumerate(model.encode_streams(batch)):
            close(hidden, io[f"encoder_{number}"])
        return
    close(model.embedding(batch.ids, batch.segments), io["embedding"])
    close(model.encode(batch), io["encoder"])
    close(model.encode(batch.ids.numpy(), batch.segments.numpy()), io["encoder"])
    if batch.decoder is not None:
        close(model.tgt_embedding(batch.decoder.ids, batch.decoder.segments), io["tgt_embedding"])  # type: ignore[misc]
        close(model.output(batch), io["decoder"])


def test_losses_and_logits(name: str, case: Family) -> None:
    if name in QUIRKS_OF_POOLING:
        pytest.skip("UER-py pools pairs by segment number")
    model, batch = load(case, **untie(name)), case.batch()
    terms = siamese_terms(model, batch, case) if batch.second else model(batch)
    for key, (total, count) in terms.items():
        kind, label = key.split("_", 1)
        wanted = case.io[case.golden_name({"accuracy": "correct"}.get(kind, kind), label)]
        if kind == "loss":
            torch.testing.assert_close(total / case.denominator(label), wanted, rtol=1e-5, atol=0)
        else:
            assert total == wanted
        if label in batch.labels:
            assert count == batch.label_counts()[label]
    if batch.second is None:
        check_logits(model, batch, case)


def check_logits(model: Model, batch: Batch, case: Family) -> None:
    for target, logits in model.logits(batch).items():
        halves = {"bilm_forward": logits[0], "bilm_backward": logits[1]} if target == "bilm" else {target: logits}
        for label, found in halves.items():
            places = batch.labels[label] != IGNORE
            wanted = case.io[case.golden_name("logits", label)]
            if case.config().ignore_index:  # UER-py's file has the positions of padding too
                wanted = wanted[case.io["tgt"][case.io["tgt_seg"] > 0] != case.meta["padding_id"]]
            close(found[places], wanted)


def siamese_terms(model: Model, batch: Batch, case: Family) -> dict[str, tuple[Tensor, Tensor]]:
    """The classifier of UER-py's siamese fine-tuning: [u; v; |u - v|; u * v] through one matrix."""
    assert batch.second is not None
    features = zip(model.encode_streams(batch), (batch.segments, batch.second.segments), strict=True)
    u, v = (pool(hidden, segments, model.config.pooling) for hidden, segments in features)
    close(u, case.io["pooled_0"])
    logits = model.classifier(torch.cat((u, v, (u - v).abs(), u * v), dim=-1))  # type: ignore[operator]
    close(logits, case.io["logits"])
    labels = case.io["tgt"]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return {"loss_cls": (loss, torch.tensor(3)), "accuracy_cls": ((logits.argmax(-1) == labels).sum(), torch.tensor(3))}


def test_gradients(name: str, case: Family) -> None:
    if name in QUIRKS_OF_POOLING:
        pytest.skip("UER-py pools pairs by segment number")
    ties_more = case.config().decoder and case.config().share_embedding
    model, batch = load(case, **({"tie_weights": False} if ties_more else {})), case.batch()
    terms = siamese_terms(model, batch, case) if batch.second else model(batch)
    losses = {key.removeprefix("loss_"): total for key, (total, _) in terms.items() if key.startswith("loss_")}
    sum(total / case.denominator(label) for label, total in losses.items()).backward()  # type: ignore[union-attr]
    for key, wanted in case.grad_norms.items():
        gradient = model.get_parameter(key).grad
        assert gradient is not None, key
        assert float(gradient.norm()) == pytest.approx(wanted, rel=1e-5, abs=1e-7), key


def test_a_lost_tie_is_named() -> None:
    case = family("t5_output_not_tied", "uer")
    with pytest.raises(UserError, match=r"'target\.lm.output_layer\.weight' differ, but are one tied parameter"):
        load(case)


def test_pairs_are_pooled_by_mask() -> None:
    hidden = torch.arange(12.0).view(1, 4, 3)
    segments = torch.tensor([[1, 2, 2, 0]])
    assert pool(hidden, segments, "mean").tolist() == [[3.0, 4.0, 5.0]]
    assert pool(hidden, segments, "max").tolist() == pool(hidden, segments, "last").tolist() == [[6.0, 7.0, 8.0]]
