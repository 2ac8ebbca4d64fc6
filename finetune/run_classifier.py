"""Classify texts and pairs of texts.

python finetune/run_classifier.py --pretrained_model_path output/checkpoint-1000 \
    --train_path train.tsv --dev_path dev.tsv --test_path test.tsv --learning_rate 3e-4 --epochs_num 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "classifier", *sys.argv[1:]])
