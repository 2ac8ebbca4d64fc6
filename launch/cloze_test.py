"""Fill blanks with a masked language model: UER-py's scripts/cloze_test.py.

python launch/cloze_test.py --load_model_path models/cluecorpussmall_roberta_base_seq512_model.bin \
    --vocab_path models/google_zh_vocab.txt --config_path models/bert/base_config.json \
    --test_path sentences.txt --prediction_path blanks.txt --topn 5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["cloze", *sys.argv[1:]])
