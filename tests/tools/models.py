"""Small models and command lines for the tests of tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.cli.test_generate import HAN, LM, TOKENS
from uer_ds.config.model import model_config_from_dict
from uer_ds.models.model import Model, build_model

MLM = {**LM, "mask": "fully_visible", "target": ["mlm"]}
CLS, SEP, MASK = 2, 3, 4
LINES = ["".join(HAN[:5]), "".join(HAN[3:12]), HAN[7], "".join(HAN[20:26])]


def made(values: dict[str, Any]) -> Model:
    torch.manual_seed(3)
    model = build_model(model_config_from_dict({**values, "vocab_size": len(TOKENS)})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model


def words(folder: Path, command: str, name: str, **options: Any) -> list[str]:
    files = {"load_model_path": f"{name}.bin", "config_path": f"{name}.json", "vocab_path": "vocab.txt"}
    given = {"test_path": folder / "lines.txt", **{key: folder / value for key, value in files.items()}, **options}
    return [command, *(str(word) for key, value in given.items() for word in (f"--{key}", value))]
