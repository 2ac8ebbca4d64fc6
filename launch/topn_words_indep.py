"""The words nearest to a word: UER-py's scripts/topn_words_indep.py.

python launch/topn_words_indep.py --load_model_path models/cluecorpussmall_roberta_base_seq512_model.bin \
    --vocab_path models/google_zh_vocab.txt --config_path models/bert/base_config.json \
    --test_path target_words.txt --topn 15
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["neighbours", *sys.argv[1:]])
