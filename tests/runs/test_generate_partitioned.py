"""ZeRO-Inference: two processes, each with half of the weights, write what one process writes with all of them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_generate import HAN, T5, TOKENS
from tests.runs.conftest import Run
from uer_ds.cli.main import main
from uer_ds.config.model import model_config_from_dict
from uer_ds.models.model import build_model
from uer_ds.models.weights import save_weights


def test_divided_weights_write_the_same(tmp_path: Path, run_together: Run) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    (tmp_path / "t5.json").write_text(json.dumps(T5))
    (tmp_path / "prompts.txt").write_text("".join(f"{HAN[n] * (n + 1)}\n" for n in range(5)), encoding="utf-8")
    model = build_model(model_config_from_dict({**T5, "vocab_size": len(TOKENS)}))
    save_weights(model.state_dict(), tmp_path / "t5.bin")
    options = {
        "load_model_path": "t5.bin",
        "config_path": "t5.json",
        "vocab_path": "vocab.txt",
        "test_path": "prompts.txt",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(tmp_path / value))]
    words += ["--batch_size", "3", "--tgt_seq_length", "12", "--temperature", "20", "--top_k", "0"]
    assert main(["generate", *words, "--prediction_path", str(tmp_path / "one.txt")]) == 0
    command = (2, "launch/generate.py", *words)
    run_together(*command, "--prediction_path", tmp_path / "two.txt", "--ds_config", "zero3")
    texts = (tmp_path / "one.txt").read_text(encoding="utf-8")
    assert (tmp_path / "two.txt").read_text(encoding="utf-8") == texts
    assert len(texts.splitlines()) == 5 and len(set(texts.splitlines())) == 5
    done = run_together(*command, "--prediction_path", tmp_path / "three.txt", expect=2)
    assert "several processes generate together only where weights are divided" in done.stderr + done.stdout
