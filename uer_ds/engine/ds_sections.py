"""Which sections of a DeepSpeed JSON reach DeepSpeed, and which are refused here, with what to do instead.

DeepSpeed 0.19 reads some sections without a word that then have no effect in a program like this one, and ignores keys
that it does not know. A user's setting either works or is an error. docs/deepspeed_features.md tells each feature.
"""

from __future__ import annotations

from typing import Any

from uer_ds.config.experiment import EXPERIMENT
from uer_ds.errors import UserError, unknown_name

PASSED = (
    # filled in or checked by `engine_config`
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
    # memory and precision
    *("zero_optimization", "aio", "bf16", "bfloat16", "fp16", "torch_autocast", "data_types", "compile"),
    # communication
    *("communication_data_type", "prescale_gradients", "gradient_predivide_factor", "gradient_allreduce_op"),
    *("disable_allgather", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"),
    # looking inside
    *("flops_profiler", "comms_logger", "wall_clock_breakdown", "memory_breakdown", "dump_state", "steps_per_print"),
    *("tensorboard", "wandb", "comet", "csv_monitor", "timers", "log_level", "disable_python_gc"),
    "checkpoint",
)

REMOVED = (
    *("nebula", "compression_training", "amp", "quantize_training", "sparse_gradients", "eigenvalue"),
    *("sparse_attention", "elasticity", "graph_harvesting", "curriculum_learning", "progressive_layer_drop"),
)
"""Gone from DeepSpeed 0.19, which says so itself."""

REMOVE = "; remove it from the file"
SPLITS = "would split models into stages, which this program does not: zero3 saves memory" + REMOVE
NO_EXPERTS = "is for models with experts, and none here has any" + REMOVE

INSTEAD = {
    "optimizer": "belongs to --optimizer, --learning_rate, --weight_decay, --beta1 and --beta2" + REMOVE,
    "scheduler": "belongs to --scheduler and --warmup" + REMOVE,
    "activation_checkpointing": "belongs to --deepspeed_checkpoint_activations" + REMOVE,
    "managed_gradient_accumulation": "belongs to --accumulation_steps" + REMOVE,
    "data_efficiency": "would have no effect: samples and their order are the run's own" + REMOVE,
    "dataloader_drop_last": "would have no effect: no sample is ever dropped" + REMOVE,
    "autotuning": "is for `deepspeed --autotuning tune ... --deepspeed_config FILE` alone (docs/deepspeed_features.md)"
    + REMOVE,
    "tensor_parallel": "belongs to --tensor_parallel_size" + REMOVE,
    "sequence_parallel_size": "belongs to --sequence_parallel_size" + REMOVE,
    "seq_parallel_communication_data_type": "would have no effect: give communication_data_type" + REMOVE,
    "pipeline": SPLITS,
    "expert_parallel": NO_EXPERTS,
    "use_data_before_expert_parallelism": NO_EXPERTS,
    "hybrid_engine": "is for reinforcement learning" + REMOVE,
}
"""Section -> why it is refused and what to do."""

INSTEAD_IN_ZERO = {
    "zenflow": "brings an Adam of its own, which --optimizer would not change",
    "super_offload": "brings an Adam of its own, which --optimizer would not change",
}
"""The same for keys of zero_optimization, and of its offload_optimizer."""


def check_sections(given: dict[str, Any], where: str) -> None:
    """Raise UserError for the first section of the file `where` that would be ignored or cannot work here."""
    for section in given:
        if section == "autotuning" and where == EXPERIMENT:
            continue
        if section in INSTEAD:
            raise UserError(f"{where}: has the section {section!r}, which {INSTEAD[section]}.")
        if section not in PASSED and section not in REMOVED:
            raise unknown_name("section", section, PASSED, where)
    zero = given.get("zero_optimization")
    zero = zero if isinstance(zero, dict) else {}
    offload = zero.get("offload_optimizer")
    for key in {**zero, **(offload if isinstance(offload, dict) else {})}:
        if key in INSTEAD_IN_ZERO:
            raise UserError(f"{where}: zero_optimization has {key!r}, which {INSTEAD_IN_ZERO[key]}; remove it.")
