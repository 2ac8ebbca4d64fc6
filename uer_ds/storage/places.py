"""Names in the folder of a run and in a checkpoint, and which checkpoints are there. Imports no torch, so that
configurations can be read without it.
"""

from __future__ import annotations

import re
from pathlib import Path

METRICS_FILE, EVALUATION_FILE, NON_FINITE_FILE = "metrics.jsonl", "evaluations.jsonl", "non_finite.jsonl"
STARTS_FILE, RUN_FILE = "starts.jsonl", "run.json"
"""In the folder of a run: a line for each report, evaluation, skipped update and start; the configuration."""

STATE_FILE, CONFIG_FILE = "state.json", "config.json"
"""In a checkpoint: where the run stood, written last; the model's configuration."""

TOKENIZER_FOLDER, TARGET_TOKENIZER_FOLDER = "tokenizer", "target_tokenizer"
"""In a checkpoint: of the source side, and of a translation's target side where it is another one."""


def checkpoint_path(output: Path, updates: int) -> Path:
    """The folder of the checkpoint after `updates`."""
    return output / f"checkpoint-{updates}"


def updates_of(checkpoint: Path) -> int:
    """The number in the name of a checkpoint folder."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def find_checkpoints(output: Path) -> list[Path]:
    """Finished checkpoints in the run folder `output`, oldest first."""
    named = [path for path in output.glob("checkpoint-*") if re.fullmatch(r"checkpoint-(\d+)", path.name)]
    return sorted((path for path in named if (path / STATE_FILE).is_file()), key=updates_of)


def newest_checkpoint(folder: Path) -> Path:
    """In the folder of a run the newest whole checkpoint; any other folder itself."""
    return [folder, *find_checkpoints(folder)][-1]
