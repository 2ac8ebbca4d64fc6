"""Write a model's word vectors: UER-py's scripts/extract_embeddings.py.

python launch/extract_embeddings.py --load_model_path models/cluecorpussmall_roberta_base_seq512_model.bin \
    --vocab_path models/google_zh_vocab.txt --config_path models/bert/base_config.json \
    --word_embedding_path words.txt
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["embeddings", *sys.argv[1:]])
