"""What is known about each training objective without importing it: one record, read by every room.

The command line, the checks of model configurations, preprocessing, the importer of UER-py's files and the objectives
themselves take their facts from here. To add an objective: write its class under `uer_ds/objectives/`, add its record
here. Nothing but strings, so that it costs nothing to import.
"""

from __future__ import annotations

from dataclasses import dataclass

LAYOUTS = {
    "line": ("documents", "sentences"),
    "blank_line": ("sentences",),
    "pair": ("pairs",),
    "label": ("labelled",),
}
"""Form of a corpus -> the dataset layouts (`uer_ds.data.manifest`) that its objectives read; the first is the one that
the form gives."""

CORPORA = {
    "line": "one document a line",
    "blank_line": "one sentence a line, a blank line between documents; or one document a line (--split_sentences)",
    "pair": "source TAB target; or records with instruction, input and output",
    "label": "label TAB text [TAB second text]",
}
"""Form of a corpus -> what a text file of that form looks like, in words."""

NEEDS = {
    "line": "at least one document",
    "blank_line": "at least one document of sentences",
    "pair": "at least one pair of source and target",
    "label": "at least one labelled text",
}
"""Form of a corpus -> the smallest dataset that gives a sample, in words."""

BRACKETS = ("pad", "cls", "sep")
"""Special tokens that every objective needs."""


@dataclass(frozen=True)
class ObjectiveSpec:
    """One objective.

    Attributes:
        name: what users write after --data_processor.
        summary: what is learned, in a few words.
        path: "module:Class" of the sample maker.
        targets: the model targets that it has labels for, in the order in which UER-py's `--target NAME` named them.
        corpus: the form of its corpora, a key of `LAYOUTS` and `uer_ds.data.build_spec.RULES`.
        tokens: roles of the special tokens that it needs besides `BRACKETS`.
        decoder: source and target are two sequences, so the model must have a decoder.
        own_target_length: its targets have --tgt_seq_length tokens, not --seq_length.
        packed: rows can hold several documents (`--no_packing` turns that off).
        mask: the attention mask that UER-py's `--target NAME` stood for; None: whatever the model says.
        old_names: what older releases of UER-py called it after --target.
    """

    name: str
    summary: str
    path: str
    targets: tuple[str, ...]
    corpus: str
    tokens: tuple[str, ...] = ()
    decoder: bool = False
    own_target_length: bool = False
    packed: bool = False
    mask: str | None = None
    old_names: tuple[str, ...] = ()

    @property
    def layouts(self) -> tuple[str, ...]:
        """The dataset layouts that it reads; the first is the one made for it."""
        return LAYOUTS[self.corpus]

    @property
    def needs(self) -> str:
        """The smallest dataset that gives a sample, in words."""
        return NEEDS[self.corpus]

    @property
    def required_tokens(self) -> tuple[str, ...]:
        """Roles of all special tokens that the vocabulary must have."""
        return (*BRACKETS, *self.tokens)


_ROOM = "uer_ds.objectives"

OBJECTIVE_SPECS: dict[str, ObjectiveSpec] = {
    spec.name: spec
    for spec in (
        ObjectiveSpec(
            "mlm",
            "masked tokens",
            f"{_ROOM}.mlm:MaskedLanguageModel",
            ("mlm",),
            "line",
            ("mask",),
            packed=True,
        ),
        ObjectiveSpec(
            "lm",
            "the next token",
            f"{_ROOM}.causal_lm:CausalLanguageModel",
            ("lm",),
            "line",
            packed=True,
        ),
        ObjectiveSpec(
            "bert",
            "masked tokens; does B follow A?",
            f"{_ROOM}.sentence:NextSentence",
            ("mlm", "sp"),
            "blank_line",
            ("mask",),
        ),
        ObjectiveSpec(
            "albert",
            "masked tokens; are A and B in order?",
            f"{_ROOM}.sentence:SentenceOrder",
            ("mlm", "sp"),
            "blank_line",
            ("mask",),
        ),
        ObjectiveSpec("cls", "the label of a text", f"{_ROOM}.classification:Classification", ("cls",), "label"),
        ObjectiveSpec(
            "cls_mlm",
            "the label of a text and masked tokens",
            f"{_ROOM}.classification:ClassificationMlm",
            ("mlm", "cls"),
            "label",
            ("mask",),
        ),
        ObjectiveSpec(
            "bilm",
            "the next token, and the previous one",
            f"{_ROOM}.bilm:BidirectionalLanguageModel",
            ("bilm",),
            "line",
        ),
        ObjectiveSpec(
            "mt",
            "the target text of a source text",
            f"{_ROOM}.translation:Translation",
            ("lm",),
            "pair",
            decoder=True,
            own_target_length=True,
            old_names=("seq2seq",),
        ),
        ObjectiveSpec(
            "t5",
            "masked runs, behind sentinels",
            f"{_ROOM}.span_corruption:SpanCorruption",
            ("lm",),
            "line",
            ("mask", "sentinel"),
            decoder=True,
            packed=True,
        ),
        ObjectiveSpec(
            "gsg",
            "sentences taken out of a text (Pegasus)",
            f"{_ROOM}.gap_sentences:GapSentences",
            ("lm",),
            "blank_line",
            ("mask",),
            decoder=True,
            own_target_length=True,
        ),
        ObjectiveSpec(
            "bart",
            "a text from a shuffled and masked copy",
            f"{_ROOM}.denoising:Denoising",
            ("lm",),
            "blank_line",
            ("mask",),
            decoder=True,
        ),
        ObjectiveSpec(
            "prefixlm",
            "the target text behind a source text",
            f"{_ROOM}.prefix_lm:PrefixLanguageModel",
            ("lm",),
            "pair",
            mask="causal_with_prefix",
        ),
        ObjectiveSpec(
            "llm_sft",
            "the answer to an instruction",
            f"{_ROOM}.prefix_lm:InstructionTuning",
            ("lm",),
            "pair",
        ),
    )
}


def objective_spec(name: str) -> ObjectiveSpec:
    """The record of the objective that users call `name`, today's name or an older one. KeyError: there is none."""
    for spec in OBJECTIVE_SPECS.values():
        if name in spec.old_names:
            return spec
    return OBJECTIVE_SPECS[name]


def names_by_corpus(corpus: str) -> str:
    """The objectives that read this form of corpus, for texts to the user: "bert, albert, gsg, bart"."""
    return ", ".join(spec.name for spec in OBJECTIVE_SPECS.values() if spec.corpus == corpus)
