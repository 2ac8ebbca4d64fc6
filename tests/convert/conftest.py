"""Small random models for the tests of the converter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from uer_ds.config.model import model_config_from_dict
from uer_ds.models.model import build_model

SMALL_BERT = {
    "emb_size": 64,
    "hidden_size": 64,
    "feedforward_size": 128,
    "heads_num": 4,
    "layers_num": 2,
    "max_seq_length": 16,
    "vocab_size": 50,
    "embedding": ["word", "pos", "seg"],
    "target": ["mlm"],
    "tie_weights": True,
}


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models compute faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_model() -> Callable[..., Path]:
    """Writes a folder with a random model under UER's names."""

    def write(folder: Path, values: dict[str, Any]) -> Path:
        torch.manual_seed(7)
        weights = build_model(model_config_from_dict(values)).state_dict()
        folder.mkdir()
        save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return write


@pytest.fixture(scope="session")
def small_bert(small_model) -> Callable[..., Path]:
    """The same for a masked language model, with some keys changed."""
    return lambda folder, **changes: small_model(folder, {**SMALL_BERT, **changes})
