"""Text becomes a dataset: nothing lost, the same for any number of shards; bad corpora are refused without a trace."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.stand_in import StandIn
from uer_ds.data import shard_writer
from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.shards import BuildSpec, build_dataset
from uer_ds.errors import UserError
from uer_ds.storage.lock import FolderLock

LINES = "今天天气很好\n\n第二个文档 abc\n  \n\u3000\n最后一行没有换行"
SENTENCES = "甲一\n甲二\n\n乙一\n \n\n丙一\n丙二\n丙三"
TOKENIZER = StandIn()


class Notes:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.total = self.read = 0
        self.notes: list[str] = []

    def start(self, total_bytes: int) -> None:
        self.total = total_bytes

    def advance(self, count: int) -> None:
        self.read += count

    def note(self, text: str) -> None:
        self.notes.append(text)


def build(folder: Path, text: str | bytes, progress: Any = None, **options: Any) -> Dataset:
    corpus = folder / "corpus.txt"
    corpus.write_bytes(text.encode() if isinstance(text, str) else text)
    spec = BuildSpec(corpus=(str(corpus),), output=folder / "out", tokenizer=TOKENIZER, **options)
    build_dataset(spec, progress)
    return open_dataset(folder / "out")


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text).tolist()


def contents(dataset: Dataset) -> list[list[list[int]]]:
    return [[dataset.item(i).tolist() for i in dataset.document_items(d)] for d in range(dataset.documents)]


def test_one_document_a_line(tmp_path: Path) -> None:
    dataset = build(tmp_path, LINES)
    expected = [ids("今天天气很好"), ids("第二个文档abc"), ids("最后一行没有换行")]
    assert [dataset.document(d).tolist() for d in range(3)] == expected
    assert contents(dataset) == [[document] for document in expected]
    assert dataset.manifest.layout == "documents"
    assert dataset.manifest.totals["empty_documents"] == 3


def test_one_sentence_a_line(tmp_path: Path) -> None:
    dataset = build(tmp_path, SENTENCES, rule="blank_line")
    expected = [["甲一", "甲二"], ["乙一"], ["丙一", "丙二", "丙三"]]
    assert contents(dataset) == [[ids(sentence) for sentence in document] for document in expected]
    assert dataset.manifest.layout == "sentences"
    assert (dataset.documents, dataset.items, dataset.tokens) == (3, 6, 12)


@pytest.mark.parametrize("rule", ["line", "blank_line"])
@pytest.mark.parametrize("shards", [1, 2, 3, 7, 40])
def test_any_number_of_shards_holds_the_same_documents(
    tmp_path: Path, rule: str, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uer_ds.data.corpus.BLOCK_BYTES", 16)  # smaller than a line: blocks and cuts fall everywhere
    text = "".join(f"文{'字' * (i % 7)}{i}\n" + "\n" * (i % 5 == 0) for i in range(50))
    (tmp_path / "one").mkdir()
    one, many = build(tmp_path / "one", text, rule=rule), build(tmp_path, text, rule=rule, shards=shards)
    assert len(many.shards) == shards
    assert contents(many) == contents(one)
    offsets = [many.document_offset(d) for d in range(many.documents + 1)]
    assert offsets == np.cumsum([0, *(len(one.document(d)) for d in range(one.documents))]).tolist()


def test_line_ends_byte_order_mark_and_control_characters(tmp_path: Path) -> None:
    dataset = build(tmp_path, b"\xef\xbb\xbf" + "甲\r\n乙\x00丙\r\n".encode())
    assert contents(dataset) == [[ids("甲")], [ids("乙\x00丙")]]


def test_several_files_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "texts" / "more").mkdir(parents=True)
    (tmp_path / "texts" / ".hidden").mkdir()
    texts = {
        "b.TXT": "二",
        "a.txt": "一\n",
        "x.text": "零",
        "more/part-00000": "三",
        ".hidden/c.txt": "藏",
        "_SUCCESS": "",
    }
    for name, text in texts.items():
        (tmp_path / "texts" / name).write_text(text)
    corpus = (str(tmp_path / "texts"), str(tmp_path / "*" / "a.*"))
    progress = Notes()
    build_dataset(BuildSpec(corpus=corpus, output=tmp_path / "out", tokenizer=TOKENIZER), progress)
    assert contents(open_dataset(tmp_path / "out")) == [[ids("一")], [ids("二")], [ids("一")]]
    [note] = progress.notes
    assert note.startswith("2 files of unknown ending are not read: ") and note.endswith("takes all files.")
    assert all(f"texts/{name}" in note for name in ("x.text", "more/part-00000"))
    build_dataset(BuildSpec(corpus[:1], tmp_path / "all", TOKENIZER, corpus_format="txt"), progress)
    assert contents(open_dataset(tmp_path / "all")) == [[ids(character)] for character in "一二三零"]
    assert len(progress.notes) == 1


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    progress = Notes()
    build(tmp_path, LINES, progress, shards=3)
    assert progress.read == progress.total == len(LINES.encode())


def test_finished_dataset_is_not_made_again(tmp_path: Path) -> None:
    progress = Notes()
    build(tmp_path, LINES)
    before = (tmp_path / "out" / "shard-00000-of-00001.bin").stat().st_mtime_ns
    build(tmp_path, LINES, progress, processes=2)
    assert (tmp_path / "out" / "shard-00000-of-00001.bin").stat().st_mtime_ns == before
    assert "finished already" in progress.notes[0]


def test_finished_dataset_takes_new_defaults_for_training(tmp_path: Path) -> None:
    build(tmp_path, LINES, sampling={"seq_length": 128})
    assert build(tmp_path, LINES, sampling={"seq_length": 512}).manifest.sampling == {"seq_length": 512}


def test_an_edit_of_the_same_size_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ("a" * 99 + "\n") * 80_000
    place = 20 * (len(text) // 64) + 100_050  # 64 samples of 64 KiB are looked at; this is in none
    edited = text[:place] + "b" + text[place + 1 :]
    build(tmp_path, text)
    build(tmp_path, text)  # another date, the same bytes
    with pytest.raises(UserError, match="another corpus"):
        build(tmp_path, edited)
    monkeypatch.setattr("uer_ds.data.corpus.FULL_BYTES", 1 << 20)  # as if the corpus was large
    (tmp_path / "large").mkdir()
    build(tmp_path / "large", text)
    with pytest.raises(UserError, match=r"as it was before its last change .* `touch -d @") as refusal:
        build(tmp_path / "large", edited)
    command = str(refusal.value).split("`")[1]
    (tmp_path / "large" / "corpus.txt").write_text(text)
    subprocess.run(command.split(), check=True)
    spec = BuildSpec((str(tmp_path / "large" / "corpus.txt"),), tmp_path / "large" / "out", TOKENIZER)
    build_dataset(spec, progress := Notes())
    assert "finished already" in progress.notes[0]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("别的\n", {}, "another corpus"),
        (LINES, {"rule": "blank_line"}, "another way"),
        (LINES, {"shards": 2}, "1 shards, not 2"),
    ],
)
def test_another_dataset_is_not_overwritten(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    build(tmp_path, LINES)
    with pytest.raises(UserError, match=message):
        build(tmp_path, text, **options)


def test_interrupted_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, whole = "".join(f"第{i}行\n" for i in range(30)), shard_writer.write_json
    written: list[str] = []

    def fail_at_third(path: Path, value: Any) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path.name)
        whole(path, value)

    monkeypatch.setattr(shard_writer, "write_json", fail_at_third)
    with pytest.raises(UserError, match="no space left"):
        build(tmp_path, text, shards=4)
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        open_dataset(tmp_path / "out")

    monkeypatch.undo()
    with pytest.raises(UserError, match="unfinished dataset of another corpus"):
        build(tmp_path, text + "多一行\n")
    progress = Notes()
    dataset = build(tmp_path, text, progress)
    assert progress.notes == ["2 of 4 shards were finished by an earlier run."]
    assert contents(dataset) == [[ids(line)] for line in text.splitlines()]
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".json") == ["manifest.json"]


def test_keyboard_interrupt_keeps_finished_shards(tmp_path: Path) -> None:
    class Impatient(Notes):
        def advance(self, count: int) -> None:
            super().advance(count)
            if self.read > self.total / 2:
                raise KeyboardInterrupt

    text = "".join(f"第{i}行\n" for i in range(30))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, text, Impatient(), shards=4)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"build.json", "shard-00000-of-00004.json"} <= names
    assert not any(name.endswith((".tmp", ".lock", ".stop")) for name in names)
    assert len(build(tmp_path, text)) == 30


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n \n\n", r"gives no token: 3 empty lines; expected one document a line"),
        ("好\n坏".encode() + b"\xff\n", r"corpus\.txt is not UTF-8: byte 7 \(line 2\) is 0xff"),
        (b"\xef\xbb\xbf" + "好\r\n坏".encode() + b"\xc3\n", r"byte 11 \(line 2\) is 0xc3"),
    ],
)
def test_bad_corpus_is_refused_and_leaves_nothing(tmp_path: Path, corpus: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(tmp_path, corpus)
    assert not (tmp_path / "out").exists()


def test_bad_byte_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uer_ds.data.corpus.BLOCK_BYTES", 64)
    with pytest.raises(UserError, match=r"byte 4000 \(line 1001\) is 0x80"):
        build(tmp_path, "好\n".encode() * 1000 + b"\x80\n", shards=3)


def test_missing_corpus(tmp_path: Path) -> None:
    spec = BuildSpec(corpus=(str(tmp_path / "none.txt"),), output=tmp_path / "out", tokenizer=TOKENIZER)
    with pytest.raises(UserError, match=r"none\.txt does not exist"):
        build_dataset(spec)


def test_endless_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uer_ds.data.corpus.BLOCK_BYTES", 64)
    monkeypatch.setattr("uer_ds.data.corpus.MAX_LINE_BYTES", 1 << 10)
    with pytest.raises(UserError, match="a line of more than 0 MiB at byte 4"):
        build(tmp_path, "好\n" + "x" * 5000)


def test_output_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").touch()
    with pytest.raises(UserError, match="other files in it"):
        build(tmp_path, LINES)
    (tmp_path / "out" / "thesis.doc").rename(tmp_path / "thesis.doc")
    (tmp_path / "out").rmdir()
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="is a file"):
        build(tmp_path, LINES)


def test_two_builds_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    locked = pytest.raises(UserError, match="written by another run")
    with FolderLock(tmp_path / "out", "--dataset_path"), locked:
        build(tmp_path, LINES)
    assert len(build(tmp_path, LINES)) == 3
