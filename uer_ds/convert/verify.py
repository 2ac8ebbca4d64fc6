"""Both sides of a conversion on the same random input: the largest difference of their logits.

`transformers` builds a model from its folder, `uer_ds.models` from lazily read tensors; what was written is read back
from its files. Costs the memory of both models, so it is done by default for small ones only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uer_ds.convert.families.family import Family
from uer_ds.convert.our_model import OurModel
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.models.model import Model, build_model
from uer_ds.models.pooling import pool

SMALL = 150_000_000  # parameters; up to here a conversion is verified by default
# Of the largest logit: a zeroed matrix of a freshly initialised model moves logits by 1e-3 of it, rounding by 1e-6.
LIMIT = 1e-4
LOOSE_LIMIT = 1e-2  # where both sides cannot have one epsilon of their layer norms
ROWS, TOKENS, SEED = 3, 12, 7


@dataclass(frozen=True)
class Difference:
    """The largest difference of two lists of logits, and the largest one as a part of the largest logit beside it."""

    absolute: float
    relative: float

    @classmethod
    def between(cls, expected: list[Tensor], found: list[Tensor]) -> Difference:
        """Compare output by output."""
        pairs = [(float((left - right).abs().max()), left) for left, right in zip(expected, found, strict=True)]
        parts = [distance / max(float(left.abs().max()), 1e-30) for distance, left in pairs]
        return cls(max(distance for distance, _ in pairs), max(parts))


def difference_from_theirs(model: OurModel, folder: Path, family: Family, head: str) -> Difference:
    """Compare `model` with the Hugging Face model in `folder` (both in float32)."""
    theirs = _load_theirs(folder, family.heads[head].architecture, str(model.path))
    ours = _load_ours(model, family.heads[head].target)
    two_segments = getattr(theirs.config, "type_vocab_size", 1) > 1
    batch = random_batch(model, theirs.config.pad_token_id or 0, two_segments)
    with torch.inference_mode():
        found = _our_logits(ours, model, head, batch)
        try:
            expected = _their_logits(theirs, batch, head)
        except Exception as error:  # odd values that only show when they are used
            raise _refusal(str(model.path), type(theirs).__name__, error) from error
    if len(expected) < len(found):  # both streams of a siamese model are their one
        expected = expected * len(found)
    return Difference.between(expected, found)


def difference_from_ours(model: OurModel, written: OurModel) -> Difference:
    """Compare two models of ours (in float32)."""
    batch = random_batch(model, 0, two_segments=True)
    with torch.inference_mode():
        first, second = (
            _our_logits(_load_ours(side, side.config.target), side, None, batch) for side in (model, written)
        )
    return Difference.between(first, second)


def transformers_is_installed() -> bool:
    """Whether the other side can be built."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        return False
    return True


def refuse_difference(difference: Difference, where: str, is_loose: bool) -> None:
    """Raise `UserError` when the two sides do not compute the same; `is_loose`: as far as their epsilons allow."""
    limit = LOOSE_LIMIT if is_loose else LIMIT
    if not difference.relative <= limit:
        raise UserError(
            f"{where}: the converted model's logits differ by {difference.absolute:.1e} from the original's, "
            f"{difference.relative:.1e} of the largest (expected at most {limit:g}), and nothing was written; "
            "--no_verify writes it all the same."
        )


def random_batch(model: OurModel, padding: int, two_segments: bool) -> Batch:
    """Rows of random tokens in one or two segments, the last one padded; decoder and second stream get the same."""
    generator = torch.Generator().manual_seed(SEED)
    part = model.config.stream_0 or model.config
    length = min(TOKENS, part.max_seq_length)
    vocab_size = model.config.vocab_size or part.vocab_size or 0
    ids = torch.randint(min(padding + 1, vocab_size - 1), vocab_size, (ROWS, length), generator=generator)
    segments = torch.ones_like(ids)
    if two_segments:
        segments[:, length // 2 :] = 2
    ids[-1, -length // 3 :], segments[-1, -length // 3 :] = padding, 0
    targets = ids.flip(0) % (model.config.tgt_vocab_size or vocab_size)
    decoder = Batch(targets, torch.ones_like(ids)) if model.config.decoder else None
    second = Batch(ids, segments) if model.config.encoder == "dual" else None
    return Batch(ids, segments, decoder=decoder, second=second)


def _load_theirs(folder: Path, architecture: str, where: str) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return getattr(transformers, architecture).from_pretrained(folder).float().eval()
    except Exception as error:  # whatever a configuration that it does not like leads to
        raise _refusal(where, architecture, error) from error


def _refusal(where: str, architecture: str, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{where}: transformers cannot run {architecture} ({reason[:200]}); --no_verify converts without it."
    )


def _load_ours(model: OurModel, target: tuple[str, ...]) -> Model:
    built = build_model(model.config.replace(target=target)).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters(remove_duplicate=False):
            parameter.copy_(model.tensors[name].read())
    return built


def _our_logits(built: Model, model: OurModel, head: str | None, batch: Batch) -> list[Tensor]:
    """Logits at real tokens, or of each row; `head` None: of whatever heads there are."""
    if built.target:
        real = (batch.decoder or batch).segments > 0
        return [_at_tokens(logits, real) for logits in built.logits(batch).values()]
    real = batch.segments > 0
    if batch.second is not None:
        return [hidden[real] for hidden in built.encode_streams(batch)]
    hidden = built.encode(batch)
    if head != "none" and "output_layer_1.weight" in model.tensors:
        pooled = pool(hidden, batch.segments, model.config.pooling)
        return [_linear(model, "output_layer_2", torch.tanh(_linear(model, "output_layer_1", pooled)))]
    if head != "none" and "output_layer.weight" in model.tensors:
        hidden = _linear(model, "output_layer", hidden)
    return [hidden[real]]


def _at_tokens(logits: Tensor, real: Tensor) -> Tensor:
    """[B, S, V] or [2, B, S, V] -> without padding; [B, C] as it is."""
    if logits.ndim == 4:
        return logits[:, real]
    return logits[real] if logits.ndim == 3 else logits


def _linear(model: OurModel, name: str, inputs: Tensor) -> Tensor:
    """A layer of a fine-tuned head; `Model` has none of these."""
    weight, bias = (model.tensors[f"{name}.{part}"].read().float() for part in ("weight", "bias"))
    return inputs @ weight.t() + bias


def _their_logits(theirs: Any, batch: Batch, head: str) -> list[Tensor]:
    real = batch.segments > 0
    inputs = {"input_ids": batch.ids, "attention_mask": real.long()}
    if getattr(theirs.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (batch.segments - 1).clamp(min=0)
    if batch.decoder is not None:
        inputs["decoder_input_ids"], real = batch.decoder.ids, batch.decoder.segments > 0
    output = theirs(**inputs)
    if head == "question_answering":
        return [torch.stack([output.start_logits, output.end_logits], dim=-1)[real]]
    names = ("prediction_logits", "seq_relationship_logits", "sop_logits", "logits", "last_hidden_state")
    found = [output[name] for name in names if name in output]
    if "logits" in output:
        found = [output.logits]
    return [_at_tokens(values, real) for values in found]
