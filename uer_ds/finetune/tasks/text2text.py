"""Text to text with an encoder and a decoder (T5, BART, ...): translation, summaries, classes as words.

Columns: text_a, optional text_b (put behind text_a and a [SEP]), label (the target text). Answers are greedy. Chosen
by the share of answers that are right word for word; BLEU, chrF and ROUGE-L are shown too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoded, Encoder
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head
from uer_ds.finetune.metrics import text_scores
from uer_ds.finetune.rows import Row
from uer_ds.finetune.seq2seq import TextHead, next_tokens, with_decoder
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Task, Wanted
from uer_ds.finetune.tasks.texts import read_texts
from uer_ds.tokenizers import Tokenizer


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Source and, where answers are wanted, target [CLS] y [SEP] of at most --tgt_seq_length tokens."""
    targets = Encoder(reading.encoder.tokenizer, reading.options.tgt_seq_length)

    def encode(encoder: Encoder, rows: Sequence[Row], pairs: bool) -> Iterator[tuple[Encoded, ...]]:
        sep = encoder.special("sep")
        sources = encoder.ids([row.text("text_a") for row in rows])
        if pairs:
            seconds = encoder.ids([row.text("text_b") for row in rows])
            sources = [np.concatenate([a, [sep], b]) for a, b in zip(sources, seconds, strict=True)]
        wanted = encoder.ids([row.text("label") for row in rows]) if reading.gold else [None] * len(rows)
        for source, target in zip(sources, wanted, strict=True):
            if target is not None and len(target) + 2 > targets.seq_length:
                reading.noticed[f"targets were cut at {targets.seq_length} tokens"] += 1
            yield (encoder.single(source), *([] if target is None else [targets.single(target)]))

    return read_texts(path, reading, encode)


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`lm`: the token that follows each target token."""
    return {"lm": next_tokens(example).numpy()}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """The model's own lm head. Raises UserError for a model without a decoder."""
    if config.decoder is None:
        raise UserError(
            "text2text needs a model with a decoder; give --decoder transformer --tgt_embedding ..., or the "
            "--config_path of one (t5/small, bart/base, ...)."
        )
    if "pos" in config.tgt_embedding and options.tgt_seq_length > config.max_seq_length:
        raise UserError(
            f"--tgt_seq_length is {options.tgt_seq_length}, but the decoder's position table has "
            f"{config.max_seq_length} rows (max_seq_length); give that many or less."
        )
    start, end = labels.tokens
    return TextHead(start, end, options.tgt_seq_length)


def known_labels(options: Any, tokenizer: Tokenizer) -> Classes:
    """No classes; `tokens` are the ids that begin and end a target."""
    tokenizer.require("cls", "sep")
    return Classes((), (int(tokenizer.special.cls or 0), int(tokenizer.special.sep or 0)))


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Exact matches; BLEU, chrF and ROUGE-L over token ids, which need no tokenizer of another language."""
    end = labels.tokens[1]
    right = [example.rows[1].ids[1:] for example in examples]
    found = [output.astype(np.int64) for output in outputs]
    return text_scores([_until(ids, end) for ids in found], [_until(ids, end) for ids in right])


def _until(ids: Any, end: int) -> list[int]:
    stop = np.flatnonzero(ids == end)
    return (ids[: stop[0]] if len(stop) else ids).tolist()


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """The answer of each row."""
    assert wanted.tokenizer is not None
    for _, output in pairs:
        yield (wanted.tokenizer.decode(_until(output.astype(np.int64), labels.tokens[1])),)


TASK = Task(
    name="text2text",
    summary="texts to texts with a decoder",
    read=read,
    values=values,
    head=head,
    score=score,
    metric="accuracy",
    columns=lambda wanted: ("label",),
    records=records,
    known_labels=known_labels,
    batch_of=with_decoder,
    by_token=("lm",),
    target=("lm",),
)
