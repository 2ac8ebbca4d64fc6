"""Two ranks train a small model for two updates under ZeRO 0, 1, 2 and 3, and save it as DeepSpeed does.

Run by `test_zero.py`; the argument is the output folder. Rank 0 also saves the gathered weights.
Stages 2 and 3 are trained in bfloat16 too, with float32 masters.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import torch
from torch import distributed

from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch
from uer_ds.engine.ops_cache import use_ops_cache
from uer_ds.launch.leaving import leave
from uer_ds.models.model import Model, build_model

MODEL = {
    "emb_size": 32,
    "hidden_size": 32,
    "feedforward_size": 50,
    "heads_num": 4,
    "layers_num": 2,
    "max_seq_length": 16,
    "vocab_size": 51,
    "embedding": ["word", "pos", "seg"],
    "target": ["mlm", "sp"],
    "tie_weights": True,
}


def train(stage: int, precision: str) -> tuple[deepspeed.DeepSpeedEngine, Model]:
    """An engine after two updates, with two groups of parameters."""
    settings = {
        "train_micro_batch_size_per_gpu": 2,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 100},
    }
    torch.manual_seed(1)
    with deepspeed.zero.Init(config_dict_or_path=settings, enabled=stage == 3):
        model = build_model(model_config_from_dict(MODEL))
    parameters = dict(model.named_parameters())
    decaying = [parameter for name, parameter in parameters.items() if name.endswith("weight")]
    others = [parameter for name, parameter in parameters.items() if not name.endswith("weight")]
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    for _ in range(2):
        ids = torch.randint(1, MODEL["vocab_size"], (2, 8))
        labels = {"mlm": ids, "sp": torch.zeros(2, dtype=torch.int64)}
        terms = engine(Batch(ids, torch.ones_like(ids), labels=labels))
        engine.backward(sum(total / count for name, (total, count) in terms.items() if name.startswith("loss")))
        engine.step()
    return engine, model


def main(output: Path) -> None:
    torch.set_num_threads(1)
    use_ops_cache()
    deepspeed.init_distributed("gloo")
    for name in ("0", "1", "2", "3", "2_bf16", "3_bf16"):
        stage = int(name[0])
        engine, model = train(stage, precision=name[2:])
        engine.save_checkpoint(str(output / f"stage{name}"), tag="update-2")
        whole = {}
        for key, parameter in model.named_parameters(remove_duplicate=False):
            with deepspeed.zero.GatheredParameters([parameter], enabled=stage == 3):
                whole[key] = parameter.detach().clone()
        if distributed.get_rank() == 0:
            torch.save(whole, output / f"gathered{name}.bin")
            (output / f"stage{name}" / "config.json").write_text(json.dumps(MODEL))
        engine.destroy()
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
