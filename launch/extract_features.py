"""Vectors of sentences: UER-py's scripts/extract_features.py.

python launch/extract_features.py --load_model_path models/cluecorpussmall_roberta_base_seq512_model.bin \
    --vocab_path models/google_zh_vocab.txt --config_path models/bert/base_config.json \
    --test_path sentences.txt --prediction_path features.pt --pooling first --whitening_size 64
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["features", *sys.argv[1:]])
