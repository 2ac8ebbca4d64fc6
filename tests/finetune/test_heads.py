"""Losses of heads against torch and against brute force; adversarial steps against UER-py's way of doing them."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uer_ds.config.finetune import AdversarialConfig
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import IGNORE, Batch, Terms
from uer_ds.errors import UserError
from uer_ds.finetune.adversarial import Adversarial
from uer_ds.finetune.crf import CrfHead
from uer_ds.finetune.heads import (
    AnswerWordHead,
    ChoiceHead,
    ContrastiveHead,
    PairHead,
    PooledHead,
    classification,
    distillation,
    regression,
    several_labels,
)
from uer_ds.finetune.model import TaskModel, file_name, freeze, level_of, rate_factors
from uer_ds.finetune.seq2seq import TextHead
from uer_ds.models.model import build_model

SIZES = {"emb_size": 16, "hidden_size": 16, "feedforward_size": 32, "heads_num": 2, "layers_num": 3, "vocab_size": 30}


def task_model(**more: object) -> TaskModel:
    torch.manual_seed(0)
    values = {**SIZES, "embedding": ["word", "pos", "seg"], "target": [], "max_seq_length": 16, "dropout": 0.0, **more}
    body = build_model(model_config_from_dict(values))
    return TaskModel(body, PooledHead(16, 3, "first", classification(), "cls"))


def batch(rows: int = 4, length: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 30, (rows, length), generator=generator)
    return Batch(ids, torch.ones_like(ids), labels={"cls": torch.arange(rows) % 3})


def mean(terms: Terms) -> torch.Tensor:
    return torch.stack([total / count for name, (total, count) in terms.items() if name.startswith("loss_")]).sum()


def test_classification_is_cross_entropy_over_real_labels() -> None:
    scores, labels = torch.randn(5, 3), torch.tensor([0, 2, IGNORE, 1, 2])
    found = classification()(scores, Batch(labels, labels, labels={"cls": labels}))
    torch.testing.assert_close(mean(found), F.cross_entropy(scores, labels))
    assert found["accuracy_cls"][1] == 4
    weighted = classification(weights=(1.0, 2.0, 3.0))(scores, Batch(labels, labels, labels={"cls": labels}))
    torch.testing.assert_close(
        weighted["loss_cls"][0], F.cross_entropy(scores, labels, torch.tensor([0.5, 1.0, 1.5]), reduction="sum")
    )


def test_soft_targets_mix_square_error_and_cross_entropy() -> None:
    scores, given, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    found = distillation(0.3)(scores, Batch(labels, labels, labels={"cls": labels, "soft": given}))
    torch.testing.assert_close(mean(found), 0.3 * F.mse_loss(scores, given) + 0.7 * F.cross_entropy(scores, labels))


def test_regression_and_several_labels() -> None:
    scores, ids = torch.randn(4, 3), torch.ones(4, 1, dtype=torch.long)
    values, each = torch.tensor([0.5, -100.0, 2.0, 0.0]), torch.tensor([[0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    numbers = Batch(ids, ids, labels={"value": values})
    torch.testing.assert_close(mean(regression(scores[:, :1], numbers)), F.mse_loss(scores[:, 0], values))
    assert numbers.label_counts() == {"value": 4}  # -100 is an ordinary number here
    several = Batch(ids, ids, labels={"each": each})
    expected = F.binary_cross_entropy_with_logits(scores, each.float())
    torch.testing.assert_close(mean(several_labels(scores, several)), expected)


@pytest.fixture
def field() -> CrfHead:
    torch.manual_seed(3)
    return CrfHead(8, 3)


def test_the_random_field_is_that_of_brute_force(field: CrfHead) -> None:
    hidden, lengths = torch.randn(2, 4, 8), (4, 2)
    labels = torch.tensor([[0, 2, 1, 1], [2, 0, IGNORE, IGNORE]])
    segments = (labels != IGNORE).long()
    rows = Batch(segments, segments, labels={"tags": labels, "row": torch.zeros(2, dtype=torch.long)})
    scores = field.scores(hidden, rows)
    crf, logs = field.crf, scores.log_softmax(-1)

    def worth(emissions: torch.Tensor, path: tuple[int, ...]) -> torch.Tensor:
        total = crf.start_transitions[path[0]] + crf.end_transitions[path[-1]]
        steps = sum(crf.transitions[a, b] for a, b in itertools.pairwise(path))
        return total + steps + sum(emissions[place, tag] for place, tag in enumerate(path))

    expected = torch.tensor(0.0)
    for row, length in enumerate(lengths):
        paths = list(itertools.product(range(3), repeat=length))
        everything = torch.logsumexp(torch.stack([worth(logs[row], path) for path in paths]), 0)
        expected = expected + everything - worth(logs[row], tuple(labels[row, :length].tolist()))
        best = max(paths, key=lambda path: worth(scores[row], path).item())
        assert field.outputs(scores, rows)[row, :length].argmax(-1).tolist() == list(best)
    found = field.terms(scores, rows)
    torch.testing.assert_close(found["loss_row"][0], expected)
    assert found["loss_row"][1] == 2
    field.never = [1]
    allowed = max(itertools.product((0, 2), repeat=4), key=lambda path: worth(scores[0], path).item())
    assert field.outputs(scores, rows)[0].argmax(-1).tolist() == list(allowed)


def gradients_in_place(model: nn.Module, rows: Batch, config: AdversarialConfig) -> dict[str, torch.Tensor]:
    """UER-py's way: weights are changed, gradients add up in place, weights are put back."""
    embeddings = {name: p for name, p in model.named_parameters() if "embedding" in name}
    mean(model(rows)).backward()
    clean = {name: p.grad.clone() for name, p in model.named_parameters()}
    plain = {name: p.detach().clone() for name, p in embeddings.items()}
    steps = 1 if config.adv_type == "fgm" else config.pgd_k
    for _ in range(steps):
        for name, p in embeddings.items():
            length = p.grad.norm()
            if length != 0:
                size = config.fgm_epsilon if config.adv_type == "fgm" else config.pgd_alpha
                p.data.add_(size * p.grad / length)
                moved = p.data - plain[name]
                if config.adv_type == "pgd" and moved.norm() > config.pgd_epsilon:
                    p.data = plain[name] + config.pgd_epsilon * moved / moved.norm()
        model.zero_grad()
        mean(model(rows)).backward()
    for name, p in embeddings.items():
        p.data = plain[name]
    return {name: p.grad + clean[name] for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
def test_adversarial_gradients_are_those_of_changing_the_weights(kind: str) -> None:
    config = AdversarialConfig(use_adv=True, adv_type=kind, fgm_epsilon=0.5, pgd_k=3, pgd_epsilon=0.4, pgd_alpha=0.3)
    model, rows = task_model(), batch()
    expected = gradients_in_place(copy.deepcopy(model), rows, config)
    around = Adversarial(model, config).train()
    terms = around(rows)
    mean(terms).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
    around.eval()
    torch.testing.assert_close(mean(around(rows)), mean(terms))  # what is reported is the plain loss
    freeze(model, True, 0)
    with pytest.raises(UserError, match="all are frozen; leave out --freeze_embedding"):
        Adversarial(model, config)


def test_names_in_files_are_uer_py_s() -> None:
    around = Adversarial(task_model(), AdversarialConfig())
    names = {file_name(name) for name, _ in around.named_parameters()}
    assert {
        "output_layer_1.weight",
        "output_layer_2.bias",
        "encoder.transformer.0.self_attn.final_linear.weight",
    } <= names
    assert not any(name.startswith(("model.", "body.", "head.")) for name in names)


def test_freezing_and_rates_go_by_depth() -> None:
    model = task_model()
    factors = rate_factors(model, 0.5)
    assert factors["body.embedding.word.embedding.weight"] == 0.5**4
    assert factors["body.encoder.transformer.0.layer_norm_1.gamma"] == 0.5**3
    assert factors["body.encoder.transformer.2.layer_norm_1.gamma"] == 0.5
    assert factors["head.output_layer_1.weight"] == 1.0
    freeze(model, False, 2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[3] for name in trained if ".transformer." in name} == {"2"}
    assert not any("embedding" in name for name in trained) and "head.output_layer_2.bias" in trained


@pytest.mark.parametrize(
    ("more", "levels"),
    [
        ({"parameter_sharing": True}, {"embedding": 0, "encoder": 1}),
        ({"encoder": "bilstm"}, {"embedding": 0, "l0": 1, "l2": 3}),
        ({"encoder": "gatedcnn", "kernel_size": 3, "block_size": 1}, {"conv_1": 1, "conv.0": 2, "gate.1": 3}),
        ({"layernorm_positioning": "pre"}, {"encoder.layer_norm": None, "transformer.2.": 3}),
    ],
)
def test_every_encoder_has_levels(more: dict[str, object], levels: dict[str, int | None]) -> None:
    model = task_model(**more)
    for piece, level in levels.items():
        assert {level_of(name) for name, _ in model.named_parameters() if f"{piece}" in name} == {level}, piece
    freeze(model, False, 1)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen and {level_of(name) for name in frozen} == {0, 1}
    top = max(level for level in levels.values() if level is not None)
    with pytest.raises(UserError, match=f"the encoder has {top} layers with weights of their own"):
        freeze(model, False, top + 1)


def test_both_streams_have_levels() -> None:
    stream = {**SIZES, "embedding": ["word", "pos"], "max_seq_length": 16}
    values = {
        "embedding": ["dual"],
        "encoder": "dual",
        "stream_0": stream,
        "stream_1": stream,
        "target": [],
        "vocab_size": 30,
    }
    model = TaskModel(build_model(model_config_from_dict(values)), PairHead(16, 2, "first"))
    factors = rate_factors(model, 0.5)
    assert factors["body.embedding.dual.embedding_1.word.embedding.weight"] == 0.5**4
    assert {factors[f"body.encoder.encoder_{n}.transformer.1.layer_norm_1.gamma"] for n in (0, 1)} == {0.25}


def test_contrast_is_against_the_rest_of_the_batch() -> None:
    head, vectors = ContrastiveHead("first", 0.05), torch.randn(3, 2, 16)
    scores = F.normalize(vectors, dim=-1)
    similar = F.cosine_similarity(vectors[:, None, 0], vectors[None, :, 1], dim=-1) / 0.05
    expected = F.cross_entropy(similar, torch.arange(3))
    torch.testing.assert_close(mean(head.terms(scores, batch())), expected)
    torch.testing.assert_close(head.outputs(scores, batch())[:, 0], F.cosine_similarity(vectors[:, 0], vectors[:, 1]))


def test_answer_words_are_scored_by_the_models_own_head() -> None:
    model = task_model(target=["mlm"])
    rows = batch()
    rows.ids[:, 3] = 29
    head = AnswerWordHead(mask=29, words=[7, 5])
    expected = model.body.logits(rows)["mlm"][:, 3][:, [7, 5]]
    torch.testing.assert_close(head.answer(model.body, rows), expected)


def test_greedy_answers_are_the_likeliest_tokens_until_the_end() -> None:
    model = task_model(target=["lm"], decoder="transformer", tgt_embedding=["word", "pos"])
    rows, head = batch(rows=3), TextHead(start=2, end=3, longest=5)
    found = head.answer(model.body, rows)
    assert found.shape == (3, 5)
    for row, tokens in enumerate(found.tolist()):
        so_far = [2]
        for token in tokens:
            given = torch.tensor([so_far])
            decoder = Batch(given, torch.ones_like(given))
            one = Batch(rows.ids[row : row + 1], rows.segments[row : row + 1], decoder=decoder)
            best = int(model.body.logits(one)["lm"][0, -1].argmax())
            assert token == (3 if 3 in so_far[1:] else best)
            so_far.append(token)
    calls = []
    model.body.encoder.register_forward_hook(lambda *_: calls.append("encoder"))
    model.body.decoder.register_forward_hook(lambda *_: calls.append("decoder"))
    every = TextHead(start=2, end=int(found[0, 0]), longest=5)
    assert set(every.answer(model.body, Batch(rows.ids[:1], rows.segments[:1])).flatten().tolist()) == {every.end}
    assert calls == ["encoder", "decoder"]  # the source is read once, and nothing is computed after the end


def test_choices_stand_one_after_the_other() -> None:
    model, rows = task_model(), batch(rows=6)
    head = ChoiceHead(16, 3, dropout=0.0)
    expected = head.output_layer(model.body.encode(rows)[:, 0]).view(2, 3)
    torch.testing.assert_close(head.answer(model.body, rows), expected)
