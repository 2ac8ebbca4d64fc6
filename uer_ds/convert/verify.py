"""Both models of a conversion side by side: the largest difference of their logits on random input.

`transformers` builds one side from its folder, `uer_ds.models` the other from the lazily read tensors. Costs the
memory of both models, so it is done by default for small ones only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uer_ds.convert.families.family import Family
from uer_ds.convert.our_model import OurModel
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.models.model import Model, build_model

SMALL = 150_000_000  # parameters; up to here a conversion is verified by default
LIMIT = 1e-2  # logits of random input are of the order of one; rounding stays below 1e-4, built-in epsilons below 1e-3
ROWS, TOKENS, SEED = 3, 12, 7


def largest_difference(model: OurModel, folder: Path, family: Family, head: str) -> float:
    """Compare `model` with the Hugging Face model in `folder` (both in float32)."""
    theirs = _load_theirs(folder, family.heads[head].architecture)
    ours = _load_ours(model, family.heads[head].target)
    batch = random_batch(model, theirs.config)
    with torch.inference_mode():
        expected = _our_logits(ours, model, head, batch)
        found = _their_logits(theirs, batch, head)
    return max(float((left - right).abs().max()) for left, right in zip(expected, found, strict=True))


def transformers_is_installed() -> bool:
    """Whether the other side can be built."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        return False
    return True


def refuse_difference(difference: float, where: str) -> None:
    """Raise `UserError` when the two sides do not compute the same."""
    if not difference <= LIMIT:
        raise UserError(
            f"{where}: the converted model's logits differ by {difference:.1e} from the original's and nothing was "
            "written; --no_verify writes it all the same."
        )


def random_batch(model: OurModel, theirs: Any) -> Batch:
    """Rows of random tokens in two segments, the last one padded; a decoder gets the same rows."""
    generator = torch.Generator().manual_seed(SEED)
    padding = theirs.pad_token_id or 0
    length = min(TOKENS, model.config.max_seq_length)
    vocab_size = model.config.vocab_size or 0
    ids = torch.randint(min(padding + 1, vocab_size - 1), vocab_size, (ROWS, length), generator=generator)
    segments = torch.ones_like(ids)
    if getattr(theirs, "type_vocab_size", 1) > 1:
        segments[:, length // 2 :] = 2
    ids[-1, -length // 3 :], segments[-1, -length // 3 :] = padding, 0
    decoder = Batch(ids.flip(0), torch.ones_like(ids)) if model.config.decoder else None
    return Batch(ids, segments, decoder=decoder)


def _load_theirs(folder: Path, architecture: str) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return getattr(transformers, architecture).from_pretrained(folder).float().eval()


def _load_ours(model: OurModel, target: tuple[str, ...]) -> Model:
    built = build_model(model.config.replace(target=target)).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters(remove_duplicate=False):
            parameter.copy_(model.tensors[name].read())
    return built


def _our_logits(built: Model, model: OurModel, head: str, batch: Batch) -> list[Tensor]:
    """Logits at real tokens, or of each row."""
    if built.target:
        real = (batch.decoder or batch).segments > 0
        return [logits[real] if logits.ndim == 3 else logits for logits in built.logits(batch).values()]
    hidden, real = built.encode(batch), batch.segments > 0
    if head == "none":
        return [hidden[real]]
    if head == "classification":
        pooled = torch.tanh(_linear(model, "output_layer_1", hidden[:, 0]))
        return [_linear(model, "output_layer_2", pooled)]
    return [_linear(model, "output_layer", hidden[real])]


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
    return [values[real] if values.ndim == 3 else values for values in found]
