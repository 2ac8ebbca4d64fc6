"""Classification of pairs whose texts are read apart by two equal encoders.

Columns: label, text_a, text_b. The model is a dual one (`sbert/base`); a file of one encoder is loaded into both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoded, Encoder
from uer_ds.finetune.examples import Example, Values, two_streams
from uer_ds.finetune.heads import Head, PairHead
from uer_ds.finetune.rows import Row
from uer_ds.finetune.task import Classes, Reading
from uer_ds.finetune.tasks import classifier
from uer_ds.finetune.tasks.texts import read_texts


def two_rows(encoder: Encoder, rows: Sequence[Row], pairs: bool) -> list[tuple[Encoded, ...]]:
    """[CLS] a [SEP] and [CLS] b [SEP]; without a second text, the first one twice."""
    firsts = encoder.ids([row.text("text_a") for row in rows])
    seconds = encoder.ids([row.text("text_b") for row in rows]) if pairs else firsts
    return [(encoder.single(a), encoder.single(b)) for a, b in zip(firsts, seconds, strict=True)]


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Two rows of ids for each row of the table."""
    return read_texts(path, reading, two_rows, columns=("text_a", "text_b"))


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`cls`."""
    return {"cls": classifier.class_number(example, labels)}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """K scores from both pooled vectors. Raises UserError for a model of one stream."""
    if config.stream_0 is None or config.stream_0.hidden_size is None:
        raise UserError(
            f"the siamese task needs a model of two streams, found encoder {config.encoder!r}; "
            "give --config_path sbert/base (its weights may be those of one encoder)."
        )
    return PairHead(config.stream_0.hidden_size, len(labels), config.pooling)


TASK = replace(
    classifier.TASK,
    name="siamese",
    summary="classify pairs of texts that are read apart",
    read=read,
    values=values,
    head=head,
    batch_of=two_streams,
    exported=lambda options: False,
)
