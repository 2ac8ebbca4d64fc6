"""What a family is: its structure in our configuration, its table of rules, its heads, its Hugging Face configuration.

To add a family, write a file beside this one with a `Family` and add it to `families.catalogue`; the test of all
families picks it up and compares logits with `transformers`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.rules import Rule
from uer_ds.errors import unknown_name

# Keys of ModelConfig that any member of a family may choose freely; all others are the family's structure.
FREE_KEYS = frozenset(
    {
        "vocab_size",
        "tgt_vocab_size",
        "emb_size",
        "hidden_size",
        "feedforward_size",
        "heads_num",
        "attention_head_size",
        "layers_num",
        "decoder_layers_num",
        "hidden_act",
        "max_seq_length",
        "layernorm_eps",
        "dropout",
        "target",
        "tie_weights",
        "label_smoothing",
        "ignore_index",
        "data_processor",
        "labels_num",
        "pooling",
        "prefix_lm_loss",
        "relative_attention_buckets_num",
    }
)

ACTIVATIONS = {"gelu": "gelu", "gelu_fast": "gelu_new", "relu": "relu", "silu": "silu", "linear": "linear"}
OUR_ACTIVATIONS = {theirs: ours for ours, theirs in ACTIVATIONS.items()} | {
    "gelu_pytorch_tanh": "gelu_fast",
    "gelu_fast": "gelu_fast",
    "swish": "silu",
}


def our_activation(name: str) -> str:
    """Our name of a Hugging Face activation."""
    if name not in OUR_ACTIVATIONS:
        raise unknown_name("activation", name, OUR_ACTIVATIONS)
    return OUR_ACTIVATIONS[name]


@dataclass(frozen=True)
class Head:
    """What stands on the encoder: its rules, the Hugging Face class that has it, and our names of targets."""

    architecture: str
    rules: tuple[Rule, ...] = ()
    target: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tie:
    """Two of our names that hold one tensor in tied models; `always`: the other side cannot have them apart."""

    name: str
    owner: str
    always: bool = False


@dataclass(frozen=True)
class Copies:
    """Their names of one tensor: `name` is the one in the rules; any of `copies` may stand in when it is absent."""

    name: str
    copies: tuple[str, ...]
    written: bool = False


@dataclass(frozen=True)
class Family:
    """One family; see the fields."""

    name: str
    model_types: tuple[str, ...]  # `model_type` of their config.json; the first is written
    structure: Mapping[str, Any]  # values of ModelConfig that differ from its defaults and make the family
    prefix: str  # of their names in models with a head; files of bare models lack it
    rules: tuple[Rule, ...]
    heads: Mapping[str, Head]
    config_to_theirs: Callable[[ModelConfig], dict[str, Any]]
    config_to_ours: Callable[[dict[str, Any]], dict[str, Any]]
    config_names: Mapping[str, str]  # our sizes -> their names, for error messages
    ties: tuple[Tie, ...] = ()
    copies: tuple[Copies, ...] = ()
    unused: tuple[str, ...] = ()  # expressions for their names that carry nothing (buffers)
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of files without a configuration

    def is_unused(self, name: str) -> bool:
        """Whether their tensor `name` is a buffer that a conversion drops."""
        return any(re.fullmatch(pattern, name) for pattern in self.unused)

    def differences(self, config: ModelConfig) -> dict[str, tuple[Any, Any]]:
        """Structural keys where `config` is not of this family: key -> (found, expected)."""
        defaults = {item.name: item.default for item in dataclasses.fields(ModelConfig)}
        expected = {**defaults, **self.structure}
        if config.layernorm == "uer" and expected["layernorm"] == "normal":  # the export folds it
            config = config.replace(layernorm="normal")
        return {
            key: (getattr(config, key), value)
            for key, value in expected.items()
            if key not in FREE_KEYS and getattr(config, key) != value
        }
