"""A model that remembers what it has read says the same as one that reads everything anew, in every family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from uer_ds.config.generate import DecodingConfig
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch, padded
from uer_ds.errors import UserError
from uer_ds.generate.beams import search
from uer_ds.generate.writing import Prompt, Reader, Rules, Text, write
from uer_ds.models.model import Model, build_model

V, LONGEST, END = 60, 12, 3
SIZES = {"emb_size": 16, "hidden_size": 16, "vocab_size": V, "layers_num": 2, "max_seq_length": 64, "target": ["lm"]}
TRANSFORMER = {**SIZES, "encoder": "transformer", "feedforward_size": 32, "heads_num": 4, "mask": "causal"}
PRE = {"layernorm_positioning": "pre", "remove_embedding_layernorm": True}
SEQ2SEQ = {**TRANSFORMER, "mask": "fully_visible", "decoder": "transformer", "decoder_layers_num": 3}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {**TRANSFORMER, **PRE, "embedding": ["word", "pos"], "tie_weights": True},
    "post-normed": {**TRANSFORMER, "embedding": ["word", "pos", "seg"]},
    "prefix lm": {**TRANSFORMER, "embedding": ["word", "pos", "seg"], "mask": "causal_with_prefix"},
    "relative positions": {**TRANSFORMER, **PRE, "embedding": ["word"], "relative_position_embedding": True},
    "residual attention": {**TRANSFORMER, "embedding": ["word", "pos"], "has_residual_attention": True},
    "shared layers": {
        **TRANSFORMER,
        "embedding": ["word", "sinusoidalpos"],
        "parameter_sharing": True,
        "factorized_embedding_parameterization": True,
        "emb_size": 8,
    },
    "llama": {
        **TRANSFORMER,
        **PRE,
        "embedding": ["word"],
        "local_kv_heads_num": 2,
        "rotary_position_embedding": True,
        "layernorm": "rms",
        "feed_forward": "gated",
        "hidden_act": "silu",
        "remove_transformer_bias": True,
    },
    "rnn": {**SIZES, "embedding": ["word"], "encoder": "rnn"},
    "lstm": {**SIZES, "embedding": ["word"], "encoder": "lstm"},
    "gru": {**SIZES, "embedding": ["word"], "encoder": "gru"},
    "gatedcnn": {
        **SIZES,
        "embedding": ["word"],
        "encoder": "gatedcnn",
        "layers_num": 4,
        "kernel_size": 3,
        "block_size": 2,
    },
    "t5": {
        **SEQ2SEQ,
        **PRE,
        "embedding": ["word"],
        "tgt_embedding": ["word"],
        "relative_position_embedding": True,
        "layernorm": "t5",
        "share_embedding": True,
        "tie_weights": True,
        "remove_attention_scale": True,
    },
    "bart": {**SEQ2SEQ, "embedding": ["word", "pos"], "tgt_embedding": ["word", "pos"], "share_embedding": True},
    "pegasus": {**SEQ2SEQ, **PRE, "embedding": ["word", "sinusoidalpos"], "tgt_embedding": ["word", "sinusoidalpos"]},
    "translation from lstm": {
        **SEQ2SEQ,
        "encoder": "lstm",
        "mask": None,
        "embedding": ["word"],
        "tgt_embedding": ["word", "pos"],
    },
}
PROMPTS = ([1, 20, 21, 22, 23], [1, 30], [1, 40, 41, 42, 43], [1, 50, 51])


def made(name: str) -> Model:
    """With weights large enough that the next token depends on the whole text."""
    values = {key: value for key, value in MODELS[name].items() if value is not None}
    torch.manual_seed(1)
    model = build_model(model_config_from_dict(values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(12)
    return model


def prompts_for(model: Model) -> list[Prompt]:
    begin = [1] if model.decoder else []
    return [Prompt(number, list(ids), begin) for number, ids in enumerate(PROMPTS)]


def anew(model: Model, prompt: Prompt, written: list[int]) -> Tensor:
    """Scores [V] of what follows, without any past."""
    if model.decoder is None:
        ids = torch.tensor([[*prompt.ids, *written]])
        answer = 2 if model.config.mask == "causal_with_prefix" else 1
        segments = torch.tensor([[*[1] * len(prompt.ids), *[answer] * len(written)]])
        return model.logits(Batch(ids, segments))["lm"][0, -1].float()
    target = torch.tensor([[*prompt.begin, *written]])
    both = replace(padded([prompt.ids]), decoder=Batch(target, torch.ones_like(target)))
    return model.logits(both)["lm"][0, -1].float()


@torch.no_grad()
def greedy_anew(model: Model, prompt: Prompt) -> list[int]:
    written: list[int] = []
    for _ in range(LONGEST):
        token = int(anew(model, prompt, written).argmax())
        if token == END:
            break
        written.append(token)
    return written


def written(model: Model, prompts: list[Prompt], **sampling: Any) -> list[Text]:
    *_, texts = write(model, prompts, Rules(DecodingConfig(**sampling), LONGEST, END))
    return texts


@pytest.mark.parametrize("name", MODELS)
def test_what_is_remembered_changes_no_token(name: str) -> None:
    """In a batch of prompts of different lengths, some of which end early."""
    model = made(name)
    prompts = prompts_for(model)
    wanted = [greedy_anew(model, prompt) for prompt in prompts]
    assert len({tuple(ids) for ids in wanted}) > 1, "the texts must not all be the same"
    assert [text.ids for text in written(model, prompts, greedy=True)] == wanted


@pytest.mark.parametrize("name", ["gpt2", "lstm", "t5", "gatedcnn", "llama"])
@torch.no_grad()
def test_scores_are_the_same(name: str) -> None:
    model = made(name)
    prompts = prompts_for(model)
    reader, texts = Reader(model, prompts, 4), [list[int]() for _ in prompts]
    for step in range(4):
        wanted = torch.stack([anew(model, prompt, ids) for prompt, ids in zip(prompts, texts, strict=True)])
        torch.testing.assert_close(reader.logits, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
        tokens = torch.tensor([(7 * step + 3 * row) % V for row in range(len(prompts))])
        reader.read(tokens)
        for ids, token in zip(texts, tokens.tolist(), strict=True):
            ids.append(token)


@pytest.mark.parametrize("name", ["gpt2", "gru", "bart"])
def test_a_text_does_not_depend_on_its_neighbours(name: str) -> None:
    model = made(name)
    prompts = prompts_for(model)
    together = [text.ids for text in written(model, prompts, seed=5)]
    assert together == [written(model, [prompt], seed=5)[0].ids for prompt in prompts]
    assert together != [text.ids for text in written(model, prompts, seed=6)]


@torch.no_grad()
def all_texts(model: Model, prompt: Prompt, longest: int, choices: list[int]) -> dict[tuple[int, ...], float]:
    """Log probability of every text of up to `longest` tokens among `choices`, ended or as long as allowed."""
    found: dict[tuple[int, ...], float] = {}
    open_texts = {(): 0.0}
    for _ in range(longest):
        following: dict[tuple[int, ...], float] = {}
        for ids, score in open_texts.items():
            scores = anew(model, prompt, list(ids)).clone()
            banned = [token for token in range(V) if token not in (*choices, END)]
            scores[banned] = -torch.inf
            steps = scores.log_softmax(-1)
            found[(*ids, END)] = score + float(steps[END])
            following |= {(*ids, token): score + float(steps[token]) for token in choices}
        open_texts = following
    return found | open_texts


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_wide_beams_find_the_best_text(name: str) -> None:
    """By looking at all of them."""
    model, choices, longest = made(name), [10, 11, 12], 3
    banned = tuple(token for token in range(V) if token not in (*choices, END))
    rules = Rules(DecodingConfig(beam_size=27, length_penalty=1.0), longest, END, banned)
    for prompt, text in zip(prompts_for(model), search(model, prompts_for(model), rules), strict=True):
        every = all_texts(model, prompt, longest, choices)
        ended = {ids: score / len(ids) for ids, score in every.items() if ids[-1] == END}
        best = max(ended, key=lambda ids: ended[ids])
        assert text.ended and tuple(text.ids) == best[:-1]
        assert text.log_probability == pytest.approx(every[best], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_every_text_has_its_own_limit(beams: int) -> None:
    model = made("gpt2")
    prompts = [replace(prompt, longest=2 + 3 * n) for n, prompt in enumerate(prompts_for(model))]
    rules = Rules(DecodingConfig(beam_size=beams, greedy=beams == 1), 11, None)
    *_, texts = write(model, prompts, rules) if beams == 1 else [search(model, prompts, rules)]
    assert [len(text.ids) for text in texts] == [2, 5, 8, 11]


def test_one_beam_is_greedy() -> None:
    model = made("gpt2")
    greedy = written(model, prompts_for(model), greedy=True)
    rules = Rules(DecodingConfig(beam_size=1), LONGEST, END)
    found = search(model, prompts_for(model), rules)
    assert [text.ids for text in found] == [text.ids for text in greedy]


def test_models_that_cannot_continue_a_text_are_refused() -> None:
    two_way = {**SIZES, "embedding": ["word"], "encoder": "lstm", "bidirectional": True, "target": ["mlm"]}
    both = build_model(model_config_from_dict(two_way))
    with pytest.raises(UserError, match="target is mlm; only one with target lm"):
        both.new_past(4)
    elmo = build_model(
        model_config_from_dict({**two_way, "encoder": "bilstm", "bidirectional": False, "target": ["bilm"]})
    )
    with pytest.raises(UserError, match="target is bilm"):
        elmo.new_past(4)
