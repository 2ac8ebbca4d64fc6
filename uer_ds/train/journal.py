"""`Journal`: what a run says, on rank 0: lines on the terminal, `metrics.jsonl`, `evaluations.jsonl`, TensorBoard.

The other ranks hold a journal too, which stays silent, so that no caller asks who it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.storage.files import write_json
from uer_ds.storage.places import EVALUATION_FILE, METRICS_FILE, RUN_FILE
from uer_ds.train import reports


class Journal:
    """The outputs of one run; silent where `files` is None."""

    def __init__(self, console: reports.Console | None = None, files: reports.Files | None = None):
        self._console, self._files = console, files

    def say(self, lines: str | Iterable[str]) -> None:
        """Print lines."""
        if self._console:
            for line in [lines] if isinstance(lines, str) else lines:
                self._console.say(line)

    def report(self, report: Mapping[str, Any]) -> None:
        """A training report: its line, the progress bar, the file, the board."""
        if self._console and self._files:
            self._console.say(reports.report_line(report))
            self._console.advance(report["update"])
            self._files.write(report, METRICS_FILE, "train")

    def evaluation(self, report: Mapping[str, Any], board: str) -> None:
        """An evaluation: the file, and the board's section `board`."""
        if self._files:
            self._files.write(report, EVALUATION_FILE, board)


@contextmanager
def journal(
    group: Group,
    output: Path,
    board: Path,
    total_updates: int,
    done_updates: int,
    configuration: dict[str, Any],
    log_path: str | None,
) -> Iterator[Journal]:
    """Open the outputs on rank 0 (and `run.json` in `output`), close them at the end. Collective.

    Raises UserError on every rank when a file cannot be written.
    """
    held: list[Any] = []

    def open_outputs() -> None:
        try:
            write_json(output / RUN_FILE, configuration)
            held.append(reports.Console(total_updates, done_updates, log_path))
            held.append(reports.Files(output, board, done_updates, configuration))
        except OSError as error:
            name = error.filename or output
            raise UserError(f"{name}: cannot be written ({error.strerror}); choose another path.") from error

    group.on_first(open_outputs)
    try:
        yield Journal(*held)
    finally:
        for part in held:
            part.close()
