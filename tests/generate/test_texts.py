"""Prompts, forms of verse, and text that appears while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from uer_ds.config.generate import DecodingConfig, TextConfig
from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.errors import UserError
from uer_ds.generate.forms import build_form, template_of
from uer_ds.generate.run import Pace, generate
from uer_ds.generate.texts import Desk, Stream
from uer_ds.models.model import build_model
from uer_ds.tokenizers import Tokenizer, load_tokenizer

HAN = "春夏秋冬风花雪月山水云日人心天地"
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "，", "。", "a", "##b", *HAN]
SIZES = {"emb_size": 8, "hidden_size": 8, "feedforward_size": 16, "heads_num": 2, "layers_num": 1, "max_seq_length": 48}
LM = {**SIZES, "embedding": ["word", "pos"], "encoder": "transformer", "mask": "causal", "target": ["lm"]}
SEQ2SEQ = {**LM, "mask": "fully_visible", "decoder": "transformer", "tgt_embedding": ["word", "pos"]}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return load_tokenizer("char", vocab_path=path)


def config(values: dict[str, Any]) -> ModelConfig:
    return model_config_from_dict({**values, "vocab_size": len(TOKENS)})


def desk(tokenizer: Tokenizer, sampling: dict[str, Any] | None = None, values: Any = LM, **texts: Any) -> Desk:
    return Desk(config(values), tokenizer, tokenizer, DecodingConfig(**sampling or {}), TextConfig(**texts))


def written(tokenizer: Tokenizer, prompts: Sequence[str], made: Desk, batch_size: int = 4) -> list[str]:
    torch.manual_seed(0)
    model = build_model(made.config).eval()
    return [made.show(text.ids) for _, text in generate(model, made, prompts, batch_size, Pace())]


@pytest.mark.parametrize(
    ("form", "acrostic", "prompt", "wanted"),
    [
        ("wujue", None, "", "*****，*****。*****，*****。"),
        ("qijue", "春夏秋冬", "", "春******，夏******。秋******，冬******。"),
        ("wulv", "山水", "", "山****，水****。" + "*****，*****。" * 3),
        ("wujue", None, "春风花雪月，山", "****。*****，*****。"),
        ("couplet", None, "春风花雪月，", "*****。"),
        ("couplet", None, "人心，天地云", "***。"),
        ("**，**。", None, "春", "**，**。"),
    ],
)
def test_templates(form: str, acrostic: str | None, prompt: str, wanted: str) -> None:
    assert template_of(form, acrostic, prompt) == wanted


@pytest.mark.parametrize(
    ("form", "acrostic", "prompt", "words"),
    [
        ("wujue", "春夏秋冬云", "", "has 5 characters, but the form has 4 lines"),
        ("wujue", None, "春风，", "does not begin a text of this form: character 3"),
        ("wujue", None, "春风花雪月，" * 4, "as long as the form, 24 characters"),
        ("couplet", None, "abc", "no Chinese characters to answer"),
        ("couplet", "春", "春风", "--acrostic is for poems"),
    ],
)
def test_forms_that_do_not_fit_are_refused(form: str, acrostic: str | None, prompt: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        template_of(form, acrostic, prompt)


def test_characters_that_the_vocabulary_lacks_are_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="'龍' of the form is not in the vocabulary"):
        build_form("*龍", tokenizer, 3)


@pytest.mark.parametrize("sampling", [{}, {"greedy": True}, {"beam_size": 3}, {"top_k": 2, "temperature": 5.0}])
def test_every_text_has_its_form(tokenizer: Tokenizer, sampling: dict[str, Any]) -> None:
    made = desk(tokenizer, sampling, form="qijue", acrostic="春夏秋冬")
    prompts = ["", "春风花雪月山水，夏人", "春"]
    texts = written(tokenizer, prompts, made)
    for prompt, text in zip(prompts, texts, strict=True):
        whole = prompt + text
        assert len(whole) == 32 and whole[0::8] == "春夏秋冬" and whole[7::8] == "，。，。"
        assert set(whole) <= set(HAN + "，。")


def test_what_must_not_be_written_is_not(tokenizer: Tokenizer) -> None:
    made = desk(tokenizer, {"top_k": 0, "temperature": 100.0}, ignore_end=True, samples_num=40)
    texts = written(tokenizer, ["春"], made, batch_size=40)
    assert len(texts) == 40 and len(set(texts)) == 40
    everything = "".join(texts)
    assert "[" not in everything and "a" in everything
    made = desk(tokenizer, {"temperature": 100.0}, max_new_tokens=5, ignore_end=True)
    assert len(written(tokenizer, ["春" * 9], made)[0]) <= 5 * 2


def test_texts_end_where_they_should(tokenizer: Tokenizer) -> None:
    made = desk(tokenizer, {"top_k": 0, "temperature": 100.0}, stop=("。", "花雪"), samples_num=60)
    texts = written(tokenizer, ["春"], made, batch_size=60)
    stopped = [text for text in texts if "。" in text or "花雪" in text]
    assert stopped and all(text.endswith(("。", "花雪")) for text in stopped)
    assert all(text.count("。") <= 1 for text in texts)


def test_a_position_table_limits_texts(tokenizer: Tokenizer) -> None:
    made = desk(tokenizer, {"greedy": True}, max_new_tokens=1000, ignore_end=True)
    assert made.rules(made.prompts(["春夏"], 0)).longest == 48 - 3
    with pytest.raises(UserError, match=r"has 49 tokens with \[CLS\], and a text may have 48"):
        made.prompts(["春" * 48], 0)


def test_prompts_of_a_decoder(tokenizer: Tokenizer) -> None:
    made = desk(tokenizer, values=SEQ2SEQ, seq_length=6, tgt_seq_length=10)
    prompt = made.prompts(["春夏秋冬风花雪"], 4)[0]
    assert prompt.number == 4 and len(prompt.ids) == 6 and prompt.ids[0] == 2 and prompt.ids[-1] == 3
    assert prompt.begin == [2] and made.rules([prompt]).longest == 9


def test_samples_of_a_prompt_differ_and_repeat(tokenizer: Tokenizer) -> None:
    made = desk(tokenizer, {"temperature": 50.0, "seed": 3}, samples_num=3)
    first = written(tokenizer, ["春", "夏"], made, batch_size=4)
    assert first == written(tokenizer, ["春", "夏"], made, batch_size=1)
    assert len(set(first)) == 6


def test_streams_show_what_is_final() -> None:
    shown = {1: "春", 2: "春\ufffd", 3: "春风", 4: "春风 a", 5: "春风 ab"}
    stream = Stream(lambda ids: shown[len(ids)])
    assert [stream.more([0] * count) for count in (1, 2, 3, 4, 5)] == ["春", "", "风", " a", "b"]
    assert Stream(lambda ids: "春\ufffd").more([0], last=True) == "春\ufffd"
