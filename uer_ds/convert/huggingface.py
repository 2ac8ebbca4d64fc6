"""A complete Hugging Face folder: configuration, safetensors, tokenizer, model card.

What is written loads with `AutoModel...from_pretrained` and `AutoTokenizer` without a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.family import Family
from uer_ds.convert.mapping import Mapped
from uer_ds.convert.model_card import write_model_card
from uer_ds.convert.tokenizer_files import write_json, write_tokenizer
from uer_ds.convert.writers import SHARD_BYTES, write_safetensors
from uer_ds.tokenizers.base import Tokenizer


def write_huggingface(
    folder: Path,
    name: str,
    family: Family,
    config: ModelConfig,
    mapped: Mapped,
    tokenizer: Tokenizer | None,
    state: dict[str, Any],
    labels: list[str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Fill `folder` with the model that will be called `name`."""
    architecture = family.heads[mapped.head].architecture
    values = their_config(family, config, mapped, tokenizer, labels)
    write_json(folder / "config.json", values)
    write_safetensors(folder, mapped.tensors, shard_bytes)
    if tokenizer is not None:
        write_tokenizer(
            folder,
            tokenizer,
            max_length=config.max_seq_length,
            segments="seg" in config.embedding,
            closing_token=config.mask != "causal",
        )
    write_model_card(folder / "README.md", name, architecture, config, state)


def their_config(
    family: Family, config: ModelConfig, mapped: Mapped, tokenizer: Tokenizer | None, labels: list[str] | None
) -> dict[str, Any]:
    """The content of config.json."""
    head = family.heads[mapped.head]
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in mapped.tensors.values()}
    values = {
        "architectures": [head.architecture],
        "model_type": family.model_types[0],
        **family.config_to_theirs(config),
        "tie_word_embeddings": mapped.tied,
        "torch_dtype": dtypes.pop() if len(dtypes) == 1 else "float32",
    }
    if tokenizer is not None and tokenizer.special.pad is not None:
        values["pad_token_id"] = tokenizer.special.pad
    return values | _labels(head.architecture, mapped, labels)


def _labels(architecture: str, mapped: Mapped, labels: list[str] | None) -> dict[str, Any]:
    """Label names of a classification head (its last matrix has a row for each)."""
    if not architecture.endswith(("SequenceClassification", "TokenClassification")):
        return {}
    rows = [
        tensor.shape[0]
        for name, tensor in mapped.tensors.items()
        if name.startswith("classifier") and name.endswith("weight")
    ]
    names = labels or [f"LABEL_{number}" for number in range(rows[-1])]
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }
