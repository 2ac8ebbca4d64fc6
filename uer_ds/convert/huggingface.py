"""A complete Hugging Face folder: configuration, safetensors, tokenizer, model card.

What is written loads with `AutoModel...from_pretrained` and `AutoTokenizer` without a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.family import Family
from uer_ds.convert.kept import Kept
from uer_ds.convert.mapping import Mapped
from uer_ds.convert.model_card import write_model_card
from uer_ds.convert.tokenizer_files import (
    THEIR_NAMES,
    copy_their_files,
    refuse_larger_vocabulary,
    vocabulary_files,
    write_tokenizer,
)
from uer_ds.errors import UserError
from uer_ds.storage.files import write_json
from uer_ds.storage.writers import SHARD_BYTES, write_safetensors
from uer_ds.tokenizers import Tokenizer

# Fine-tuning tasks whose scores are no softmax -> how transformers is told.
PROBLEMS = {"multi_label": "multi_label_classification", "regression": "regression"}


@dataclass(frozen=True)
class Extras:
    """What goes with the weights.

    Attributes:
        tokenizer: one of ours.
        tokenizer_folder: a Hugging Face folder whose tokenizer files are taken over where `tokenizer` is None.
        labels: names of labels by id.
        state: the state.json of our checkpoint, for the model card.
        kept: token ids and settings of generation that came from Hugging Face.
        task: the fine-tuning task that made the model.
        shard_bytes: safetensors files are at most this large.
    """

    tokenizer: Tokenizer | None = None
    tokenizer_folder: Path | None = None
    labels: list[str] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)
    task: str | None = None
    shard_bytes: int = SHARD_BYTES

    def vocabulary(self) -> dict[str, bytes]:
        """Option of UER-py -> content of the file."""
        if self.tokenizer is not None:
            return {option: self.tokenizer.files[option] for option in THEIR_NAMES if option in self.tokenizer.files}
        return vocabulary_files(self.tokenizer_folder) if self.tokenizer_folder else {}


def write_huggingface(
    folder: Path, name: str, family: Family, config: ModelConfig, mapped: Mapped, extras: Extras
) -> None:
    """Fill `folder` with the model that will be called `name`."""
    values = their_config(family, config, mapped, extras)
    write_json(folder / "config.json", values)
    write_safetensors(folder, mapped.tensors, extras.shard_bytes)
    extras.kept.write_generation(folder, values)
    if extras.tokenizer is not None:
        refuse_larger_vocabulary(extras.tokenizer, config.vocab_size)
        _refuse_other_padding(family, extras.tokenizer)
        segments = values.get("type_vocab_size", 1) > 1
        write_tokenizer(folder, extras.tokenizer, config.max_seq_length, segments, config.mask != "causal")
    elif extras.tokenizer_folder is not None:
        copy_their_files(extras.tokenizer_folder, folder)
    tokens = extras.tokenizer.tokens if extras.tokenizer else ()
    write_model_card(folder / "README.md", name, values["architectures"][0], config, tokens, extras.state)


def their_config(family: Family, config: ModelConfig, mapped: Mapped, extras: Extras) -> dict[str, Any]:
    """The content of config.json."""
    architecture = family.heads[mapped.head].architecture
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in mapped.tensors.values()}
    return {
        "architectures": [architecture],
        "model_type": family.model_types[0],
        **family.config_to_theirs(config),
        **{key: mapped.tensors[name].shape[0] for key, name in family.rows_in_config.items()},
        "tie_word_embeddings": mapped.tied and family.ties_output,
        "torch_dtype": dtypes.pop() if len(dtypes) == 1 else "float32",
        **extras.kept.ids_for(family, extras.tokenizer, config.vocab_size),
        **_labels(architecture, mapped, extras.labels),
        **({"problem_type": PROBLEMS[extras.task]} if extras.task in PROBLEMS else {}),
    }


def _refuse_other_padding(family: Family, tokenizer: Tokenizer) -> None:
    """RoBERTa's positions begin after the padding id, which is therefore part of the model."""
    padding, found = family.constants.get("pad_token_id"), tokenizer.special.pad
    if padding is not None and found not in (None, padding):
        raise UserError(
            f"{tokenizer.vocabulary.source}: has the padding id {found}, but positions of {family.name} models begin "
            f"after padding id {padding}; export with --family bert."
        )


def _labels(architecture: str, mapped: Mapped, labels: list[str] | None) -> dict[str, Any]:
    """Label names of a classification head (its last matrix has a row for each)."""
    if not architecture.endswith(("SequenceClassification", "TokenClassification")):
        return {}
    last = next(name for name in ("classifier.out_proj.weight", "classifier.weight") if name in mapped.tensors)
    rows = mapped.tensors[last].shape[0]
    names = labels or [f"LABEL_{number}" for number in range(rows)]
    if architecture.endswith("TokenClassification") and len(names) == rows - 1:
        names = [*names, "[PAD]"]  # UER-py's taggers have one class more than their label file
    if len(names) != rows:
        raise UserError(
            f"--labels: {len(names)} names of labels are known, but the head has {rows} rows; give all names."
        )
    return {"id2label": {str(number): name for number, name in enumerate(names)}, "label2id": numbered(names)}


def numbered(names: list[str]) -> dict[str, int]:
    """UER-py's form of label names: name -> id."""
    return {name: number for number, name in enumerate(names)}
