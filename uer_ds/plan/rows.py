"""What a micro-batch asks of a model on average: tokens, pairs that see each other, predictions.

The numbers follow from the options alone, so they are expectations: packed rows are full, other rows are taken as full
too (padding costs memory like text), and as many tokens are predicted as the objective predicts on average.
"""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.data import SEQ_LENGTH
from uer_ds.config.run import RunConfig
from uer_ds.models.flops import Work
from uer_ds.objective_specs import OBJECTIVE_SPECS

MASKED = 0.15
"""Share of tokens that masked language models predict (BERT's and ours)."""

SPAN_TARGETS = {True: 0.20, False: 0.28}
"""With span masking and without: target tokens for a source token of T5's objective: 15 % of the text, and a sentinel
for each of its runs."""


@dataclass(frozen=True)
class Rows:
    """The rows of a micro-batch.

    Attributes:
        rows: B.
        length: S, tokens a row.
        document: tokens of a document; attention stays inside. `length` where a row holds one.
        target_length: T, decoder tokens a row; 0 without a decoder.
        predicted: predictions a row, for the vocabulary.
        packed: rows bring positions and document numbers.
    """

    rows: int
    length: int
    document: int
    target_length: int = 0
    predicted: float = 0.0
    packed: bool = False

    @property
    def tokens(self) -> int:
        """B x S."""
        return self.rows * self.length

    @property
    def target_tokens(self) -> int:
        """B x T."""
        return self.rows * self.target_length

    def of(self, rows: int) -> Rows:
        """The same with another number of rows."""
        return Rows(rows, self.length, self.document, self.target_length, self.predicted, self.packed)


def rows_of(run: RunConfig, document_tokens: int | None = None) -> Rows:
    """The rows of `run`; `document_tokens`: mean length of a document where rows are packed (default: a whole row)."""
    data = run.data
    spec = OBJECTIVE_SPECS[data.data_processor or run.model.data_processor or "mlm"]
    length = data.seq_length or SEQ_LENGTH
    packed = spec.packed and not data.no_packing
    target = 0
    if run.model.decoder:
        own = data.tgt_seq_length or SEQ_LENGTH
        target = (
            own
            if spec.own_target_length
            else round(length * (SPAN_TARGETS[data.span_masking] if spec.name == "t5" else 1))
        )
    document = min(length, document_tokens or length) if packed else length
    length_here = length // run.sharing.rows
    return Rows(
        max(1, run.train.batch_size), length_here, document, target, _predicted(run, length_here, target), packed
    )


def _predicted(run: RunConfig, length: int, target: int) -> float:
    """Predictions of words in a row."""
    if "mlm" in run.model.target:
        return MASKED * length
    if "bilm" in run.model.target:
        return 2.0 * length
    if "lm" in run.model.target:
        return float(target or length)
    return 0.0


def work_of_rows(rows: Rows, mask: str, targets: tuple[str, ...]) -> Work:
    """The same as `uer_ds.models.flops` counts it for a real batch."""
    causal = mask != "fully_visible"
    pairs = rows.tokens * rows.document // (2 if causal else 1)
    words = round(rows.rows * rows.predicted)
    labels = {"mlm": words, "lm": words, "bilm_forward": words // 2, "bilm_backward": words // 2}
    labels |= {"sp": rows.rows, "cls": rows.rows}
    return Work(
        rows.tokens,
        pairs,
        rows.target_tokens,
        rows.target_tokens * rows.target_length // 2,
        rows.target_tokens * rows.document,
        {name: count for name, count in labels.items() if name.split("_")[0] in targets},
    )
