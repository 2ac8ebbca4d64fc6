"""Classify pairs of texts that are read apart.

python finetune/run_classifier_siamese.py --pretrained_model_path output/checkpoint-1000 \
    --train_path train.tsv --dev_path dev.tsv --learning_rate 3e-4 --epochs_num 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "siamese", *sys.argv[1:]])
