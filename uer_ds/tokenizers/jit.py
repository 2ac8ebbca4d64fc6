"""`compiled`: numba with a cache on disk.

Compiling takes seconds, once per machine and source version, and is announced on the log (stderr). numba keeps the
result beside the source file, or in the user's cache folder when the package cannot be written; where neither can be
written the code is compiled in every process. Importing this module imports numba, so only modules of kernels do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from uer_ds.errors import UserError

try:
    import numba
    from numba.core import event
except ImportError as error:
    raise UserError(
        f"Turning text into ids needs numba, which this Python lacks ({error}); install it with `pip install numba`, "
        "or prepare the dataset on a machine that has it."
    ) from error

logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


class _Announcer(event.Listener):
    """Says once per process that compiling has begun; loading from the cache is silent."""

    def __init__(self) -> None:
        self.announced = False

    def on_start(self, event: event.Event) -> None:
        if not self.announced:
            self.announced = True
            logger.warning("Compiling the tokenizer for this machine; this takes some seconds, once.")

    def on_end(self, event: event.Event) -> None:
        pass


_announcer = _Announcer()


def compiled(*signatures: str, inline: bool = False) -> Callable[[F], F]:
    """Compile a function for these signatures when its module is imported, or load it from the cache.

    An inline function needs no signature: it becomes part of those that call it, which must be in the same module.
    """
    options: dict[str, Any] = {"inline": "always"} if inline else {"signature_or_function": list(signatures)}

    def decorate(function: F) -> F:
        dispatcher: Any
        with event.install_listener("numba:compile", _announcer):
            try:
                dispatcher = numba.njit(cache=True, **options)(function)
            except RuntimeError as error:
                if "cannot cache function" not in str(error):
                    raise
                dispatcher = numba.njit(**options)(function)
        result: F = dispatcher
        return result

    return decorate
