"""Mean probabilities of the models that `run_classifier_cv.py` has trained.

python finetune/run_classifier_cv_infer.py --load_model_path models/classifier.bin --test_path test.tsv \
    --test_features_path test_features.npy --folds_num 5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["cv-predict", "classifier", *sys.argv[1:]])
