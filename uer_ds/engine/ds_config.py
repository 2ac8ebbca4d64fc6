"""DeepSpeed JSON in, complete engine configuration out.

The JSON owns memory, precision and communication. Batch sizes, accumulation and clipping belong to the options; they
are written into it here, always (DeepSpeed 0.19 clips at 1.0 when the JSON is silent), and a JSON that contradicts them
is refused.
"""

from __future__ import annotations

from typing import Any

from uer_ds.config.sharing import ALONE, Sharing
from uer_ds.engine.ds_sections import check_sections
from uer_ds.engine.shared_layers import tensor_parallel_section
from uer_ds.errors import UserError

OTHERWISE_WRITTEN = "checkpoint", "writer"
"""DeepSpeed's own asynchronous writer. In 0.19.8 it starts only with MPI's variables and a GPU's pinned memory, and its
files appear under their final names before they are whole."""

NEVER = 2**31 - 1
"""Updates between DeepSpeed's own progress lines: our reports say more."""


def engine_config(
    given: dict[str, Any],
    where: str,
    batch_size: int,
    accumulation_steps: int,
    world_size: int,
    max_grad_norm: float,
    whole_matrices: str | None = None,
    sharing: Sharing = ALONE,
) -> dict[str, Any]:
    """Fill `given` (the user's DeepSpeed JSON, from the file `where`) with what the options own.

    Values "auto" are filled in silently; any other value that differs from the option is a `UserError` naming both.
    `whole_matrices` names an optimizer that ZeRO cannot partition.
    """
    check_sections(given, where)
    owned = {
        "train_micro_batch_size_per_gpu": (batch_size, "--batch_size"),
        "gradient_accumulation_steps": (accumulation_steps, "--accumulation_steps"),
        "train_batch_size": (
            batch_size * accumulation_steps * sharing.readers(world_size),
            f"--batch_size {batch_size} x {accumulation_steps} micro-batches x {sharing.in_words(world_size)} =",
        ),
        "gradient_clipping": (max_grad_norm, "--max_grad_norm"),
    }
    for key, (value, option) in owned.items():
        found = given.get(key, "auto")
        if found not in ("auto", value):
            raise contradiction(where, key, found, option, value)
    section, key = OTHERWISE_WRITTEN
    if (given.get(section) or {}).get(key) is not None:
        raise UserError(f"{where}: has {section}.{key}; remove it and give --async_checkpoint.")
    if whole_matrices and zero_stage(given):
        raise UserError(
            f"--optimizer {whole_matrices} needs whole matrices, but {where} partitions them (ZeRO stage "
            f"{zero_stage(given)}); give --ds_config zero0."
        )
    filled = {**given, **{key: value for key, (value, _) in owned.items()}}
    if sharing.together > 1:  # DeepSpeed counts readers by it, and nothing else
        filled["sequence_parallel_size"] = sharing.together
    if sharing.layers > 1:
        if zero_stage(given) not in (1, 2):
            raise UserError(
                f"--tensor_parallel_size {sharing.layers} needs ZeRO stage 1 or 2, but {where} has stage "
                f"{zero_stage(given)}; give --ds_config zero1 or zero2."
            )
        filled["tensor_parallel"] = tensor_parallel_section(sharing.layers)
    # UER-py's Adam is ours (no bias correction, decay after the step): elementwise, so every ZeRO stage may hold it.
    filled.setdefault("zero_allow_untested_optimizer", True)
    filled.setdefault("zero_force_ds_cpu_optimizer", False)
    filled.setdefault("steps_per_print", NEVER)
    return filled


def contradiction(where: str, key: str, found: Any, option: str, value: Any) -> UserError:
    """The error for a JSON value that disagrees with an option."""
    return UserError(
        f"{where}: {key} is {found}, but the command line says {option} {value}; "
        f'remove {key} from the file (or write "auto"), or make them equal.'
    )


def zero_stage(config: dict[str, Any]) -> int:
    """The ZeRO stage (0 to 3) of a DeepSpeed JSON."""
    stage = (config.get("zero_optimization") or {}).get("stage", 0)
    return stage if isinstance(stage, int) else 0  # DeepSpeed itself refuses the rest


def engine_layout(config: dict[str, Any]) -> dict[str, Any]:
    """What decides how the engine's state is divided and rounded: stage, devices, precision."""
    zero = config.get("zero_optimization") or {}
    devices = {name: (zero.get(name) or {}).get("device", "none") for name in ("offload_optimizer", "offload_param")}
    precisions = [name for name in ("fp16", "bf16", "bfloat16") if (config.get(name) or {}).get("enabled")]
    return {
        "stage": zero_stage(config),
        "offload": "+".join(
            f"{name.removeprefix('offload_')} to {device}" for name, device in devices.items() if device != "none"
        ),
        "precision": precisions[0].replace("bfloat16", "bf16") if precisions else "fp32",
    }
