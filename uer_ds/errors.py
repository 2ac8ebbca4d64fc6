"""The one exception that is meant for the user: `UserError`.

It promises a single sentence that names the file or option, what was found, what was expected and what to do.
`uer_ds.cli` prints it to stderr and exits with status 2, without a traceback (`--debug` shows it).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

USER_MISTAKE = 2
"""Exit status after a `UserError`: trying again without a change is useless."""

INTERRUPTED = 130
"""What a shell reports for a command that was ended by Ctrl-C."""


class UserError(Exception):
    """A mistake in what the user gave us (a file, an option, an environment); never a mistake of ours."""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like `name`, or None when nothing comes near."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_name(kind: str, name: str, choices: Iterable[str], where: str = "") -> UserError:
    """A `UserError` for a name that is not among `choices`; offers the nearest one and lists them all."""
    names = list(choices)
    guess = nearest(name, names)
    hint = f"did you mean {guess!r}? " if guess else ""
    place = f"{where}: " if where else ""
    return UserError(f"{place}unknown {kind} {name!r}; {hint}choices: {', '.join(names)}.")
