"""A folder with models, a vocabulary and lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_generate import LM, T5, TOKENS
from tests.tools.models import LINES, MLM, made
from uer_ds.models.weights import save_weights
from uer_ds.tokenizers import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    (folder / "lines.txt").write_text("\n".join(LINES) + "\n\n", encoding="utf-8")
    for name, values in {"lm": LM, "mlm": MLM, "t5": T5}.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
        save_weights(made(values).state_dict(), folder / f"{name}.bin")
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer("bert", vocab_path=folder / "vocab.txt")
