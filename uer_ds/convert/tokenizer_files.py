"""The tokenizer of a Hugging Face folder, from one of ours: the same ids in `AutoTokenizer`, without a network.

`tokenizer.json` is built with the `tokenizers` library from our tokens, id by id (U+2028 is a token of the Google
vocabularies; a file split by lines would lose it). The class named is the generic one, which takes `tokenizer.json`
as it is: BertTokenizer would rebuild it and forget words of more than 100 letters.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uer_ds.config.model import read_json_object
from uer_ds.tokenizers import Tokenizer, load_saved_tokenizer

MAX_WORD_CHARACTERS = 200  # UER-py's limit; the library's default is 100


def write_tokenizer(folder: Path, tokenizer: Tokenizer, max_length: int, segments: bool, closing_token: bool) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and the vocabulary files."""
    backend = _wordpiece(tokenizer)
    special = special_tokens(tokenizer)
    _add_special_tokens(backend, tokenizer, special, closing_token)
    backend.save(str(folder / "tokenizer.json"))
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids", "attention_mask"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": inputs,
        "clean_up_tokenization_spaces": False,
        **tokenizer.options,
        **special,
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)
    for option, name in (("vocab_path", "vocab.txt"), ("merges_path", "merges.txt"), ("spm_model_path", "spm.model")):
        if option in tokenizer.files:
            (folder / name).write_bytes(tokenizer.files[option])


def saved_tokenizer(checkpoint: Path) -> Tokenizer | None:
    """The tokenizer saved in one of our checkpoint folders, if there is one."""
    folder = checkpoint / "tokenizer"
    if not (folder / "description.json").is_file():
        return None
    return load_saved_tokenizer(folder, read_json_object(folder / "description.json"))


def write_json(path: Path, values: Any) -> None:
    """A JSON file for people and programs."""
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def special_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    """Hugging Face's role -> token, for the special tokens that are in the vocabulary."""
    roles = ("pad", "unk", "cls", "sep", "mask")
    names = tokenizer.special_tokens.names()
    found: dict[str, Any] = {
        f"{role}_token": names[role] for role in roles if getattr(tokenizer.special, role) is not None
    }
    sentinels = sentinel_tokens(tokenizer)
    return found | ({"additional_special_tokens": sentinels} if sentinels else {})


def sentinel_tokens(tokenizer: Tokenizer) -> list[str]:
    """`<extra_id_0>` and its followers."""
    return [f"<extra_id_{n}>" for n in range(100) if f"<extra_id_{n}>" in tokenizer.vocabulary.ids]


def _add_special_tokens(backend: Any, tokenizer: Tokenizer, special: dict[str, Any], closing_token: bool) -> None:
    from tokenizers import AddedToken, processors

    sentinels = special.get("additional_special_tokens", [])
    names = [token for role, token in special.items() if role != "additional_special_tokens"] + sentinels
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in names])
    if tokenizer.special.cls is None or tokenizer.special.sep is None:
        return
    cls, sep = special["cls_token"], special["sep_token"]
    end = f" {sep}:0" if closing_token else ""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0{end}",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1" + (f" {sep}:1" if closing_token else ""),
        special_tokens=[(cls, tokenizer.special.cls), (sep, tokenizer.special.sep)],
    )


def _wordpiece(tokenizer: Tokenizer) -> Any:
    """BERT's own form: basic tokens, then the longest pieces."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    model = models.WordPiece(
        tokenizer.vocabulary.ids,
        unk_token=tokenizer.special_tokens.unk,
        max_input_chars_per_word=MAX_WORD_CHARACTERS,
    )
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=bool(tokenizer.options.get("do_lower_case", True)))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend
