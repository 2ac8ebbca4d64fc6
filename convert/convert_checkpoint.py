"""Convert a checkpoint to or from Hugging Face and UER formats.

python convert/convert_checkpoint.py output/checkpoint-1000 model_hf --to huggingface
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["convert", *sys.argv[1:]])
