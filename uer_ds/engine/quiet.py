"""Keeps DeepSpeed's habitual lines off the terminal; import this before deepspeed. Its other warnings stay."""

from __future__ import annotations

import logging
import warnings

EXPECTED = (
    "Setting accelerator to CPU",  # a laptop is a supported place
    "You are using ZeRO with an untested optimizer",  # tests/runs compares every stage with a plain loop
)


def _is_news(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in EXPECTED)


logging.getLogger("DeepSpeed").addFilter(_is_news)
warnings.filterwarnings("ignore", r"`torch\.distributed\..*` is deprecated", FutureWarning)  # DeepSpeed's calls
