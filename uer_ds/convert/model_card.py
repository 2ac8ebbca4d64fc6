"""`README.md` of an exported model: what is known of it, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig

PIPELINES = {
    "ForMaskedLM": "fill-mask",
    "ForPreTraining": "fill-mask",
    "LMHeadModel": "text-generation",
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
}

CHINESE_TOKENS = 500  # from here on a vocabulary is taken for Chinese

FACTS = {"updates": "optimizer updates", "samples": "samples seen", "tokens": "tokens seen", "versions": "versions"}


def write_model_card(
    path: Path, name: str, architecture: str, config: ModelConfig, tokens: Sequence[str], state: Mapping[str, Any]
) -> None:
    """Write the card. `tokens`: the vocabulary, if known; `state`: the state.json of our checkpoint, or empty."""
    pipeline = next((task for ending, task in PIPELINES.items() if architecture.endswith(ending)), "feature-extraction")
    language = ["language: zh"] if sum(map(_is_chinese, tokens)) >= CHINESE_TOKENS else []
    lines = ["---", *language, "library_name: transformers", f"pipeline_tag: {pipeline}", "---", ""]
    lines += [f"# {name}", "", f"{architecture}, exported by uer_ds.", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in _sizes(config).items()]
    lines += [f"| {label} | {_short(state[key])} |" for key, label in FACTS.items() if key in state]
    lines += [
        f"| dataset | {Path(dataset['path']).name} |" for dataset in state.get("datasets", []) if "path" in dataset
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _is_chinese(token: str) -> bool:
    return all("\u4e00" <= character <= "\u9fff" for character in token.strip("#\u2581")) and bool(
        token.strip("#\u2581")
    )


def _sizes(config: ModelConfig) -> dict[str, Any]:
    sizes = {
        "layers": config.layers_num,
        "hidden size": config.hidden_size,
        "attention heads": config.heads_num,
        "feed-forward size": config.feedforward_size,
        "vocabulary": config.vocab_size,
        "longest sequence": config.max_seq_length if "pos" in config.embedding else None,
        "targets": ", ".join(config.target),
    }
    return {name: value for name, value in sizes.items() if value}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items() if not isinstance(item, (dict, list)))
    return str(value).replace("|", r"\|")
