"""Classify texts by cross-validation: a model for each fold, and the probabilities of all rows as features.

python finetune/run_classifier_cv.py --pretrained_model_path output/checkpoint-1000 --train_path train.tsv \
    --output_model_path models/classifier.bin --train_features_path train_features.npy --folds_num 5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["cv", "classifier", *sys.argv[1:]])
