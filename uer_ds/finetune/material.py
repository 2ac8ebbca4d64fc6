"""What a fine-tuning run works on: where it starts, its examples, its classes. Read once, also by many trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from uer_ds.config.finetune import FinetuneRun
from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example, ExampleSet, Values
from uer_ds.finetune.start import Start, find_start
from uer_ds.finetune.task import Classes, Reading, Task
from uer_ds.registry import TASKS

USUAL_LENGTH = 128
"""Tokens in a row where nobody says anything, as in UER-py."""


@dataclass(frozen=True)
class Material:
    """Model, data and classes of a run.

    Attributes:
        run: the options.
        task: what is learnt.
        start: tokenizer, model configuration and weights to begin with.
        encoder: makes rows of ids; counts texts that were cut.
        train, dev: examples with right answers.
        labels: the classes.
        test: the same of the test file; empty without one.
        noticed: what was left out or cut, for people.
    """

    run: FinetuneRun
    task: Task
    start: Start
    encoder: Encoder
    train: list[Example]
    dev: list[Example]
    labels: Classes
    test: list[Example] = field(default_factory=list)
    noticed: tuple[str, ...] = ()

    @property
    def pad(self) -> int:
        """The id of padding."""
        return self.encoder.special("pad")

    def values(self, example: Example) -> Values:
        """The labels of an example."""
        return self.task.values(example, self.labels, self.run.options)

    def training_set(self) -> ExampleSet:
        """The training examples as the loader wants them."""
        return ExampleSet(self.train, self.values, self.task.batch_of, self.pad, self.task.by_token)

    def split(self, train: list[Example], dev: list[Example]) -> Material:
        """The same with other examples, for instance a fold."""
        return replace(self, train=train, dev=dev)


def read_material(run: FinetuneRun, tokenizer_given: bool, dev: bool = True) -> Material:
    """Read everything that `run` names, the test file too: what is wrong with a label is found before training.

    `tokenizer_given`: whether the options name a tokenizer; otherwise it comes with the weights. `dev`: whether there
    is a dev file; folds are held out of the training file.
    """
    task: Task = TASKS[run.task]
    paths = run.paths
    if run.training.map_labels and not task.numbered:
        raise UserError(f"--map_labels is not for {task.name}, whose labels are no numbers of classes; leave it out.")
    start = find_start(task, paths.pretrained_model_path, paths.config_path, run.model, run.tokenizer, tokenizer_given)
    encoder = Encoder(start.tokenizer, row_length(start.config, run.training.seq_length))
    noticed: list[str] = []
    train = read_examples(run, task, encoder, "train", noticed)
    held_out = read_examples(run, task, encoder, "dev", noticed) if dev else []
    test = read_examples(run, task, encoder, "test", noticed) if run.paths.test_path else []
    noticed += pairs_without_segments(start.config, train)
    labels = task.known_labels(run.options, start.tokenizer)
    if labels is None:
        labels = task.labels(train, run.options, run.training.map_labels)
    material = Material(run, task, start, encoder, train, held_out, labels, test, tuple(noticed))
    for example in (*train, *held_out, *test):
        material.values(example)
    return material


def row_length(config: ModelConfig, given: int | None, usual: int = USUAL_LENGTH) -> int:
    """Tokens in a row: as many as were `given`, else the `usual` number, or the model's positions where they are fewer.

    Raises UserError when more were given than the model has positions.
    """
    most = min((part.max_seq_length for part in _parts(config) if "pos" in part.embedding), default=None)
    if given is not None and most is not None and given > most:
        raise UserError(
            f"--seq_length is {given}, but the model's position table has {most} rows (max_seq_length); "
            f"give --seq_length {most} or less."
        )
    return given or min(usual, most or usual)


def pairs_without_segments(config: ModelConfig, examples: Sequence[Example]) -> list[str]:
    """What to say about pairs that a model without segment embeddings reads."""
    has_pairs = any(row.first < len(row) for example in examples for row in example.rows)
    if not has_pairs or any("seg" in part.embedding for part in _parts(config)):
        return []
    return ["pairs      the model has no segment embedding: only [SEP] tells it where the second text begins"]


def _parts(config: ModelConfig) -> list[ModelConfig]:
    """The model and, where it has two, its streams."""
    return [part for part in (config, config.stream_0, config.stream_1) if part is not None]


def read_examples(run: FinetuneRun, task: Task, encoder: Encoder, part: str, noticed: list[str]) -> list[Example]:
    """The examples of a part: train, dev or test; what was left out of it goes to `noticed`.

    Raises UserError when there is no example.
    """
    examples: list[Example] = []
    for number, path in enumerate(task.sources(run.paths, run.options, part)):
        reading = Reading(encoder, run.options, part=part, source=number)
        found = list(task.read(path, reading))
        said = [f"{count:,} {what}" for what, count in reading.noticed.items()]
        if not found:
            reason = f" ({'; '.join(said)})" if said else ""
            raise UserError(f"{path}: holds no example{reason}; expected at least one.")
        noticed += [f"{part:<10} {what}" for what in said]
        examples += found
    return examples
