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
from uer_ds.errors import UserError, unknown_name
from uer_ds.storage.lazy import LazyTensor, TensorMap

# Keys of ModelConfig that any member of a family may choose freely; all others are the family's structure.
FREE_KEYS = frozenset(
    {
        "vocab_size",
        "tgt_vocab_size",
        "emb_size",
        "hidden_size",
        "feedforward_size",
        "heads_num",
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
        "sinusoidal_layout",
    }
)

# Heads that classes of causal models have no place for.
LAST_TOKEN_HEADS = {
    r"(output_layer_[12]|target\.cls\.linear_[12])\..*|score\.weight": (
        "a causal model's ForSequenceClassification has one matrix on the last token, a classifier of ours a dense "
        "layer with tanh before it"
    )
}

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


def _refuse_other_kind(value: Any, ours: str, where: str) -> None:
    """Sizes are positive whole numbers, the rest are numbers or names."""
    if ours == "hidden_act":
        is_right, expected = isinstance(value, str), "a name"
    elif ours in ("dropout", "layernorm_eps"):
        is_right, expected = isinstance(value, (int, float)) and not isinstance(value, bool), "a number"
    else:
        is_right, expected = type(value) is int and value > 0, "a positive integer"
    if not is_right:
        raise UserError(f"{where} is {value!r}; expected {expected}.")


@dataclass(frozen=True)
class Head:
    """What stands on the encoder: its rules, the Hugging Face class that has it, our targets and the objective."""

    architecture: str
    rules: tuple[Rule, ...] = ()
    target: tuple[str, ...] = ()
    data_processor: str | None = None


@dataclass(frozen=True)
class Tie:
    """Two of our names that hold one tensor in tied models; `always`: the other side cannot have them apart."""

    name: str
    owner: str
    always: bool = False


@dataclass(frozen=True)
class Copies:
    """Their names of one tensor: `name` is the one in the rules; any of `copies` may stand in when it is absent.

    `written`: the copies are written too, always or where the output layer is not tied (transformers then ties
    nothing).
    """

    name: str
    copies: tuple[str, ...]
    written: str = "untied"


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: ours, for `--family`.
        model_types: `model_type` of their config.json; the first is written.
        structure: values of `ModelConfig` that differ from its defaults and make the family; `free`: keys beside
            `FREE_KEYS` that its members choose.
        prefix: of their names in models with a head; files of bare models lack it.
        rules: the table, without heads. `rules_by_head_size` makes the rules that depend on the width of a head;
            `query` is then their name of the first layer's query matrix.
        heads: name -> head. `lacks`: expression for names of heads that their classes cannot have -> why not.
        config_names: our keys -> theirs (all of them hold the value).
        constants: keys of their config.json that are always the same; another value is refused.
        their_defaults: what a config.json means that leaves a key out.
        special_ids: their keys of token ids -> the role of the token.
        rows_in_config: their keys that hold the number of rows of one of their tensors.
        ties, copies: names that share a tensor.
        unused: expressions for their names that carry nothing (buffers).
        defaults: values of `ModelConfig` for files without a configuration.
        fixed_layernorm_eps: the epsilon of layer norms that their classes have built in.
        ties_output: their format ties the output layer; otherwise it is always written out.
        more_to_theirs, more_to_ours: keys of the configurations that need arithmetic.
        prepare: changes our tensors before the table runs (tensors, configuration, output is tied).
        finish: changes our tensors after the table ran (tensors, their config.json).
        extra_theirs: their tensors that come from the configuration alone.
        values_of_theirs: our configuration values that only their tensors tell.
    """

    name: str
    model_types: tuple[str, ...]
    structure: Mapping[str, Any]
    prefix: str
    rules: tuple[Rule, ...]
    heads: Mapping[str, Head]
    config_names: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, Any] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    their_defaults: Mapping[str, Any] = field(default_factory=dict)
    special_ids: Mapping[str, str] = field(default_factory=lambda: {"pad_token_id": "pad"})
    rows_in_config: Mapping[str, str] = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()
    copies: tuple[Copies, ...] = ()
    unused: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed_layernorm_eps: float | None = None
    ties_output: bool = True
    query: str | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    rules_by_head_size: Callable[[int], tuple[Rule, ...]] = lambda head_size: ()
    more_to_theirs: Callable[[ModelConfig], dict[str, Any]] = lambda config: {}
    more_to_ours: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda theirs: {}
    prepare: Callable[[dict[str, LazyTensor], ModelConfig, bool], None] = lambda tensors, config, tied: None
    finish: Callable[[dict[str, LazyTensor], Mapping[str, Any]], None] = lambda tensors, theirs: None
    extra_theirs: Callable[[ModelConfig], dict[str, LazyTensor]] = lambda config: {}
    values_of_theirs: Callable[[TensorMap], dict[str, Any]] = lambda tensors: {}

    def table(self, head: str, head_size: int | None) -> tuple[Rule, ...]:
        """All rules for a model with `head`; `head_size` may be None where no rule depends on it."""
        special = self.rules_by_head_size(head_size) if head_size else ()
        return (*self.rules, *special, *self.heads[head].rules)

    def is_unused(self, name: str) -> bool:
        """Whether their tensor `name` is a buffer that a conversion drops."""
        return any(re.fullmatch(pattern, name) for pattern in self.unused)

    def differences(self, config: ModelConfig) -> dict[str, tuple[Any, Any]]:
        """Structural keys where `config` is not of this family: key -> (found, expected)."""
        defaults = {item.name: item.default for item in dataclasses.fields(ModelConfig)}
        expected = {**defaults, **self.structure}
        found = {key: getattr(config, key) for key in expected}
        if config.layernorm == "uer" and expected["layernorm"] == "normal":  # the export folds it
            found["layernorm"] = "normal"
        usual = {"attention_head_size": (config.hidden_size or 0) / (config.heads_num or 1)}
        usual["local_kv_heads_num"] = config.heads_num or 0
        found.update({key: None for key, value in usual.items() if found[key] == value})  # stated, but nothing special
        return {
            key: (found[key], value)
            for key, value in expected.items()
            if key not in FREE_KEYS | self.free and found[key] != value
        }

    def config_to_theirs(self, config: ModelConfig) -> dict[str, Any]:
        """Sizes and switches under their names."""
        values = {theirs: getattr(config, ours) for ours, names in self.config_names.items() for theirs in names}
        for theirs in self.config_names.get("hidden_act", ()):
            values[theirs] = ACTIVATIONS[config.hidden_act]
        return {**values, **self.constants, **self.more_to_theirs(config)}

    def config_to_ours(self, theirs: Mapping[str, Any], where: str) -> dict[str, Any]:
        """What their config.json says, under our names; keys that would change the arithmetic are refused."""
        theirs = {**self.their_defaults, **theirs}
        for key, value in self.constants.items():
            if theirs.get(key, value) != value:
                raise UserError(f"{where}: {key} is {theirs[key]!r}; only models with {value!r} can be converted.")
        values = {}
        for ours, names in self.config_names.items():
            found = [theirs[name] for name in names if theirs.get(name) is not None]
            if ours != "dropout" and any(value != found[0] for value in found):
                raise UserError(f"{where}: {' and '.join(names)} differ ({found}); only equal ones can be converted.")
            if found:
                _refuse_other_kind(found[0], ours, f"{where}: {names[0]}")
                values[ours] = our_activation(found[0]) if ours == "hidden_act" else found[0]
        return {**values, **self.more_to_ours(theirs)}
