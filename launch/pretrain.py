"""Pre-train a model, or go on with one.

deepspeed --num_accelerators 2 launch/pretrain.py --ds_config ds_configs/zero2.json --dataset_path dataset.pt \
    --config_path models/bert/tiny_config.json --data_processor mlm --target mlm --output_model_path output
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["pretrain", *sys.argv[1:]])
