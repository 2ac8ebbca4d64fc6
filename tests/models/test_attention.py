"""Who sees whom, and the arithmetic of positions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.models import attention_cpu
from uer_ds.models.attention import MultiHeadedAttention, attend, attend_by_mask
from uer_ds.models.attention_flash import attend_by_flash, can_attend_by_flash
from uer_ds.models.positions import relative_buckets, rotate, rotation_angles, sinusoids
from uer_ds.models.visibility import Visibility

ROW = torch.tensor([[1, 1, 2, 2, 0]])

UER_MASKS = {
    "fully_visible": ["11110", "11110", "11110", "11110", "11110"],
    "causal": ["10000", "11000", "11100", "11110", "11111"],
    "causal_with_prefix": ["11000", "11000", "11100", "11110", "11110"],
}
"""Rows: queries; by hand from UER-py's rules for the segments 1 1 2 2 0."""


def as_rows(visible: Tensor, queries: int = 5) -> list[str]:
    return ["".join(str(int(x)) for x in row) for row in visible[0, 0].expand(queries, -1)]


def visible(visibility: Visibility, heads: int = 1, queries: int = 5, keys: int = 5) -> Tensor:
    """What `hide` leaves of zeros."""
    return visibility.hide(torch.zeros(1, heads, queries, keys)) == 0


@pytest.mark.parametrize("kind", UER_MASKS)
def test_masks_are_those_of_uer(kind: str) -> None:
    assert as_rows(visible(Visibility(kind, ROW))) == UER_MASKS[kind]


@pytest.mark.parametrize("kind", UER_MASKS)
def test_documents_are_blocked(kind: str) -> None:
    segments = torch.tensor([[1, 2, 1, 2, 2]])
    documents = torch.tensor([[0, 0, 1, 1, 1]])
    found = as_rows(visible(Visibility(kind, segments, documents)))
    wanted = {
        "fully_visible": ["11000", "11000", "00111", "00111", "00111"],
        "causal": ["10000", "11000", "00100", "00110", "00111"],
        "causal_with_prefix": ["10000", "11000", "00100", "00110", "00111"],
    }
    assert found == wanted[kind]


def test_a_decoder_reads_the_document_of_the_same_number() -> None:
    keys, queries = torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[0, 1, 1]])
    segments = torch.tensor([[1, 1, 1, 1, 0]])
    found = visible(Visibility("fully_visible", segments, keys, torch.ones_like(queries), queries), queries=3)
    assert as_rows(found, 3) == ["11000", "00110", "00110"]


@pytest.mark.parametrize("kind", ["fully_visible", "causal_with_prefix"])
def test_a_row_of_padding_sees_everything(kind: str) -> None:
    assert visible(Visibility(kind, torch.zeros(1, 5, dtype=torch.long))).all()


def test_no_mask_where_nothing_is_hidden() -> None:
    full = torch.ones(2, 4, dtype=torch.long)
    assert Visibility("fully_visible", full).mask is None
    assert Visibility("fully_visible", full, torch.zeros_like(full)).mask is None
    assert Visibility("causal", ROW).mask is None
    assert Visibility("fully_visible", ROW).mask is not None
    assert Visibility("fully_visible", full, torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])).mask is not None


def test_the_mask_is_made_once() -> None:
    visibility = Visibility("fully_visible", ROW)
    assert visibility.mask is visibility.mask


SEGMENTS = torch.tensor([[1, 1, 2, 2, 1, 2, 1, 0, 0], [1, 1, 1, 2, 2, 2, 2, 2, 2]])
DOCUMENTS = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 1, 1, 1]])
TARGET_SEGMENTS = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
TARGET_DOCUMENTS = torch.tensor([[0, 1, 1, 2, 2], [0, 0, 0, 1, 1]])

SITUATIONS = {
    "padded": Visibility("fully_visible", SEGMENTS),
    "all tokens": Visibility("fully_visible", torch.ones_like(SEGMENTS)),
    "causal": Visibility("causal", SEGMENTS),
    "prefix": Visibility("causal_with_prefix", SEGMENTS),
    "packed": Visibility("fully_visible", SEGMENTS, DOCUMENTS),
    "packed causal": Visibility("causal", SEGMENTS, DOCUMENTS),
    "packed prefix": Visibility("causal_with_prefix", SEGMENTS, DOCUMENTS),
    "cross": Visibility("fully_visible", SEGMENTS, None, TARGET_SEGMENTS),
    "packed cross": Visibility("fully_visible", SEGMENTS, DOCUMENTS, TARGET_SEGMENTS, TARGET_DOCUMENTS),
}


def tensors(visibility: Visibility) -> list[Tensor]:
    """Query, key, value [B, S, A, D] and a table [A, distances] of biases, all with gradients."""
    queries = visibility.segments if visibility.query_segments is None else visibility.query_segments
    random = torch.Generator().manual_seed(0)
    shapes = [(*queries.shape, 3, 4), (*SEGMENTS.shape, 3, 4), (*SEGMENTS.shape, 3, 4)]
    made = [torch.randn(shape, generator=random) for shape in shapes]
    return [x.requires_grad_() for x in (*made, torch.randn(3, 2 * SEGMENTS.size(1), generator=random))]


def bias_of(table: Tensor, queries: int) -> Tensor:
    """[1, A, Q, K]: the entry of `table` for each difference of places."""
    distances = torch.arange(SEGMENTS.size(1)) - torch.arange(queries)[:, None]
    return table[:, distances + SEGMENTS.size(1)].unsqueeze(0)


@pytest.mark.parametrize("block_scores", [2**20, 40, 1], ids=["one block", "small blocks", "single heads"])
@pytest.mark.parametrize(
    ("name", "biased"),
    [*((name, False) for name in SITUATIONS), *((name, True) for name in SITUATIONS if "cross" not in name)],
)
def test_both_kernels_agree(name: str, biased: bool, block_scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_cpu, "BLOCK_SCORES", block_scores)
    visibility = SITUATIONS[name]
    real = visibility.segments if visibility.query_segments is None else visibility.query_segments
    weight = (real > 0)[:, :, None, None] if visibility.documents is not None else torch.ones(1)
    results = []
    for compute in (attend, attend_by_mask):
        query, key, value, table = tensors(visibility)
        bias = bias_of(table, query.size(1)) if biased else None
        if bias is not None and compute is attend_by_mask:
            bias = visibility.hide(bias)  # as `bias_for` where it computes
        context = compute(query, key, value, visibility, 0.5, bias, 0.0) * weight
        context.sin().sum().backward()
        gradients = [x.grad for x in (query, key, value, table) if x.grad is not None]
        results.append([context.detach(), *gradients])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def flash_in_words(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    longest_query: int,
    longest_key: int,
    dropout: float,
    causal: bool,
    debug: bool,
    *,
    scale: float,
) -> tuple[Tensor, None]:
    """What torch's operator computes on a GPU, one document after another: [N, A, D] each -> [N, A, D]."""
    assert query_bounds.dtype == key_bounds.dtype == torch.int32 and not debug and dropout == 0.0
    context = torch.zeros_like(query)
    for at in range(len(query_bounds) - 1):
        queries = slice(int(query_bounds[at]), int(query_bounds[at + 1]))
        keys = slice(int(key_bounds[at]), int(key_bounds[at + 1]))
        assert 0 <= queries.stop - queries.start <= longest_query and 0 <= keys.stop - keys.start <= longest_key
        if queries.start == queries.stop or keys.start == keys.stop:
            continue
        parts = (query[queries].transpose(0, 1), key[keys].transpose(0, 1), value[keys].transpose(0, 1))
        found = F.scaled_dot_product_attention(*parts, is_causal=causal, scale=scale)
        context[queries] = found.transpose(0, 1)
    assert query_bounds[0] == 0 and query_bounds[-1] == len(query)
    return context, None


@pytest.mark.parametrize("name", ["packed", "packed causal", "packed cross"])
def test_flash_attention_is_told_the_right_documents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the operator, which is for GPUs, in plain words; its arguments are those of this torch."""
    schema = torch.ops.aten._flash_attention_forward.default._schema
    names = [argument.name for argument in schema.arguments]
    assert names[3:10] == ["cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal", "return_debug_mask"]
    visibility = SITUATIONS[name]
    query, key, value, _ = tensors(visibility)
    assert not can_attend_by_flash(query, visibility, None)  # no GPU
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash_in_words)
    found = attend_by_flash(query, key, value, visibility, 0.5, 0.0)
    wanted = attend_by_mask(query, key, value, visibility, 0.5, None, 0.0)
    real = visibility.segments if visibility.query_segments is None else visibility.query_segments
    torch.testing.assert_close(found[real > 0], wanted[real > 0])


@pytest.mark.parametrize("name", SITUATIONS)
def test_dropout_falls_on_weights_and_keeps_the_mean(name: str) -> None:
    visibility = SITUATIONS[name]
    query, key, value, _ = (x.detach() for x in tensors(visibility))
    plain = attend(query, key, value, visibility, 0.5)
    torch.manual_seed(0)
    drawn = torch.stack([attend(query, key, value, visibility, 0.5, dropout=0.25) for _ in range(2000)])
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean(0), plain, rtol=0, atol=0.15)


def test_gradients_under_dropout() -> None:
    """By finite differences, with the same draws each time."""
    visibility = SITUATIONS["packed causal"]
    inputs = tuple(x.detach().double().requires_grad_() for x in tensors(visibility))

    def run(query: Tensor, key: Tensor, value: Tensor, table: Tensor) -> Tensor:
        torch.manual_seed(0)
        return attend(query, key, value, visibility, 0.5, bias_of(table, query.size(1)), dropout=0.25)

    assert torch.autograd.gradcheck(run, inputs)


def test_grouped_keys_serve_several_queries() -> None:
    torch.manual_seed(0)
    grouped = MultiHeadedAttention(8, 4, 2, 0.0, kv_heads_num=2)
    full = MultiHeadedAttention(8, 4, 2, 0.0)
    for number in (1, 2):  # each key/value head stands for two
        small, large = grouped.linear_layers[number], full.linear_layers[number]
        large.weight = torch.nn.Parameter(small.weight.unflatten(0, (2, 2)).repeat_interleave(2, 0).flatten(0, 1))  # type: ignore[operator,union-attr]
        large.bias = torch.nn.Parameter(small.bias.unflatten(0, (2, 2)).repeat_interleave(2, 0).flatten(0, 1))  # type: ignore[operator,union-attr]
    full.linear_layers[0], full.final_linear = grouped.linear_layers[0], grouped.final_linear
    x = torch.randn(1, 5, 8)
    visibility = Visibility("causal", ROW)
    torch.testing.assert_close(grouped(x, x, visibility=visibility), full(x, x, visibility=visibility))


def bucket_by_hand(distance: int, count: int, bidirectional: bool) -> int:
    """T5's rule, as published."""
    offset = 0
    if bidirectional:
        count //= 2
        offset = count if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = count // 2
    if distance < exact:
        return offset + distance
    far = exact + int(math.log(distance / exact) / math.log(128 / exact) * (count - exact))
    return offset + min(count - 1, far)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_are_those_of_t5(bidirectional: bool) -> None:
    distances = torch.arange(-300, 301)
    wanted = [bucket_by_hand(int(d), 32, bidirectional) for d in distances]
    assert relative_buckets(distances, 32, bidirectional).tolist() == wanted


def test_rotation_depends_on_the_difference_of_positions() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float32).unbind(0)

    def score(at_query: int, at_key: int) -> Tensor:
        angles = [rotation_angles(torch.tensor([[p]]), 8).unsqueeze(2) for p in (at_query, at_key)]
        return (rotate(query, angles[0]) * rotate(key, angles[1])).sum()

    torch.testing.assert_close(score(5, 3), score(105, 103), rtol=1e-4, atol=1e-5)
    assert rotate(query, torch.zeros(1, 1, 1, 4)).equal(query)


def test_sinusoid_layouts() -> None:
    places = torch.arange(7)
    halves, mixed = sinusoids(places, 6, "halves"), sinusoids(places, 6, "interleaved")
    assert torch.equal(torch.cat((mixed[:, 0::2], mixed[:, 1::2]), dim=1), halves)
    torch.testing.assert_close(halves[3, 1], torch.tensor(math.sin(3 * 10000 ** (-2 / 6))))
    torch.testing.assert_close(sinusoids(places, 6, "uer")[3, 5], torch.tensor(math.cos(5 * 10000**-1.0)))
