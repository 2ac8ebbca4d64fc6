"""Answer texts with a model that has a decoder: UER-py's scripts/generate_seq2seq.py.

python launch/generate_seq2seq.py --load_model_path models/cluecorpussmall_t5_small_seq512_model.bin \
    --vocab_path models/google_zh_with_sentinel_vocab.txt --config_path models/t5/small_config.json \
    --test_path sources.txt --prediction_path answers.txt --tgt_seq_length 64
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["generate", *sys.argv[1:]])
