"""`Finding`: one thing that was looked at, whether it is well, and what to do when it is not.

Findings of many processes are told once where they agree, and by name where they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from uer_ds.errors import UserError

OK, WARNING, ERROR = "ok", "warning", "error"
SEVERITY = (OK, WARNING, ERROR)
WIDTH = 8
"""Of the longest subject; findings are printed as they come, in the same columns."""


@dataclass(frozen=True)
class Finding:
    """`found` in words; `remedy` is empty when all is well."""

    subject: str
    status: str
    found: str
    remedy: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(subject, OK, found)


def warning(subject: str, found: str, remedy: str) -> Finding:
    """It works, but."""
    return Finding(subject, WARNING, found, remedy)


def error(subject: str, found: str, remedy: str) -> Finding:
    """A run would fail."""
    return Finding(subject, ERROR, found, remedy)


def examine(subject: str, look: Callable[[], Iterable[Finding]], remedy: str) -> list[Finding]:
    """The findings of `look`; its failure is a finding too, with its own words or `remedy`.

    `look` must not talk to other processes: they would wait for the one whose failure is swallowed here.
    """
    try:
        return list(look())
    except Exception as mistake:  # whatever is broken here must not hide the other findings
        return [failure(subject, mistake, "see above" if isinstance(mistake, UserError) else remedy)]


def failure(subject: str, mistake: Exception, remedy: str) -> Finding:
    """What `mistake` says, as a finding."""
    if isinstance(mistake, UserError):
        return error(subject, str(mistake), remedy)
    return error(subject, f"{type(mistake).__name__}: {' '.join(str(mistake).split())[:300]}", remedy)


def told(findings: Sequence[tuple[str, Finding]]) -> Iterator[str]:
    """Lines for people: (who found it, what), in order; those who agree share a line."""
    agreeing: dict[Finding, list[str]] = {}
    concerned: dict[str, set[str]] = {}
    for who, finding in findings:
        agreeing.setdefault(finding, []).append(who)
        concerned.setdefault(finding.subject, set()).add(who)
    for finding, places in agreeing.items():
        where = "" if set(places) == concerned[finding.subject] else f"{', '.join(places)}: "
        yield f"{finding.status.ljust(7)}  {finding.subject.ljust(WIDTH)}  {where}{finding.found}"
        if finding.remedy:
            yield f"{'':7}  {'':{WIDTH}}  -> {finding.remedy}"


def worst(findings: Iterable[Finding]) -> str:
    """The gravest status among `findings`."""
    return max((finding.status for finding in findings), key=SEVERITY.index, default=OK)
