"""What each task makes of its file, its scores against hand-computed ones, its prediction records."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from uer_ds.config.finetune import TASK_OPTIONS, NerOptions
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example, ExampleSet
from uer_ds.finetune.metrics import classification_scores, entity_report
from uer_ds.finetune.reading_scores import exact_match, overlap_f1, units
from uer_ds.finetune.seq2seq import greedy
from uer_ds.finetune.task import Classes, Reading, Task, Wanted
from uer_ds.finetune.tasks import ner
from uer_ds.registry import TASKS
from uer_ds.tokenizers import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地人书好坏不我"]) + "\n", "utf-8")
    return load_tokenizer("char", path)


def examples(name: str, path: Path, text: str, tokenizer: Tokenizer, **options: Any) -> list[Example]:
    path.write_text(text, encoding="utf-8")
    return list(TASKS[name].read(path, Reading(Encoder(tokenizer, 16), TASK_OPTIONS[name](**options))))


def outputs(*rows: list[float]) -> list[Any]:
    return [np.array(row, dtype=np.float32) for row in rows]


def test_every_task_has_options_and_a_line() -> None:
    assert set(TASKS) == set(TASK_OPTIONS)
    for name in TASKS:
        task: Task = TASKS[name]
        assert task.name == name and task.summary and (TASK_OPTIONS[name].__doc__ or "").strip()


def test_several_labels(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = "label\ttext_a\n0,2\t天\n\t地\n1\t人\n"
    found = examples("multi_label", tmp_path / "a.tsv", text, tokenizer)
    task, options = TASKS["multi_label"], TASK_OPTIONS["multi_label"]()
    labels = task.labels(found, options, False)
    assert [task.values(e, labels, options)["each"].tolist() for e in found] == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    answers = outputs([1, -1, 2], [-1, -2, -3], [1, 1, -1])
    batch = ExampleSet(found, lambda e: task.values(e, labels, options), task.batch_of, 0, task.by_token)
    assert batch.batch(np.zeros(3, np.int64), np.arange(3)).labels["each"].shape == (3, 3)
    scores = task.score(found, answers, labels, options)
    assert scores.values["accuracy"] == pytest.approx(2 / 3) and scores.values["micro_f1"] == pytest.approx(6 / 7)
    records = list(task.records(zip(found, answers, strict=True), labels, Wanted(prob=True)))
    assert [record[0] for record in records] == ["0,2", "", "0,1"] and records[0][1][0] == pytest.approx(0.7310586)


def test_regression(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = examples("regression", tmp_path / "a.tsv", "label\ttext_a\n0.5\t天\n-100\t地\n3\t人\n", tokenizer)
    task, labels = TASKS["regression"], Classes()
    assert [task.values(e, labels, None)["value"] for e in found] == [0.5, -100.0, 3.0]
    scores = task.score(found, outputs([2], [1], [9]), labels, None)
    assert scores.values["spearman"] == 1.0 and 0 < scores.values["pearson"] < 1
    assert task.score(found, outputs([1], [1], [1]), labels, None).values["spearman"] == 0.0
    [bad] = examples("regression", tmp_path / "a.tsv", "label\ttext_a\nmuch\t天\n", tokenizer)
    with pytest.raises(UserError, match="line 2: label 'much' is no number"):
        task.values(bad, labels, None)


def test_ranking_of_sentences(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        "1\t0\t天\t地",
        "1\t1\t天\t人",
        "1\t1\t天\t好",
        "2\t0\t地\t地",
        "2\t0\t地\t人",
        "3\t1\t人\t人",
        "3\t0\t人\t好",
    ]
    text = "\n".join(["qid\tlabel\ttext_a\ttext_b", *rows])
    found = examples("dbqa", tmp_path / "a.tsv", text, tokenizer)
    answers = outputs([0, 9], [0, 5], [0, 7], [0, 1], [0, 2], [0, 1], [0, 1])
    task, options = TASKS["dbqa"], TASK_OPTIONS["dbqa"]()
    labels = task.labels(found, options, False)
    scores = task.score(found, answers, labels, options).values
    assert scores["mrr"] == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert scores["map"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)


CONTEXT = "天地 人书好坏不我天地人书好坏不我天地人"


def article(*answers: tuple[str, int], question: str = "天书") -> str:
    given = [{"text": text, "answer_start": place} for text, place in answers]
    asked = {"id": "Q1", "question": question, "answers": given}
    return json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [asked]}]}]})


def test_windows_cover_the_context_and_places_are_those_of_the_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = examples("cmrc", tmp_path / "a.json", article(("好坏", 5)), tokenizer, doc_stride=5)
    assert [(e.source.begin, e.source.length) for e in found] == [(0, 11), (5, 11), (10, 10)]
    for example in found:
        row, window = example.rows[0].ids.tolist(), example.source
        assert row[:4] == [2, 5, 8, 3] and window.first == 4 and row[4 + window.length] == 3
    task = TASKS["cmrc"]
    assert [dict(task.values(e, Classes(), None)) for e in found] == [
        {"start": 9, "end": 10},
        {"start": 4, "end": 5},
        {"start": 0, "end": 0},
    ]
    assert found[0].rows[0].ids[4 + 2] == 1  # the blank is a place of its own


def test_the_surest_window_answers_and_one_character_is_an_answer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = examples("cmrc", tmp_path / "a.json", article(("好", 5), ("好坏", 5)), tokenizer, doc_stride=5)
    task = TASKS["cmrc"]
    answers = [np.zeros((len(example), 2), dtype=np.float32) for example in found]
    answers[0][4 + 1, 0] = answers[0][4 + 2, 1] = 0.4
    answers[1][4, 0] = answers[1][4, 1] = 0.9  # the first character of the second window
    answers[2][0, 0] = answers[2][0, 1] = 1.0  # outside of the context: never an answer
    pairs = list(zip(found, answers, strict=True))
    assert list(task.records(pairs, Classes(), Wanted())) == [("Q1", "好")]
    assert task.document(task.records(pairs, Classes(), Wanted())) == {"Q1": "好"}
    assert task.score(found, answers, Classes(), None).values == {"average": 100.0, "f1": 100.0, "em": 100.0}


def test_answers_that_do_not_stand_there_are_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    reading = Reading(Encoder(tokenizer, 16), TASK_OPTIONS["cmrc"]())
    task, path = TASKS["cmrc"], tmp_path / "a.json"
    path.write_text(article(("好天", 4)), encoding="utf-8")
    assert list(task.read(path, reading)) == [] and list(reading.noticed.values()) == [1]
    evaluation = Reading(Encoder(tokenizer, 512), TASK_OPTIONS["cmrc"](), part="dev")
    [wrong] = task.read(path, evaluation)  # it counts against the model all the same
    assert task.values(wrong, Classes(), None) == {"start": 0, "end": 0}
    assert task.score([wrong], [np.eye(len(wrong), 2, dtype=np.float32)], Classes(), None).values["f1"] < 100
    path.write_text(article(), encoding="utf-8")
    [without] = task.read(path, evaluation)
    scored = task.score([without], [np.zeros((len(without), 2), np.float32)], Classes(), None)
    assert "Total: 0, Skip: 1" in scored.lines[0] and scored.values["average"] == 0.0
    long = examples("cmrc", tmp_path / "a.json", article(("好坏", 5), question="天" * 90), tokenizer)
    assert all(len(example) <= 16 and example.source.length >= 1 for example in long) and len(long) > 1
    with pytest.raises(UserError, match="has no list 'data'"):
        examples("cmrc", tmp_path / "a.json", "{}", tokenizer)


def test_an_answer_stands_where_it_is_nearest_to_its_place(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from uer_ds.finetune.tasks.cmrc import nearest_place

    assert [nearest_place("好坏", CONTEXT, start) for start in (0, 5, 9, 10, 99, None)] == [5, 5, 5, 13, 13, 5]
    assert nearest_place("坏好", CONTEXT, 3) == -1
    reading = Reading(Encoder(tokenizer, 512), TASK_OPTIONS["cmrc"]())
    (tmp_path / "a.json").write_text(article(("好坏", 4)), encoding="utf-8")
    [found] = TASKS["cmrc"].read(tmp_path / "a.json", reading)
    assert found.gold == ("好坏", 5) and sum(reading.noticed.values()) == 1


def test_answers_are_compared_as_cmrc_does() -> None:
    assert units("北京（Beijing City）2008年，3.5") == ["北", "京", "beijing", "city2008", "年", "3.5"]
    assert overlap_f1("北京大学", "在北京大学读书") == pytest.approx(8 / 11)
    assert overlap_f1("天", "地") == 0.0
    assert exact_match("《红楼梦》", "红楼梦") == 1.0 and exact_match("红楼", "红楼梦") == 0.0


def test_choices_are_rows_and_missing_ones_are_never_chosen(tokenizer: Tokenizer, tmp_path: Path) -> None:
    asked = {"question": "人", "choice": ["天", "地", "好"], "answer": "地", "id": "1-2"}
    text = json.dumps([[["天地", "书"], [asked], "1"]])
    [found] = examples("c3", tmp_path / "a.json", text, tokenizer)
    assert len(found.rows) == 4 and found.gold == 1
    assert found.rows[1].ids.tolist() == [2, 6, 3, 7, 3, 5, 6, 1, 8, 3]  # the line break is a character of its own
    assert found.rows[1].segments().tolist() == [1] * 5 + [2] * 5
    task, options = TASKS["c3"], TASK_OPTIONS["c3"]()
    answer = outputs([0, 2, 1, 9])
    assert list(task.records(zip([found], answer, strict=True), Classes(), Wanted())) == [("1-2", 1)]
    assert task.score([found], answer, Classes(), options).values["accuracy"] == 1.0
    reading = Reading(Encoder(tokenizer, 16), options)
    (tmp_path / "a.json").write_text(json.dumps([[["天"], [asked, {**asked, "answer": "坏"}], "1"]]), "utf-8")
    assert len(list(task.read(tmp_path / "a.json", reading))) == 1 and sum(reading.noticed.values()) == 1
    with pytest.raises(UserError, match="entry 0 is not of C3's form"):
        examples("c3", tmp_path / "a.json", "[[1]]", tokenizer)


def test_blanks_are_masked_but_the_one_in_question_is_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text('{"#idiom000001#": 1, "#idiom000002#": 0}')
    line = {"candidates": ["天", "地"], "content": ["人#idiom000001#书#idiom000002#好"]}
    options = {"train_answer_path": str(tmp_path / "answers.json"), "max_choices_num": 3}
    first, second = examples("chid", tmp_path / "a.txt", json.dumps(line) + "\n", tokenizer, **options)
    assert [row.ids.tolist() for row in first.rows] == [[2, 5, 3, 7, 3, 8, 4, 9, 3], [2, 6, 3, 7, 3, 8, 4, 9, 3], [2]]
    assert first.gold == 1 and second.gold == 0 and set(first.rows[0].segments().tolist()) == {1}
    task = TASKS["chid"]
    pairs = zip([first, second], outputs([5, 1, 99], [6, 2, 99]), strict=True)
    assert task.document(task.records(pairs, Classes(), Wanted())) == {"#idiom000001#": 1, "#idiom000002#": 0}
    with pytest.raises(UserError, match=r"the answer for #idiom000003# of .* is None; expected the number of one of"):
        bad = {**line, "content": ["#idiom000003#"]}
        examples("chid", tmp_path / "a.txt", json.dumps(bad), tokenizer, **options)


def test_text_around_a_blank_is_shared_by_both_sides() -> None:
    from uer_ds.finetune.tasks.chid import around

    left, right = np.arange(10, dtype=np.int32), np.arange(20, 30, dtype=np.int32)
    assert [len(part) for part in around(left, right, 8)] == [4, 4] and around(left, right, 8)[0][-1] == 9
    assert [len(part) for part in around(left, right[:1], 8)] == [7, 1]
    assert [len(part) for part in around(left[:1], right, 8)] == [1, 7]


def test_a_prompt_is_filled_and_its_words_are_the_classes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    prompts = {"p": {"template": "[TEXT_A]我[ANS]人", "answer_words": {"1": "好", "0": "坏"}}}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    options = {"prompt_id": "p", "prompt_path": str(tmp_path / "prompts.json")}
    text = "label\ttext_a\n1\t" + "天地" * 10 + "\n0\t书\n"
    long, short = examples("prompt", tmp_path / "a.tsv", text, tokenizer, **options)
    assert short.rows[0].ids.tolist() == [2, 8, 12, 4, 7, 3]
    assert len(long) == 16 and long.rows[0].ids.tolist()[-4:] == [12, 4, 7, 3]
    task, made = TASKS["prompt"], TASK_OPTIONS["prompt"](**options)
    labels = task.known_labels(made, tokenizer)
    assert labels == Classes(("1", "0"), (9, 10), 4)
    assert [task.values(e, labels, made)["cls"] for e in (long, short)] == [0, 1]
    [strange] = examples("prompt", tmp_path / "a.tsv", "label\ttext_a\n2\t书\n", tokenizer, **options)
    with pytest.raises(UserError, match="line 2: label '2' does not occur in the prompt p, which has 1, 0"):
        task.values(strange, labels, made)
    prompts["p"]["answer_words"]["0"] = "坏坏"
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    with pytest.raises(UserError, match="answer word of label 0 is 2 tokens"):
        task.known_labels(made, tokenizer)


def test_pairs_of_streams(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = "label\ttext_a\ttext_b\n1\t天\t地人\n"
    [pair] = examples("siamese", tmp_path / "a.tsv", rows, tokenizer)
    assert [row.ids.tolist() for row in pair.rows] == [[2, 5, 3], [2, 6, 7, 3]]
    [alone] = examples("simcse", tmp_path / "a.tsv", "text_a\n天\n", tokenizer)
    assert [row.ids.tolist() for row in alone.rows] == [[2, 5, 3]] * 2 and alone.gold is None
    task = TASKS["simcse"]
    with pytest.raises(UserError, match="has no column label"):  # evaluation needs it
        list(task.read(tmp_path / "a.tsv", Reading(Encoder(tokenizer, 16), TASK_OPTIONS["simcse"](), part="dev")))
    assert task.batch_of([pair], 0).second is not None


def test_targets_follow_themselves_and_answers_end(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = "label\ttext_a\ttext_b\n好坏\t天\t地\n书\t人\t人\n"
    found = examples("text2text", tmp_path / "a.tsv", rows, tokenizer, tgt_seq_length=8)
    task, options = TASKS["text2text"], TASK_OPTIONS["text2text"](tgt_seq_length=8)
    labels = task.known_labels(options, tokenizer)
    assert [row.ids.tolist() for row in found[0].rows] == [[2, 5, 3, 6, 3], [2, 9, 10, 3]]
    assert task.values(found[0], labels, options)["lm"].tolist() == [9, 10, 3, IGNORE]
    answers = outputs([9, 10, 3, 3], [8, 9, 3, 3])
    scores = task.score(found, answers, labels, options).values
    assert scores["accuracy"] == 0.5 and scores["rouge_l"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert 0 < scores["bleu"] < 100 and task.score(found[:1], answers[:1], labels, options).values["bleu"] > 99.9
    pairs = list(zip(found, answers, strict=True))
    assert list(task.records(pairs, labels, Wanted(tokenizer=tokenizer))) == [("好坏",), ("书好",)]
    batch = task.batch_of(found, 0)
    assert batch.decoder is not None and batch.decoder.segments.sum().item() == 7
    reading = Reading(Encoder(tokenizer, 16), TASK_OPTIONS["text2text"](tgt_seq_length=3))
    assert [len(e.rows[1]) for e in task.read(tmp_path / "a.tsv", reading)] == [3, 3]
    assert dict(reading.noticed) == {"targets were cut at 3 tokens": 1}


def test_entities_begin_with_b_and_end_before_outside_or_another_b() -> None:
    tags = ["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "B-ORG", "I-ORG", "I-LOC", "[PAD]"]
    assert ner.entities(tags) == {
        (0, 2, ("B-PER", "I-PER")),
        (4, 5, ("B-LOC",)),
        (5, 8, ("B-ORG", "I-ORG", "I-LOC")),
    }


def test_each_type_of_entity_is_reported() -> None:
    pytest.importorskip("seqeval")
    report = entity_report([["B-LOC", "I-LOC", "O", "B-PER"]], [["B-LOC", "I-LOC", "O", "O"]])
    rows = {line.split()[0]: line.split()[1:] for line in report}
    assert rows["LOC"] == ["1.000", "1.000", "1.000", "1"] and rows["PER"][:3] == ["0.000"] * 3
    assert entity_report([["NOUN"]], [["VERB"]]) == []  # tags without entities


def test_entity_scores(tmp_path: Path) -> None:
    labels = Classes(("O", "B-X", "I-X", "[PAD]"))
    rows = [Example((), (["B-X", "I-X", "O"], "here")), Example((), (["B-X"], "here"))]

    def one_hot(*tags: int) -> Any:
        return np.eye(4, dtype=np.float32)[list(tags)]

    class Sized(Example):
        def __len__(self) -> int:
            return len(self.gold[0])

    sized = [Sized(row.rows, row.gold) for row in rows]
    scores = ner.score(sized, [one_hot(1, 2, 1), one_hot(1)], labels, NerOptions()).values
    assert scores == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8})
    pairs = zip(sized, [one_hot(1, 2, 3), one_hot(0)], strict=True)
    assert list(ner.records(pairs, labels, Wanted()))[1] == (["O"],)
    first = Classes(("[PAD]", "O", "B-X"))  # wherever [PAD] stands, it is no answer
    assert ner.tags_of(one_hot(0, 2, 1)[:, :3], first) == ["O", "B-X", "O"]


def test_what_a_classification_prints() -> None:
    scores = classification_scores([0, 1, 1, 2], [0, 1, 2, 2], ["bad", "fair", "good"])
    assert scores.lines[0] == "Confusion matrix (rows: predicted, columns: right):"
    table = [line.split() for line in scores.lines[1:5]]
    assert table == [["bad", "fair", "good"], ["bad", "1", "0", "0"], ["fair", "0", "1", "1"], ["good", "0", "0", "1"]]
    assert scores.lines[5:] == (
        "Report precision, recall, and f1:",
        "Label bad: 1.000, 1.000, 1.000",
        "Label fair: 0.500, 1.000, 0.667",
        "Label good: 1.000, 0.500, 0.667",
        "Acc. (Correct/Total): 0.7500 (3/4)",
    )
    assert scores.values["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


class _Countdown(torch.nn.Module):
    """Says `end` (token 2) in row i after i + 1 tokens (5); rows are known by their only source token."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.decoder, self.config = True, SimpleNamespace(mask="fully_visible")
        self.steps, self.rows = 0, list[int]()

    def encode(self, batch: Batch) -> torch.Tensor:
        return batch.ids.float()

    def new_past(self, capacity: int) -> Any:
        return SimpleNamespace(select=lambda rows: None)

    def next_logits(self, batch: Batch, past: Any, source: Any) -> torch.Tensor:
        self.steps += 1
        self.rows.append(len(batch.ids))
        ended = self.steps > source[0].ids[:, 0]
        return torch.nn.functional.one_hot(torch.where(ended, 2, 5), 6).float()


def test_greedy_answers_end_when_all_rows_have_ended() -> None:
    """And rows that have ended cost nothing any more once they are half of the batch."""
    body = _Countdown()
    sources = torch.arange(1, 4).unsqueeze(1)
    found = greedy(body, Batch(sources, torch.ones_like(sources)), start=1, end=2, longest=50)  # type: ignore[arg-type]
    assert body.steps == 4 and body.rows == [3, 3, 3, 1]
    assert found.shape == (3, 50)
    assert [int((row == 5).sum()) for row in found] == [1, 2, 3]
    assert (found[:, 4:] == 2).all()
