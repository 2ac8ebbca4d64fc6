"""Keeps DeepSpeed's habitual lines off the terminal; import this before deepspeed. Its other warnings stay."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

EXPECTED = (
    "Setting accelerator to CPU",  # a laptop is a supported place
    "You are using ZeRO with an untested optimizer",  # tests/runs compares every stage with a plain loop
)


PRINTED = "built successfully"
"""In a line that DeepSpeed prints whenever it has loaded its C++ part, into the output of a command."""


@contextlib.contextmanager
def only_news_printed() -> Iterator[None]:
    """Inside the `with` block, lines of `PRINTED` do not appear; others do, at its end."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        for line in said.getvalue().splitlines():
            if PRINTED not in line:
                print(line, flush=True)


def _is_news(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in EXPECTED)


logging.getLogger("DeepSpeed").addFilter(_is_news)
warnings.filterwarnings("ignore", r"`torch\.distributed\..*` is deprecated", FutureWarning)  # DeepSpeed's calls
