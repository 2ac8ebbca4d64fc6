"""`convert`: any checkpoint to a Hugging Face folder, a UER `.bin` or plain safetensors.

It opens the input, brings it under our names and hands it to an exporter, which writes under a temporary name and
renames when everything is there. Memory: one tensor at a time (two whole models while a small conversion is
verified).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uer_ds.config.model import ModelConfig
from uer_ds.convert.contents import checked, with_choices
from uer_ds.convert.eras import ERAS, PRESENT
from uer_ds.convert.export import Export, export_huggingface, export_ours, writes_file
from uer_ds.convert.formats import open_checkpoint
from uer_ds.convert.huggingface import Extras
from uer_ds.convert.kept import kept_of
from uer_ds.convert.mapping import Choice
from uer_ds.convert.our_model import read_our_model
from uer_ds.convert.sbert import SIAMESE, two_streams
from uer_ds.convert.sizes import Hints
from uer_ds.convert.staging import refuse_existing
from uer_ds.convert.tokenizer_files import saved_tokenizer
from uer_ds.errors import UserError, unknown_name
from uer_ds.storage.writers import SHARD_BYTES
from uer_ds.tokenizers import Tokenizer

FORMATS = ("huggingface", "uer", "safetensors")
LAYERNORMS = ("normal", "uer")


@dataclass(frozen=True)
class ConversionReport:
    """What was found and done.

    Attributes:
        input_format: for people, e.g. "Hugging Face folder".
        config: of the model under our names.
        output: where it was written.
        export: the exporter's account: family, head, tensors, dropped names, notes, difference of the logits.
    """

    input_format: str
    config: ModelConfig
    output: Path
    export: Export


def convert(
    input_path: str | Path,
    output_path: str | Path,
    to: str = "huggingface",
    *,
    config_path: str | Path | None = None,
    tokenizer: Tokenizer | None = None,
    family: str | None = None,
    head: str | None = None,
    heads_num: int | None = None,
    layers_num: int | None = None,
    layernorm: str | None = None,
    era: str = PRESENT,
    labels: list[str] | None = None,
    ignore: str | None = None,
    verify: bool | None = None,
    force: bool = False,
    shard_bytes: int = SHARD_BYTES,
    ask_heads: Callable[[int], int] | None = None,
) -> ConversionReport:
    """Convert one checkpoint; `uer-ds convert --help` explains the options. A `UserError` leaves nothing behind.

    `verify`: compare the logits of both sides; None: where the model is small and transformers is installed.
    """
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS, "--to")
    if era not in ERAS:
        raise unknown_name("era", era, ERAS, "--era")
    if layernorm not in (None, *LAYERNORMS):
        raise unknown_name("layer norm", str(layernorm), LAYERNORMS, "--layernorm")
    _refuse_bad_expression(ignore)
    output = Path(output_path)
    refuse_existing(output, force, writes_file(output, to))
    checkpoint = open_checkpoint(input_path, config_path)
    plain_family = None if family == SIAMESE else family
    head = "none" if family == SIAMESE else head
    choice = Choice(head, ignore, has_labels=bool(labels or checkpoint.labels))
    model = read_our_model(checkpoint, Hints(plain_family, choice, heads_num, layers_num, layernorm, ask_heads))
    model = checked(model, ignore)
    extras = Extras(
        tokenizer or saved_tokenizer(checkpoint.folder),
        None if checkpoint.is_ours else checkpoint.folder,
        labels or checkpoint.labels,
        checkpoint.state,
        kept_of(checkpoint),
        checkpoint.task,
        shard_bytes,
    )
    if to == "huggingface":
        export = export_huggingface(model, output, plain_family, choice, extras, verify)
    else:
        if checkpoint.is_ours and model.config.encoder != "dual":
            model = with_choices(model, head, plain_family)
        if family == SIAMESE and model.config.encoder != "dual":
            model = two_streams(model)
        export = export_ours(model, output, to, layernorm, extras, verify, era)
    return ConversionReport(checkpoint.format, model.config, output, export)


def _refuse_bad_expression(ignore: str | None) -> None:
    try:
        re.compile(ignore or "")
    except re.error as error:
        raise UserError(f"--ignore: {ignore!r} is no regular expression ({error}).") from None
