"""Go on with texts, or answer them.

python launch/generate.py --load_model_path models/gpt2_poem_tiny --prompt 春风 --max_new_tokens 40
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["generate", *sys.argv[1:]])
