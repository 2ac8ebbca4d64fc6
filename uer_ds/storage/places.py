"""Names in the folder of a run and in a checkpoint. Imports no torch, so that configurations can be read without it."""

from __future__ import annotations

from pathlib import Path

METRICS_FILE, EVALUATION_FILE, NON_FINITE_FILE = "metrics.jsonl", "evaluations.jsonl", "non_finite.jsonl"
STARTS_FILE, RUN_FILE = "starts.jsonl", "run.json"
"""In the folder of a run: a line for each report, evaluation, skipped update and start; the configuration."""

TOKENIZER_FOLDER, TARGET_TOKENIZER_FOLDER = "tokenizer", "target_tokenizer"
"""In a checkpoint: of the source side, and of a translation's target side where it is another one."""


def newest_checkpoint(folder: Path) -> Path:
    """In the folder of a run the newest whole checkpoint; any other folder itself."""
    found = [path for path in folder.glob("checkpoint-*") if (path / "state.json").is_file()]
    numbered = [path for path in found if path.name.removeprefix("checkpoint-").isdigit()]
    return max(numbered, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=folder)
