"""Classify texts and pairs of texts with every setting of a grid; the best model is kept.

python finetune/run_classifier_grid.py --pretrained_model_path output/checkpoint-1000 --train_path train.tsv \
    --dev_path dev.tsv --learning_rate_list 3e-5 1e-4 3e-4 --batch_size_list 32 64 --epochs_num_list 3 5 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["grid", "classifier", *sys.argv[1:]])
