"""`uer-ds generate` from files: models of every form, prompts and results, what a terminal shows, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from uer_ds.cli.main import main
from uer_ds.config.model import model_config_from_dict
from uer_ds.models.model import build_model
from uer_ds.models.weights import save_weights

HAN = [chr(0x4E00 + n) for n in range(40)]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "，", "。", *HAN]
LM = {
    "emb_size": 16,
    "hidden_size": 16,
    "feedforward_size": 32,
    "heads_num": 2,
    "layers_num": 2,
    "max_seq_length": 64,
    "embedding": ["word", "pos"],
    "encoder": "transformer",
    "mask": "causal",
    "target": ["lm"],
    "tie_weights": True,
}
T5 = {
    **{key: value for key, value in LM.items() if key != "max_seq_length"},
    "embedding": ["word"],
    "tgt_embedding": ["word"],
    "mask": "fully_visible",
    "decoder": "transformer",
    "relative_position_embedding": True,
    "share_embedding": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UER's way: weights, JSON and vocabulary in files of their own."""
    folder = tmp_path_factory.mktemp("generate")
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    for name, values in {"lm": LM, "t5": T5, "mlm": {**LM, "mask": "fully_visible", "target": ["mlm"]}}.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
        torch.manual_seed(1)
        model = build_model(model_config_from_dict({**values, "vocab_size": len(TOKENS)}))
        torch.save(model.state_dict(), folder / f"{name}.bin")
    (folder / "prompts.txt").write_text(f"{''.join(HAN[:3])}\n\n{HAN[4]}\n", encoding="utf-8")
    return folder


def words(folder: Path, name: str, **options: Any) -> list[str]:
    files = {"load_model_path": f"{name}.bin", "config_path": f"{name}.json", "vocab_path": "vocab.txt"}
    given = {key: folder / value for key, value in files.items()} | options
    listed = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    return ["generate", *(str(word) for key, value in listed.items() for word in (f"--{key}", *value))]


def test_uers_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the model zoo page has it, with what is without effect today."""
    page = [
        "--embedding",
        "word_pos",
        "--encoder",
        "transformer",
        "--mask",
        "causal",
        "--target",
        "lm",
        "--tie_weights",
    ]
    command = words(folder, "lm", test_path=folder / "prompts.txt", prediction_path=folder / "full.txt", seq_length=20)
    assert main([*command, *page, "--top_k", "5"]) == 0
    lines = (folder / "full.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 and lines[0].startswith("".join(HAN[:3])) and lines[1].startswith(HAN[4])
    assert all(len(line) <= 19 for line in lines)
    assert "2 texts" in capsys.readouterr().err


def test_json_lines_say_everything(folder: Path) -> None:
    command = words(
        folder, "lm", test_path=folder / "prompts.txt", prediction_path=folder / "a.jsonl", max_new_tokens=6
    )
    assert main([*command, "--samples_num", "2", "--seed", "3"]) == 0
    rows = [json.loads(line) for line in (folder / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == ["".join(HAN[:3])] * 2 + [HAN[4]] * 2
    assert all(row["tokens"] <= 6 and row["log_probability"] < 0 for row in rows)
    assert rows[0]["text"] != rows[1]["text"]
    again = [*command, "--samples_num", "2", "--seed", "3", "--batch_size", "1"]
    again[again.index(str(folder / "a.jsonl"))] = str(folder / "b.jsonl")
    assert main(again) == 0
    assert [json.loads(line)["text"] for line in (folder / "b.jsonl").open(encoding="utf-8")] == [
        row["text"] for row in rows
    ]


def test_a_terminal_shows_prompt_and_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(folder, "lm", prompt=HAN[7], max_new_tokens=5), "--greedy", "--ignore_end"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(HAN[7]) and len(shown.out.strip()) == 6
    assert "1 texts, 5 tokens" in shown.err


def test_answers_of_a_decoder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = words(folder, "t5", prompt=[HAN[7], HAN[8] * 3], tgt_seq_length=8)
    assert main([*command, "--beam_size", "3", "--ignore_end"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(len(line) == 7 for line in lines)


@pytest.mark.parametrize(
    ("name", "options", "words_of_error"),
    [
        ("mlm", {"prompt": HAN[0]}, "no model with target lm"),
        ("lm", {"prompt": HAN[0], "form": "*x*"}, "'x' of the form is not in the vocabulary"),
        ("lm", {"test_path": "nowhere.txt"}, "nowhere.txt: cannot be read as UTF-8 text"),
        ("lm", {"prompt": HAN[0], "ds_config": "zero2"}, "has ZeRO stage 2; generating divides weights by stage 3"),
        ("lm", {"prompt": "".join(HAN) * 2, "seq_length": 200}, "has 81 tokens with"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: Path, name: str, options: dict[str, Any], words_of_error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, name, **options)) == 2
    assert words_of_error in capsys.readouterr().err


def test_lines_that_are_no_prompts_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.jsonl").write_text('{"text": "a"}\n{"prompt": "b"}\n')
    (folder / "empty.txt").write_text("\n\n")
    assert main(words(folder, "lm", test_path=folder / "bad.jsonl")) == 2
    assert "bad.jsonl: line 2 is no JSON object with the key text" in capsys.readouterr().err
    assert main(words(folder, "lm", test_path=folder / "empty.txt")) == 2
    assert "has no prompts" in capsys.readouterr().err


def test_weights_in_memory_that_is_not_the_devices_write_the_same(folder: Path) -> None:
    """ZeRO-Inference of one process."""
    texts = []
    for engine in ({}, {"ds_config": "zero3_offload"}):
        path = folder / f"texts{len(texts)}.txt"
        command = words(
            folder, "t5", test_path=folder / "prompts.txt", prediction_path=path, tgt_seq_length=12, **engine
        )
        assert main([*command, "--greedy", "--ignore_end"]) == 0
        texts.append(path.read_text(encoding="utf-8"))
    assert texts[0] == texts[1] and len(texts[0]) > 20


def test_weights_of_a_checkpoint_folder_are_enough(folder: Path, tmp_path: Path) -> None:
    """With the tokenizer that lies beside them."""
    from uer_ds.convert.tokenizer_files import save_tokenizer
    from uer_ds.tokenizers import load_tokenizer

    model = build_model(model_config_from_dict({**LM, "vocab_size": len(TOKENS)}))
    save_weights(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**LM, "vocab_size": len(TOKENS)}))
    save_tokenizer(tmp_path, load_tokenizer("bert", vocab_path=folder / "vocab.txt"))
    out = tmp_path / "out.txt"
    command = ["generate", "--load_model_path", tmp_path, "--prompt", HAN[3], "--prediction_path", out]
    assert main([str(word) for word in command]) == 0
    assert out.read_text(encoding="utf-8").startswith(HAN[3])
