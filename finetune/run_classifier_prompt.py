"""Classify by filling a blank.

python finetune/run_classifier_prompt.py --pretrained_model_path output/checkpoint-1000 \
    --train_path train.tsv --dev_path dev.tsv --learning_rate 3e-4 --epochs_num 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "prompt", *sys.argv[1:]])
