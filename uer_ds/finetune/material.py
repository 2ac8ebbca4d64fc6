"""What a fine-tuning run works on: where it starts, its examples, its classes. Read once, also by many trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

from uer_ds.config.finetune import FinetuneRun
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example, ExampleSet, Values
from uer_ds.finetune.start import Start, find_start
from uer_ds.finetune.task import Labels, Reading, Task
from uer_ds.registry import TASKS


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
    """

    run: FinetuneRun
    task: Task
    start: Start
    encoder: Encoder
    train: list[Example]
    dev: list[Example]
    labels: Labels

    @property
    def pad(self) -> int:
        """The id of padding."""
        return self.encoder.special("pad")

    def values(self, example: Example) -> Values:
        """The labels of an example."""
        return self.task.values(example, self.labels, self.run.options)

    def training_set(self) -> ExampleSet:
        """The training examples as the loader wants them."""
        return ExampleSet(self.train, self.values, self.task.batch_of, self.pad)

    def split(self, train: list[Example], dev: list[Example]) -> Material:
        """The same with other examples, for instance a fold."""
        return replace(self, train=train, dev=dev)


def read_material(run: FinetuneRun, tokenizer_given: bool) -> Material:
    """Read everything that `run` names; a wrong label is found here, before training.

    `tokenizer_given`: whether the options name a tokenizer; otherwise it comes with the weights.
    """
    task: Task = TASKS[run.task]
    paths = run.paths
    start = find_start(task, paths.pretrained_model_path, paths.config_path, run.model, run.tokenizer, tokenizer_given)
    encoder = Encoder(start.tokenizer, run.training.seq_length)
    train, dev = (read_examples(run, task, encoder, part) for part in ("train", "dev"))
    labels = task.known_labels(run.options, start.tokenizer)
    if labels is None:
        labels = task.labels(train, run.options, run.training.map_labels)
    material = Material(run, task, start, encoder, train, dev, labels)
    for example in (*train, *dev):
        material.values(example)
    return material


def read_examples(run: FinetuneRun, task: Task, encoder: Encoder, part: str) -> list[Example]:
    """The examples of a part: train, dev or test. Raises UserError when there is none."""
    examples: list[Example] = []
    for number, path in enumerate(task.sources(run.paths, run.options, part)):
        found = list(task.read(path, Reading(encoder, run.options, part=part, source=number)))
        if not found:
            raise UserError(f"{path}: holds no example; expected at least one row below the header line.")
        examples += found
    return examples
