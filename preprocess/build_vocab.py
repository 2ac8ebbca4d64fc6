"""Build a vocabulary from text.

python preprocess/build_vocab.py --corpus_path corpus.txt --delimiter bert --output_path vocab.txt --min_count 5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["vocab", *sys.argv[1:]])
