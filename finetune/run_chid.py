"""Choose idioms for blanks.

python finetune/run_chid.py --pretrained_model_path output/checkpoint-1000 \
    --train_path train.json --dev_path dev.json --train_answer_path train_answer.json \
    --dev_answer_path dev_answer.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "chid", *sys.argv[1:]])
