"""Small random models for the tests of the converter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

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


@pytest.fixture(scope="session")
def small_bert() -> Callable[[Path], Path]:
    """Writes a folder with a random masked language model under UER's names."""
    from uer_ds.config.model import model_config_from_dict
    from uer_ds.models.model import build_model

    torch.manual_seed(7)
    model = build_model(model_config_from_dict(SMALL_BERT))

    def write(folder: Path) -> Path:
        folder.mkdir()
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(SMALL_BERT))
        return folder

    return write
