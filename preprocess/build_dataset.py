"""Turn text into an indexed dataset.

python preprocess/build_dataset.py --corpus_path corpus.txt --vocab_path vocab.txt --dataset_path dataset.pt \
    --processes_num 8 --data_processor mlm
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["preprocess", *sys.argv[1:]])
