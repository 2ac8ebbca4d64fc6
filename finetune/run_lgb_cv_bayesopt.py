"""Search LightGBM's parameters by cross-validation: UER-py's scripts/run_lgb_cv_bayesopt.py.

python finetune/run_lgb_cv_bayesopt.py --train_path train.tsv --train_features_path features/ --models_num 2 \
    --folds_num 5 --labels_num 2 --epochs_num 100
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["stack", "--trials_num", "100", *sys.argv[1:]])
