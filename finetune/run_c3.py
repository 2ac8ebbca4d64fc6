"""Choose among answers about a text.

python finetune/run_c3.py --pretrained_model_path output/checkpoint-1000 \
    --train_path train.json --dev_path dev.json --learning_rate 3e-4 --epochs_num 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "c3", *sys.argv[1:]])
