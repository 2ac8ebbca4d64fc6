"""Learn from several models' probabilities: UER-py's scripts/run_lgb.py.

python finetune/run_lgb.py --train_path train.tsv --test_path test.tsv --models_num 2 --labels_num 2 \
    --train_features_path features/ --test_features_path features/
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["stack", *sys.argv[1:]])
