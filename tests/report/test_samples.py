"""What models say to held-out text, on the page: blanks and answers are the dataset's, mistakes are named."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.test_generate import HAN, LM, TOKENS
from uer_ds.cli.main import main
from uer_ds.config.model import model_config_from_dict
from uer_ds.convert.tokenizer_files import save_tokenizer
from uer_ds.data.dataset import open_dataset
from uer_ds.models.model import build_model
from uer_ds.models.weights import save_weights

DOCUMENTS = ["".join(HAN[n : n + 12]) for n in range(0, 28, 2)]
MLM = {**LM, "mask": "fully_visible", "target": ["mlm"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and runs of a few bytes: mlm, mlm_too (the same weights), lm, and bare, which has no held-out data."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    (folder / "corpus.txt").write_text("\n".join([HAN[0], *DOCUMENTS]) + "\n", encoding="utf-8")
    words = {"corpus": folder / "corpus.txt", "vocab": folder / "vocab.txt", "dataset": folder / "held"}
    options = [str(word) for name, path in words.items() for word in (f"--{name}_path", path)]
    assert main(["preprocess", *options, "--data_processor", "mlm"]) == 0
    tokenizer = open_dataset(folder / "held").load_tokenizer()
    for name, values in {"mlm": MLM, "mlm_too": MLM, "lm": LM, "bare": MLM}.items():
        run = folder / name
        checkpoint = run / "checkpoint-5"
        checkpoint.mkdir(parents=True)
        told: dict[str, Any] = {} if name == "bare" else {"data": {"eval_dataset_path": str(folder / "held")}}
        (run / "run.json").write_text(json.dumps(told))
        (run / "metrics.jsonl").write_text(json.dumps({"update": 5, "tokens": 50, "loss": 3.5}) + "\n")
        config = {**values, "vocab_size": len(TOKENS)}
        torch.manual_seed(5)
        save_weights(build_model(model_config_from_dict(config)).state_dict(), checkpoint / "model.safetensors")
        (checkpoint / "config.json").write_text(json.dumps(config))
        (checkpoint / "state.json").write_text("{}")
        save_tokenizer(checkpoint, tokenizer)
    return folder


def samples(folder: Path, names: list[str], *options: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """(asked, [(who, answer)]) as the page shows them."""
    output = folder / "r.html"
    assert main(["report", *(str(folder / name) for name in names), "--output_path", str(output), *options]) == 0
    blocks = re.findall(r'<div class="sample"><h3>(.*?)</h3>(.*?)</div>', output.read_text(encoding="utf-8"), re.S)
    found = [(asked, re.findall(r"<p><b>(.*?)</b>\s(.*?)</p>", block, re.S)) for asked, block in blocks]
    return [(unescape(asked), [(who, unescape(answer)) for who, answer in said]) for asked, said in found]


def test_blanks_in_held_out_text(folder: Path) -> None:
    shown = samples(folder, ["mlm", "mlm_too"], "--samples", "3", "--topn", "4")
    assert len({asked for asked, _ in shown}) == 3
    for asked, said in shown:
        (_, truth), (first, one), (second, other) = said
        pieces, hidden = asked.split("[MASK]"), re.findall("“(.)”", truth)
        assert len(pieces) - 1 == len(hidden) == 3
        assert "".join(a + b for a, b in zip(pieces, [*hidden, ""], strict=True)) in DOCUMENTS
        assert (first, second) == ("mlm", "mlm_too") and one == other
        guesses = [re.findall(r"“(.+?)” ([\d.]+)%", line) for line in one.split("\n")]
        assert [len(line) for line in guesses] == [4] * 3
        assert all({token for token, _ in line} <= set(TOKENS) for line in guesses)


def test_held_out_text_goes_on(folder: Path) -> None:
    shown = samples(folder, ["lm"], "--samples", "2", "--sample_tokens", "5")
    assert len(shown) == 2
    for asked, [(_, truth), (name, written)] in shown:
        assert asked + truth in DOCUMENTS and len(truth) == 6
        assert name == "lm" and len(written) <= 5


def test_lines_of_a_file(folder: Path) -> None:
    (folder / "lines.txt").write_text(f"{HAN[1]}[MASK]{HAN[3]}\n{HAN[5]}{HAN[6]}\n", encoding="utf-8")
    (asked, [(name, blank)]), (_, [(_, taken)]) = samples(folder, ["mlm"], "--sample_path", str(folder / "lines.txt"))
    assert asked == f"{HAN[1]}[MASK]{HAN[3]}" and name == "mlm" and "was" not in blank and blank.count("%") == 5
    assert re.match(f"\\(was “[{HAN[5]}{HAN[6]}]”\\) “", taken)


def test_mistakes_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "blank.txt").write_text("\n\n")
    cases = [
        (["bare"], ["--samples", "2"], "has no held-out data"),
        (["mlm"], ["--samples", "0"], "expected 1 or more"),
        (["mlm"], ["--samples", "99"], "14 of the documents"),
        (["mlm", "lm"], ["--samples", "1"], "of different kinds"),
        (["mlm"], ["--samples", "1", "--sample_path", "x"], "give one of them"),
        (["mlm"], ["--sample_path", str(folder / "blank.txt")], "has no text"),
    ]
    for names, options, said in cases:
        words = [*(str(folder / name) for name in names), "--output_path", str(folder / "none.html")]
        assert main(["report", *words, *options]) == 2
        assert said in capsys.readouterr().err
    assert not (folder / "none.html").exists()
