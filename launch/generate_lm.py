"""Go on with texts: UER-py's scripts/generate_lm.py.

python launch/generate_lm.py --load_model_path models/cluecorpussmall_gpt2_distil_seq1024_model.bin \
    --vocab_path models/google_zh_vocab.txt --config_path models/gpt2/distil_config.json --seq_length 128 \
    --test_path story_beginning.txt --prediction_path story_full.txt
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["generate", *sys.argv[1:]])
