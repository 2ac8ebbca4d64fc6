"""Not a test: tiny data for every fine-tuning task, and a score computed from a prediction file without our scoring.

Of a part of the data ("train" or "dev") there is the file with answers, and for dev also one without.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uer_ds.finetune.reading_scores import exact_match, overlap_f1
from uer_ds.finetune.tasks.ner import entities

LETTERS = "天地玄黄宇宙洪荒日月好坏很不"
CHARACTERS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
ROWS = {"train": 32, "dev": 13}


def text(draw: random.Random, label: int = 0) -> str:
    """Some characters, among which one tells the label."""
    return "".join(draw.choices(LETTERS[:10], k=draw.randrange(3, 14))) + "好坏"[label] * 3


def table(draw: random.Random, rows: int, task: str) -> list[dict[str, str]]:
    """Rows of a table for the tasks that read one."""
    found = []
    for number in range(rows):
        label = draw.randrange(2)
        row = {"label": str(label), "text_a": text(draw, label)}
        if task in ("siamese", "simcse", "dbqa"):
            row["text_b"] = text(draw, label)
        if task in ("regression", "simcse"):
            row["label"] = f"{label + draw.random():.3f}"
        if task == "multi_label":
            row["label"] = ("0", "1", "0,1", "2")[(label + number) % 4]
        if task == "dbqa":
            row["qid"] = str(number // 4)
        if task == "text2text":
            row["label"] = "好坏"[label]
        if task.startswith("ner"):
            letters = list(text(draw, label))
            row["text_a"] = " ".join(letters)
            row["label"] = " ".join("B-X" if c in "好坏" else "I-X" if c == "天" else "O" for c in letters)
        found.append(row)
    return found


def write_table(folder: Path, task: str) -> None:
    """train.tsv, dev.tsv, and dev's rows without labels in dev_texts.tsv."""
    draw = random.Random(3)
    for part, rows in ROWS.items():
        found = table(draw, rows, task)
        _write_tsv(folder / f"{part}.tsv", found)
        if part == "dev":
            _write_tsv(folder / "dev_texts.tsv", [{k: v for k, v in row.items() if k != "label"} for row in found])


def _write_tsv(path: Path, rows: list[dict[str, str]]) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_cmrc(folder: Path) -> None:
    """Questions that are characters, whose answers are what stands behind them; one context is longer than a row."""
    draw = random.Random(4)
    for part, rows in ROWS.items():
        asked = []
        for number in range(rows):
            context = text(draw) + ("天地玄黄宇宙洪荒日月" * 6 if number == 2 else "") + "很好坏"
            answer = {"text": context[-2:], "answer_start": len(context) - 2}
            asked.append({"context": context, "qas": [{"id": f"Q{number}", "question": "很", "answers": [answer]}]})
        (folder / f"{part}.json").write_text(json.dumps({"data": [{"paragraphs": asked}]}), encoding="utf-8")
        for paragraph in asked:
            paragraph["qas"][0]["answers"] = []
        (folder / f"{part}_texts.json").write_text(json.dumps({"data": [{"paragraphs": asked}]}), encoding="utf-8")


def write_c3(folder: Path) -> None:
    """Which of three characters the document holds."""
    draw = random.Random(5)
    for part, rows in ROWS.items():
        entries = []
        for number in range(rows):
            label = draw.randrange(2)
            asked = {"question": "天", "choice": ["坏", "好", "很"], "answer": "好坏"[label], "id": f"C{number}"}
            entries.append([[text(draw, label)], [asked], str(number)])
        (folder / f"{part}.json").write_text(json.dumps(entries), encoding="utf-8")
        for entry in entries:
            entry[1] = [{k: v for k, v in entry[1][0].items() if k != "answer"}]
        (folder / f"{part}_texts.json").write_text(json.dumps(entries), encoding="utf-8")


def write_chid(folder: Path) -> None:
    """One blank a line, where one of three candidates stood."""
    draw = random.Random(6)
    for part, rows in ROWS.items():
        lines, answers = [], {}
        for number in range(rows):
            label = draw.randrange(2)
            tag = f"#idiom{number:06d}#"
            lines.append(json.dumps({"candidates": ["坏", "好", "很"], "content": [text(draw, label) + tag + "天"]}))
            answers[tag] = 1 - label
        (folder / f"{part}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / f"{part}_answers.json").write_text(json.dumps(answers), encoding="utf-8")


def column(path: Path, name: str) -> list[str]:
    """A column of a TSV file."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    place = header.split("\t").index(name)
    return [row.split("\t")[place] for row in rows]


def share(pairs: list[tuple[Any, Any]]) -> float:
    """Of equal pairs."""
    return sum(a == b for a, b in pairs) / len(pairs)


def _accuracy(data: Path, found: Path) -> float:
    return share(list(zip(column(data / "dev.tsv", "label"), column(found, "label"), strict=True)))


def _rank_correlation(name: str) -> Callable[[Path, Path], float]:
    def score(data: Path, found: Path) -> float:
        from scipy.stats import spearmanr

        right, answers = (list(map(float, column(*where))) for where in ((data / "dev.tsv", "label"), (found, name)))
        return float(spearmanr(answers, right).statistic)

    return score


def _reciprocal_rank(data: Path, found: Path) -> float:
    questions: dict[str, list[tuple[float, str]]] = {}
    scores = [float(cell.split()[1]) for cell in column(found, "logits")]
    for qid, label, score in zip(
        column(data / "dev.tsv", "qid"), column(data / "dev.tsv", "label"), scores, strict=True
    ):
        questions.setdefault(qid, []).append((score, label))
    total = 0.0
    for rows in questions.values():
        labels = [label for _, label in sorted(rows, key=lambda row: -row[0])]
        total += 1 / ((labels.index("1") if "1" in labels else len(labels)) + 1)
    return total / len(questions)


def _entity_f1(data: Path, found: Path) -> float:
    pairs = zip(column(data / "dev.tsv", "label"), column(found, "pred_label"), strict=True)
    sets = [(entities(right.split()), entities(answer.split())) for right, answer in pairs]
    correct = sum(len(right & answer) for right, answer in sets)
    return 2 * correct / max(1, sum(len(right) + len(answer) for right, answer in sets))


def _reading(data: Path, found: Path) -> float:
    answers = json.loads(found.read_text(encoding="utf-8"))
    asked = [p for article in json.loads((data / "dev.json").read_text())["data"] for p in article["paragraphs"]]
    pairs = [(answers[p["qas"][0]["id"]], p["qas"][0]["answers"][0]["text"]) for p in asked]
    return 50 * sum(overlap_f1(*pair) + exact_match(*pair) for pair in pairs) / len(pairs)


def _choices(data: Path, found: Path) -> float:
    records = [json.loads(line) for line in found.read_text().splitlines()]
    answers = {record["id"]: record["label"] for record in records}
    asked = [entry[1][0] for entry in json.loads((data / "dev.json").read_text())]
    return share([(answers[q["id"]], q["choice"].index(q["answer"])) for q in asked])


def _idioms(data: Path, found: Path) -> float:
    answers, right = (json.loads(path.read_text()) for path in (found, data / "dev_answers.json"))
    return share([(answers[tag], number) for tag, number in right.items()])


SCORES: dict[str, Callable[[Path, Path], float]] = {
    "classifier": _accuracy,
    "prompt": _accuracy,
    "siamese": _accuracy,
    "multi_label": _accuracy,
    "text2text": _accuracy,
    "regression": _rank_correlation("label"),
    "simcse": _rank_correlation("cosine"),
    "dbqa": _reciprocal_rank,
    "ner": _entity_f1,
    "ner_crf": _entity_f1,
    "cmrc": _reading,
    "c3": _choices,
    "chid": _idioms,
}
"""Task (ner twice) -> (folder of the data, prediction file) -> the metric that chooses the epoch."""

WRITERS = {"cmrc": write_cmrc, "c3": write_c3, "chid": write_chid}


def write_data(folder: Path, name: str) -> None:
    """The data of a task in a folder of its own."""
    folder.mkdir()
    if name in WRITERS:
        WRITERS[name](folder)
    else:
        write_table(folder, name)
