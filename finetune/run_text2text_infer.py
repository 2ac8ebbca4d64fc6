"""Answers of a model that `run_text2text.py` has trained.

python finetune/run_text2text_infer.py --load_model_path models/finetuned_model.bin --test_path test.tsv \
    --prediction_path prediction.tsv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["predict", "text2text", *sys.argv[1:]])
