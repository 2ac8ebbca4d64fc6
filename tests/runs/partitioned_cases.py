"""The models that `partitioned_worker.py` builds on two ranks and `test_partitioned.py` builds at once."""

from __future__ import annotations

from dataclasses import dataclass

from tests.models.golden_families import family
from uer_ds.config.model import ModelConfig, model_config_from_dict

SEED = 5
LARGE = "large"


@dataclass(frozen=True)
class Case:
    """A model: a golden family, its type, and the file (of the test) that is loaded into it afterwards, if any."""

    name: str
    dtype: str = "fp32"
    deep_init: bool = False
    loads: str = ""

    def config(self) -> ModelConfig:
        return family(self.name, "normal").config()


CASES = {
    "tied": Case("bert", loads="other"),
    "rounded": Case("bert", "bf16", deep_init=True),
    "half": Case("gpt2", "fp16"),
    "shared": Case("t5", deep_init=True),
    "one layer": Case("albert"),
    "two streams": Case("sbert"),
    "recurrent": Case("bilstm_bilm"),
    "convolutions": Case("gatedcnn_lm"),
}


def saved_config() -> ModelConfig:
    """16 million parameters, which an engine with its optimizer quadruples: 64 MiB in float32."""
    width = 384
    sizes = {"emb_size": width, "hidden_size": width, "feedforward_size": 4 * width, "heads_num": 6, "layers_num": 6}
    return model_config_from_dict({**sizes, "vocab_size": 15000, "embedding": ["word", "pos"], "tie_weights": True})


def large_config() -> ModelConfig:
    """268 million parameters: 1 GiB in float32."""
    width = 1024
    sizes = {"emb_size": width, "hidden_size": width, "feedforward_size": 4 * width, "heads_num": 16, "layers_num": 20}
    return model_config_from_dict({**sizes, "vocab_size": 15000, "embedding": ["word", "pos"], "tie_weights": True})
