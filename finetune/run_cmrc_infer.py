"""Answers of a model that `run_cmrc.py` has trained.

python finetune/run_cmrc_infer.py --load_model_path models/finetuned_model.bin --test_path test.json \
    --prediction_path prediction.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["predict", "cmrc", *sys.argv[1:]])
