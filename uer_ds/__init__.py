"""uer_ds: pre-train, fine-tune, convert and run the models of the UER zoo with DeepSpeed.

The names below are for programs that use the package; each is imported when it is first asked for, so that
`import uer_ds` costs nothing.

    tokenizer = uer_ds.load_tokenizer(tokenizer="bert", vocab_path="vocab.txt")
    model = uer_ds.build_model(uer_ds.load_config("bert/base", vocab_size=tokenizer.vocab_size))
    uer_ds.load_weights(model, "model.bin")             # UER-py's file, of any year
    dataset = uer_ds.open_dataset("corpus_zh")          # a folder made by `uer-ds preprocess`

docs/api.md has all of them with shapes and examples.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uer_ds.config.data import SamplingConfig as SamplingConfig
    from uer_ds.config.model import ModelConfig as ModelConfig
    from uer_ds.data.batch import Batch as Batch
    from uer_ds.data.dataset import open_dataset as open_dataset
    from uer_ds.errors import UserError as UserError
    from uer_ds.models.model import Model as Model
    from uer_ds.models.model import build_model as build_model
    from uer_ds.models.weights import load_weights as load_weights
    from uer_ds.models.zoo import load_config as load_config
    from uer_ds.objectives import RowOptions as RowOptions
    from uer_ds.objectives import build_objective as build_objective
    from uer_ds.tokenizers import load_tokenizer as load_tokenizer

__version__ = "0.1.0"

_PUBLIC = {
    "Batch": "uer_ds.data.batch",
    "Model": "uer_ds.models.model",
    "ModelConfig": "uer_ds.config.model",
    "RowOptions": "uer_ds.objectives",
    "SamplingConfig": "uer_ds.config.data",
    "UserError": "uer_ds.errors",
    "build_model": "uer_ds.models.model",
    "build_objective": "uer_ds.objectives",
    "load_config": "uer_ds.models.zoo",
    "load_tokenizer": "uer_ds.tokenizers",
    "load_weights": "uer_ds.models.weights",
    "open_dataset": "uer_ds.data.dataset",
}
"""Name -> the module that has it."""

__all__ = [
    "Batch",
    "Model",
    "ModelConfig",
    "RowOptions",
    "SamplingConfig",
    "UserError",
    "build_model",
    "build_objective",
    "load_config",
    "load_tokenizer",
    "load_weights",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
