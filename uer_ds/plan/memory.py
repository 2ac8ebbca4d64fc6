"""Memory of one process, part by part, at the moments of an update that can be the highest.

ZeRO divides the optimizer's state from stage 1 on, gradients from stage 2 on, weights at stage 3 (Rajbhandari et al.
2020, ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, section 5). What is said here is what
DeepSpeed 0.19's optimizers really hold, copies among them, with P parameters of w bytes on n processes:

* Stage 0 in float32 has weights, gradients, two moments: 4 times 4 P; before the update all gradients are copied into
  one piece (up to 500 million). In low precision there are float32 weights besides, and float32 gradients in the step.
* Stages 1 and 2 have float32 weights also in float32 (4 P / n, the optimizer's own), and in the step a flat copy of
  this process's gradients. Gradients pass through a bucket; two of them where communication overlaps.
* Stage 3 holds a buffer for its part of the gradients and a bucket all the time; on several processes also the weights
  that are gathered, which with usual settings are all weights of a model below a billion.

Three moments: "loss" (all activations, the logits, and the gradient of the vocabulary's matrix, which is made in the
forward pass), "backward" (its end: all gradients), "step". bench/memory.py compares the highest with real runs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from uer_ds.config.model import ModelConfig
from uer_ds.models.vocabulary import CHUNK_ELEMENTS, STRIP_ELEMENTS
from uer_ds.plan.activations import Kept, activation_bytes, head_bytes
from uer_ds.plan.division import BUCKET, FULL, Division
from uer_ds.plan.rows import Rows

MOMENTS = {"adamw": 8, "lamb": 8, "lion": 4, "muon": 4, "adafactor": 0}
"""Bytes of optimizer state for each parameter, float32 weights not counted; small rest of muon, adafactor left out."""

STRIPS = 3
"""Copies of a strip of logits in float32 at the same time: logits, softmax, its gradient."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one process on its device, by part; `host`: bytes that offloading puts into the machine's memory."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    buffers: float = 0.0
    fixed: float = 0.0
    host: float = 0.0

    @property
    def total(self) -> float:
        """On the device."""
        return sum(getattr(self, part.name) for part in fields(self)) - self.host


@dataclass(frozen=True)
class Subject:
    """What is planned for: `parameters` P; `device` "cpu" or "gpu"; `recompute` layers in a recomputed piece, 0: none;
    `accumulation` micro-batches in an update."""

    model: ModelConfig
    parameters: int
    optimizer: str
    device: str
    recompute: int = 0
    accumulation: int = 1

    @property
    def vocabulary(self) -> int:
        """Rows of the output matrix, 0 where no words are predicted."""
        if not {"mlm", "lm", "bilm"} & set(self.model.target):
            return 0
        return (self.model.tgt_vocab_size if self.model.decoder else None) or self.model.vocab_size or 0

    @property
    def output_width(self) -> int:
        """Columns of the output matrix."""
        model = self.model
        assert model.hidden_size is not None and model.emb_size is not None
        if "mlm" in model.target and model.factorized_embedding_parameterization:
            return model.emb_size
        return model.hidden_size // (2 if "bilm" in model.target else 1)


def peak(subject: Subject, division: Division, rows: Rows) -> Memory:
    """The highest moment of an update."""
    return max(moments(subject, division, rows).values(), key=lambda memory: memory.total)


def moments(subject: Subject, division: Division, rows: Rows) -> dict[str, Memory]:
    """The memory of a process at each moment."""
    always = _always(subject, division)
    table = subject.vocabulary * subject.output_width * division.width
    before = _gradients(subject, division) if subject.accumulation > 1 else _standing(subject, division)
    kept = Kept(division.width, subject.device)
    predicted = rows.rows * rows.predicted
    loss = {
        "gradients": before,
        "activations": activation_bytes(subject.model, rows, kept, subject.recompute)
        + head_bytes(subject.model, predicted, kept),
        "logits": _logits(subject, division, predicted),
        "buffers": _bucket(subject, division) if subject.device != "cpu" or division.stage == 3 else 0.0,
    }
    backward = {
        "gradients": _gradients(subject, division),
        "logits": table,  # the word table's gradient as an input, before it is added to that as an output
        "buffers": _bucket(subject, division),
    }
    step = {"gradients": _gradients(subject, division), "buffers": _step(subject, division)}
    return {name: _with(always, parts) for name, parts in (("loss", loss), ("backward", backward), ("step", step))}


def _with(always: Memory, parts: dict[str, float]) -> Memory:
    return Memory(**{**vars(always), **parts})


def _always(subject: Subject, division: Division) -> Memory:
    """Weights, optimizer, the fixed part."""
    count, n, stage = subject.parameters, division.processes, division.stage
    weights = division.width * (count / n if stage == 3 else count)
    masters = FULL * count if stage or division.low_precision else 0
    state = (masters + MOMENTS[subject.optimizer] * count) / (n if stage else 1)
    fixed = FIXED[subject.device][stage] + (FIXED_LOW_PRECISION if division.low_precision else 0)
    fixed += SEVERAL if n > 1 and subject.device == "cpu" else 0
    if stage == 3 and n > 1:
        weights = weights if division.offload else weights + division.width * min(count, division.live)
    if not division.offload:
        return Memory(weights=weights, optimizer=state, fixed=fixed)
    host = state + FULL * count / n  # the optimizer's gradients
    if stage == 3:
        host += weights
        weights = division.width * min(count, division.live)
    return Memory(weights=weights, fixed=fixed, host=host)


def _gradients(subject: Subject, division: Division) -> float:
    """After a backward pass."""
    share = division.processes if division.stage >= 2 else 1
    if division.offload:
        return 0.0  # they leave through the buckets
    return division.width * subject.parameters / share


def _standing(subject: Subject, division: Division) -> float:
    """The buffer of stage 3."""
    return _gradients(subject, division) if division.stage == 3 else 0.0


def _bucket(subject: Subject, division: Division) -> float:
    """What gradients are gathered in; on the CPU only what is touched counts."""
    count = subject.parameters
    if division.stage == 0:
        return division.width * min(BUCKET, count)
    size = division.bucket if subject.device != "cpu" else min(division.bucket, count)
    twice = division.overlap and division.stage == 2 and (subject.device != "cpu" or count > division.bucket)
    return division.width * size * (2 if twice else 1)


def _step(subject: Subject, division: Division) -> float:
    """Copies of gradients, this process's part of them: flat, and in float32 in low precision."""
    count, n = subject.parameters, division.processes
    wide = FULL if division.low_precision else 0
    if division.offload:
        return 0.0
    if division.stage == 0:
        return wide * count
    copies = (division.width + wide) * (min(count / n, division.piece) if division.stage == 3 else count / n)
    return copies + (_bucket(subject, division) if division.stage == 3 else 0.0)


def _logits(subject: Subject, division: Division, predicted: float) -> float:
    """A chunk of logits, strips of it in float32, and the gradient of their matrix, in float32 from two chunks on."""
    if not subject.vocabulary:
        return 0.0
    elements = predicted * subject.vocabulary
    chunk = min(CHUNK_ELEMENTS, elements)
    strips = STRIPS * FULL * (min(STRIP_ELEMENTS, chunk) if subject.device == "cpu" else chunk)
    several = elements > CHUNK_ELEMENTS
    matrix = subject.vocabulary * subject.output_width * (FULL + division.width if several else division.width)
    return chunk * division.width + strips + matrix


FIXED = {"cpu": (385e6, 430e6, 430e6, 450e6), "gpu": (1.2e9, 1.2e9, 1.2e9, 1.2e9)}
"""Device -> bytes of a process besides what belongs to the model, by stage. CPU: measured by bench/memory.py (torch
2.13, DeepSpeed 0.19.8, gloo). GPU: the context of CUDA, kernels, NCCL, the allocator's waste; guessed, not measured."""

FIXED_LOW_PRECISION = 12e6
"""CPU kernels of low precision; measured likewise."""

SEVERAL = 0.0
"""Shared memory and threads of gloo; measured likewise."""
