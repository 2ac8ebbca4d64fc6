"""Look at machines, network, disks and dataset before a long run: `uer-ds doctor` as a script for launchers.

deepspeed launch/doctor.py --dataset_path D --output_model_path O --ds_config zero2
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uer_ds.cli.main import enter

if __name__ == "__main__":
    enter(["doctor", *sys.argv[1:]])
