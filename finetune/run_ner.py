"""Tag tokens: named entities.

python finetune/run_ner.py --pretrained_model_path output/checkpoint-1000 --train_path train.tsv \
    --dev_path dev.tsv --label2id_path label2id.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["finetune", "ner", *sys.argv[1:]])
