"""Several datasets with one encoder: which file and which classes are whose, the loss, scores and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.finetune.test_heads import SIZES, batch, mean, task_model
from uer_ds.config.finetune import ClassifierMtOptions, FinetunePaths
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example
from uer_ds.finetune.heads import MultiHead
from uer_ds.finetune.model import TaskModel, file_name
from uer_ds.finetune.output import TsvWriter
from uer_ds.finetune.r_drop import divergence
from uer_ds.finetune.result import Description, read_description, write_result
from uer_ds.finetune.task import Classes, Reading, Wanted
from uer_ds.finetune.tasks import classifier_mt as mt
from uer_ds.tokenizers import Tokenizer, load_tokenizer

LABELS = Classes(("d1/0", "d1/1", "d2/0", "d2/1", "d2/2"), parts=(("d1", 2), ("d2", 3)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地人书好坏不我"]) + "\n", "utf-8")
    return load_tokenizer("char", path)


@pytest.fixture
def options(tmp_path: Path) -> ClassifierMtOptions:
    """Two datasets: of texts with two classes, of pairs with three."""
    for name in ("d1", "d2"):
        (tmp_path / name).mkdir()
    (tmp_path / "d1" / "train.tsv").write_text("label\ttext_a\n1\t天\n0\t地\n", "utf-8")
    lines = [f'{{"label": "{label}", "text_a": "天", "text_b": "人"}}\n' for label in (2, 0, 1)]
    (tmp_path / "d2" / "train.jsonl").write_text("".join(lines), "utf-8")
    return ClassifierMtOptions(dataset_path_list=(str(tmp_path / "d1"), str(tmp_path / "d2")))


def read(options: ClassifierMtOptions, tokenizer: Tokenizer) -> list[Example]:
    files = mt.sources(FinetunePaths(), options, "train")
    readings = [Reading(Encoder(tokenizer, 16), options, source=number) for number in range(len(files))]
    return [example for path, reading in zip(files, readings, strict=True) for example in mt.read(path, reading)]


def outputs(*rows: Sequence[float]) -> list[Any]:
    return [np.array(row, dtype=np.float32) for row in rows]


def test_examples_know_their_dataset_and_classes_are_counted_through(
    options: ClassifierMtOptions, tokenizer: Tokenizer
) -> None:
    examples = read(options, tokenizer)
    assert [example.source for example in examples] == [0, 0, 1, 1, 1]
    labels = mt.find_labels(examples, options, False)
    assert labels == LABELS
    assert [mt.values(example, labels, options)["cls"] for example in examples] == [1, 0, 4, 2, 3]
    other = mt.labels_of({"d1": ["0"], "d2": ["0", "1", "2"]})
    with pytest.raises(UserError, match=r"train.tsv: line 2: label 'd1/1' does not occur"):
        mt.values(examples[0], other, options)


def test_wrong_folders_and_options_are_refused(options: ClassifierMtOptions, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"d1: has none of dev.tsv, dev.jsonl, dev.parquet"):
        mt.sources(FinetunePaths(), options, "dev")
    with pytest.raises(UserError, match="--train_path is not for classifier_mt"):
        mt.sources(FinetunePaths(train_path="a.tsv"), options, "train")
    with pytest.raises(UserError, match="--dataset_path_list is missing"):
        mt.sources(FinetunePaths(), ClassifierMtOptions(), "train")
    paths = (str(tmp_path / "a" / "x"), str(tmp_path / "b" / "x"))
    assert mt.dataset_names(ClassifierMtOptions(dataset_path_list=paths)) == list(paths)
    with pytest.raises(UserError, match="expected every folder once"):
        mt.dataset_names(ClassifierMtOptions(dataset_path_list=paths[:1] * 2))


def test_a_file_without_description_needs_the_numbers_of_classes(tokenizer: Tokenizer) -> None:
    found = mt.known_labels(ClassifierMtOptions(labels_num_list=(2, 1)), tokenizer)
    assert found == Classes(("1/0", "1/1", "2/0"), parts=(("1", 2), ("2", 1)))
    with pytest.raises(UserError, match="--labels_num_list is missing"):
        mt.known_labels(ClassifierMtOptions(), tokenizer)
    config = model_config_from_dict(SIZES)
    with pytest.raises(UserError, match="--labels_num_list is 2 2, but the datasets have 2 3 classes"):
        mt.head(config, LABELS, ClassifierMtOptions(labels_num_list=(2, 2)))


def several_heads() -> TaskModel:
    torch.manual_seed(6)
    return TaskModel(task_model().body, MultiHead(16, (2, 3), "mean"))


def test_every_example_costs_the_cross_entropy_of_its_own_dataset() -> None:
    model, rows = several_heads(), batch(rows=4)
    answers = model(Batch(rows.ids, rows.segments), predict=True)
    assert answers.shape == (4, 5)
    rows = replace(rows, labels={"cls": torch.tensor([1, 4, 2, 0])})
    own = [(answers[0, :2], 1), (answers[1, 2:], 2), (answers[2, 2:], 0), (answers[3, :2], 0)]
    expected = sum(F.cross_entropy(scores[None], torch.tensor([label])) for scores, label in own) / 4
    terms = model(rows)
    torch.testing.assert_close(mean(terms), expected)
    assert terms["accuracy_cls"][0] == sum(int(scores.argmax()) == label for scores, label in own)
    mean(terms).backward()
    names = {file_name(name) for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {f"output_layers_{n}.{t}.weight" for n in (1, 2) for t in (0, 1)} <= names


def test_the_loss_of_one_dataset_leaves_the_other_head_alone() -> None:
    model, rows = several_heads(), replace(batch(rows=3), labels={"cls": torch.tensor([0, 1, 1])})
    mean(model(rows)).backward()
    head: Any = model.head
    assert head.output_layers_2[0].weight.grad.abs().sum() > 0 == head.output_layers_2[1].weight.grad.abs().sum()


def test_classes_of_other_datasets_are_not_compared_by_r_drop() -> None:
    model, rows = several_heads(), replace(batch(rows=4), labels={"cls": torch.tensor([1, 4, 2, 0])})
    first = model.head.scores(model.body.encode(rows), rows)
    second = first + torch.linspace(-1, 1, 5)
    expected = [
        divergence(first[i : i + 1, part], second[i : i + 1, part], torch.zeros(1))
        for i, part in ((0, slice(0, 2)), (1, slice(2, 5)), (2, slice(2, 5)), (3, slice(0, 2)))
    ]
    torch.testing.assert_close(divergence(first, second, rows.labels["cls"]), torch.stack(expected).sum())


def test_scores_are_those_of_each_dataset_and_their_means(options: ClassifierMtOptions, tokenizer: Tokenizer) -> None:
    examples = read(options, tokenizer)
    answers = outputs([0, 1, 9, 9, 9], [0, 1, 9, 9, 9], [9, 9, 0, 0, 1], [9, 9, 1, 0, 0], [9, 9, 0, 0, 1])
    scores = mt.score(examples, answers, LABELS, options)
    assert scores.values["accuracy_d1"] == 0.5 and scores.values["accuracy_d2"] == pytest.approx(2 / 3)
    assert scores.values["accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores.lines[0] == "dataset d1:" and "Acc. (Correct/Total): 0.6667 (2/3)" in scores.lines
    assert mt.TASK.metric == "accuracy"


def test_answers_of_all_datasets_are_joined_by_bars(tmp_path: Path) -> None:
    pairs = [(Example(()), output) for output in outputs([0, 1, 3, 2, 1], [0.5, 0.25, 0, 0, 1])]
    wanted = Wanted(logits=True, prob=True)
    records = list(mt.records(pairs, LABELS, wanted))
    assert records[0][:2] == ("1|0", [[0.0, 1.0], [3.0, 2.0, 1.0]])
    writer = TsvWriter(tmp_path / "a.tsv", mt.TASK.columns(wanted))
    writer.write(records)
    writer.close()
    header, first, second = (tmp_path / "a.tsv").read_text().splitlines()
    assert header == "label\tlogits\tprob"
    assert first == "1|0\t0.0000 1.0000|3.0000 2.0000 1.0000\t0.2689 0.7311|0.6652 0.2447 0.0900"
    assert second.startswith("0|2\t0.5000 0.2500|0.0000 0.0000 1.0000\t")


def test_the_result_folder_knows_the_datasets(tmp_path: Path, tokenizer: Tokenizer) -> None:
    said = Description("classifier_mt", LABELS, {}, 16, {})
    config = model_config_from_dict({**SIZES, "vocab_size": 13})
    write_result(tmp_path / "out", {"w": torch.zeros(1)}, {}, config, tokenizer, said)
    assert read_description(tmp_path / "out").labels == LABELS
