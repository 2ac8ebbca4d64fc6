"""Prediction: a fine-tuned model reads a file of any size and writes answers in the order of its rows.

The same readers and the same model code as training. Examples are read `CHUNK` at a time, so memory does not grow with
the file; several processes share each chunk.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch

from uer_ds.config.finetune import PredictRun
from uer_ds.engine import distributed
from uer_ds.engine.group import Group
from uer_ds.engine.machine import device
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example
from uer_ds.finetune.material import row_length
from uer_ds.finetune.model import TaskModel, file_name
from uer_ds.finetune.output import prediction_file
from uer_ds.finetune.predict import predict
from uer_ds.finetune.result import TASK_FILE, read_description
from uer_ds.finetune.rows import count_rows
from uer_ds.finetune.start import Start, find_start
from uer_ds.finetune.task import Classes, Pair, Reading, Task, Wanted
from uer_ds.launch.place import Place
from uer_ds.models.model import build_model
from uer_ds.models.weights import load_tensors
from uer_ds.registry import TASKS

OUTPUT_LAYERS = ("output_layer_2.weight", "output_layer.weight", "classifier.weight")
"""Last layers of heads, whose rows are the classes."""

CHUNK = 16384
"""Examples in memory at a time."""


class Bar(Protocol):
    """What shows how far a prediction is."""

    def start(self, total_bytes: int) -> None:
        """Expect so much."""
        ...

    def advance(self, count: int) -> None:
        """So much more is done."""
        ...


def run_prediction(run: PredictRun, tokenizer_given: bool, place: Place, bar: Bar | None = None) -> int:
    """Predict as the process `place`; returns the exit status. `bar` is for a person who watches."""
    with distributed.joined(place) as group:
        predictor = Predictor(run, tokenizer_given, bar)
        predictor.write(Path(run.paths.test_path), Path(run.paths.prediction_path), group)
    return 0


class Predictor:
    """A fine-tuned model, ready to answer."""

    def __init__(self, run: PredictRun, tokenizer_given: bool, bar: Bar | None = None):
        self.run, self.read, self.bar = run, 0, bar
        self.task: Task = TASKS[run.task]
        path = run.paths.load_model_path
        start = find_start(self.task, path, run.paths.config_path, run.model, run.tokenizer, tokenizer_given)
        self.options, self.labels, length = self._description(Path(path), start)
        self._refuse_columns()
        self.encoder = Encoder(start.tokenizer, length)
        head = self.task.head(start.config, self.labels, self.options)
        self.model = TaskModel(build_model(start.config), head).to(device()).eval()
        source = {name: tensor.read for name, tensor in start.source.items()}
        report = load_tensors(self.model, source, Path(path), file_name)
        if report.missing:
            raise self._other_model(", ".join(report.missing[:3]))

    def _description(self, path: Path, start: Start) -> tuple[Any, Classes, int]:
        """Options, labels and length of rows: what was given, else what the model's folder says."""
        run = self.run
        folder = start.folder or path
        if not (folder / TASK_FILE).is_file():
            return run.options(), self._labels(start), row_length(start.config, run.paths.seq_length)
        said = read_description(folder)
        if said.task != run.task:
            raise UserError(f"{path}: was fine-tuned for {said.task}, not {run.task}; `uer-ds predict {said.task}`.")
        self._check_number(len(said.labels))
        length = row_length(start.config, run.paths.seq_length, said.seq_length)
        return run.options(said.options), said.labels, length

    def _labels(self, start: Start) -> Classes:
        """The classes where no fine-tuning of ours has written them down: the task's, the file's, or numbers."""
        labels = self.task.known_labels(self.run.options(), start.tokenizer)
        if labels is None:
            size = next((start.source[name].shape[0] for name in OUTPUT_LAYERS if name in start.source), None)
            if size is None:
                raise self._other_model("head")
            labels = Classes(start.labels or tuple(map(str, range(size))))
        self._check_number(len(labels))
        return labels

    def _refuse_columns(self) -> None:
        """Raise UserError for an option that asks for what the task's answers do not have."""
        paths, offered = self.run.paths, self.task.columns(Wanted(logits=True, prob=True))
        for name, asked in (("logits", paths.output_logits), ("prob", paths.output_prob)):
            if asked and name not in offered:
                raise UserError(f"--output_{name}: answers of {self.run.task} have no {name}; leave it out.")

    def _other_model(self, lacks: str) -> UserError:
        task = self.run.task
        return UserError(
            f"{self.run.paths.load_model_path}: has no {lacks}, so it was not fine-tuned for {task}; "
            f"run `uer-ds finetune {task}` first."
        )

    def _check_number(self, found: int) -> None:
        given = self.run.labels_num
        if given is not None and given != found:
            raise UserError(
                f"--labels_num is {given}, but {self.run.paths.load_model_path} has {found} classes; leave it out."
            )

    def write(self, data: Path, output: Path, group: Group) -> None:
        """Answers for every row of `data` into `output`. Collective."""
        wanted = Wanted(self.run.paths.output_logits, self.run.paths.output_prob, self.encoder.tokenizer)
        began = time.perf_counter()
        total = count_rows(data) if self.bar else None
        if self.bar and total is not None:
            self.bar.start(total)
        pairs = self.pairs(data, group)
        if not group.place.is_first:
            deque(pairs, maxlen=0)  # help with every chunk
            return
        with prediction_file(output, self.task.columns(wanted), self.task.document, self.task.json_lines) as writer:
            writer.write(self.task.records(pairs, self.labels, wanted))
        seconds = time.perf_counter() - began
        cut = f", {self.encoder.cut:,} cut at {self.encoder.seq_length} tokens" * bool(self.encoder.cut)
        print(f"{output}: {self.read:,} rows{cut}, {self.read / seconds:,.0f} rows/s", flush=True)

    def pairs(self, data: Path, group: Group) -> Iterator[Pair]:
        """Every example with the head's outputs, in order, on rank 0; nothing on the others. Collective."""
        examples = iter(self.task.read(data, Reading(self.encoder, self.options, gold=False, part="predict")))
        while chunk := list(islice(examples, CHUNK)):
            self.read += len(chunk)
            outputs = self.outputs(chunk, group)
            yield from zip(chunk, outputs or [], strict=bool(outputs))

    def outputs(self, examples: list[Example], group: Group) -> Any:
        """The head's outputs for `examples`, on rank 0."""

        def run(batch: Any) -> torch.Tensor:
            return self.model(batch.to(device()), predict=True)

        pad = self.encoder.special("pad")
        advance = self.bar.advance if self.bar else lambda count: None
        return predict(run, examples, self.task.batch_of, pad, self.run.paths.batch_size, group, advance)
