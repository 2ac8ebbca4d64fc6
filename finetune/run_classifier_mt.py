"""Classify texts of several datasets with one encoder.

python finetune/run_classifier_mt.py --pretrained_model_path output/checkpoint-1000 \
    --dataset_path_list datasets/douban_book_review datasets/chnsenticorp --learning_rate 3e-5 --epochs_num 3
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "classifier_mt", *sys.argv[1:]])
