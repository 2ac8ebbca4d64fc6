"""A process's share of its machine's cores: how many threads it computes with, and where they run.

Processes of one machine split its cores into equal runs of neighbours: the hardware threads of a core stay together,
and so do, where the numbers allow it, the cores of a cache, a socket and a NUMA node, on which memory is then taken.
What the user or a launcher has chosen is left alone, threads and places each for itself. On an accelerator nothing is
bound: where its data pass is for its driver and launcher to know.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from uer_ds.engine.group import Group
from uer_ds.engine.job_limits import MACHINE, cores_allowed
from uer_ds.launch.address import host_name

BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Variables by which users say where threads run; OMP_PROC_BIND=false says "nowhere in particular"."""

LEAST = 2
"""Cores of a share that processes are bound to. On a single one, starting a model of 25,000 parameters many times took
137 seconds instead of 60; presumably threads that wait for messages are in the way of the one that computes."""

Cpus = frozenset[int]
"""Processors as the system counts them: several to a core where it runs several threads."""


@dataclass(frozen=True)
class Share:
    """`threads` to compute with; `cpus` to be bound to, None: stay where we are."""

    threads: int
    cpus: Cpus | None = None


def share_of(
    position: int, masks: Sequence[Cpus], cores: Sequence[Cpus], allowed: float, environ: Mapping[str, str]
) -> Share:
    """The share of process `position` among those of its machine.

    Args:
        masks: of each process: the processors it may run on.
        cores: neighbours beside each other (`physical_cores`); those outside the process's mask are passed over.
        allowed: cores' time that all of them together may take; infinite: no limit.
    """
    own = masks[position]
    mine = [core & own for core in cores if core & own]
    sharing = Counter(masks)[own]
    threads = max(1, math.floor(min(allowed / len(masks), len(mine) / sharing)))
    is_free = len(masks) == sharing > 1 and not any(environ.get(name) for name in BINDING)
    if is_free and len(mine) >= LEAST * sharing and allowed >= len(mine):  # a limit of time is not one of places
        first, last = (len(mine) * edge // sharing for edge in (position, position + 1))
        return Share(threads, frozenset().union(*mine[first:last]))
    return Share(threads)


def cores_here() -> int:
    """How many cores' work this process may do: hardware threads of one core are one, and a job's limit counts."""
    return max(1, math.floor(min(cores_allowed(), len(physical_cores(_own())))))


def physical_cores(cpus: Cpus, root: Path = MACHINE) -> list[Cpus]:
    """The cores behind `cpus`, ordered by NUMA node, socket and shared cache. Where nothing is known: one each."""
    system = root / "sys/devices/system/cpu"

    def order(core: Cpus) -> tuple[int, ...]:
        first = min(core)
        folder = system / f"cpu{first}"
        node = min((_number(path.name.removeprefix("node")) for path in folder.glob("node[0-9]*")), default=0)
        package = _number(_text(folder / "topology/physical_package_id"))
        cache = min(cpu_list(_text(folder / "cache/index3/shared_cpu_list")), default=first)
        return node, package, cache, first

    siblings = (cpu_list(_text(system / f"cpu{cpu}/topology/thread_siblings_list")) & cpus | {cpu} for cpu in cpus)
    return sorted(set(siblings), key=order)


def cpu_list(text: str) -> Cpus:
    """The kernel's lists of processors: "0-2,8" -> 0, 1, 2, 8. Nothing for what is none."""
    found = set[int]()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return frozenset()
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def ranges(cpus: Cpus) -> str:
    """The other way: 0, 1, 2, 8 -> "0-2,8"."""
    firsts = sorted(cpu for cpu in cpus if cpu - 1 not in cpus)
    lasts = sorted(cpu for cpu in cpus if cpu + 1 not in cpus)
    return ",".join(
        f"{first}-{last}" if first < last else f"{first}" for first, last in zip(firsts, lasts, strict=True)
    )


def use_cores(group: Group | None = None, *, bind: bool = False) -> None:
    """Take this process's share: threads unless the user has chosen them, and with `bind` places. Collective."""
    own = _own()
    machine = (host_name(os.environ), _text(MACHINE / "proc/sys/kernel/random/boot_id"))  # names alone may be alike
    everybody = group.gather_everywhere((machine, own)) if group else [(machine, own)]
    rank = group.place.rank if group else 0
    position = sum(other == machine for other, _ in everybody[:rank])
    masks = [mask for other, mask in everybody if other == machine]
    share = share_of(position, masks, physical_cores(own), cores_allowed(), os.environ)
    if not threads_chosen(os.environ):
        torch.set_num_threads(share.threads)
    if bind and share.cpus:
        _bind(share.cpus)


def threads_in_words() -> str:
    """For the first lines of a run: how many threads, and where they run if not anywhere, whoever has said so."""
    threads, own = torch.get_num_threads(), _own()
    words = "1 thread" if threads == 1 else f"{threads} threads"
    return words if len(own) == os.cpu_count() else f"{words} on CPU {ranges(own)}"


def threads_chosen(environ: Mapping[str, str]) -> bool:
    """Whether the user has said how many threads to use; the 1 that torchrun sets is nobody's choice."""
    chosen = environ.get("OMP_NUM_THREADS")
    return chosen is not None and not (chosen == "1" and "TORCHELASTIC_RUN_ID" in environ)


def _own() -> Cpus:
    return frozenset(os.sched_getaffinity(0))


def _bind(cpus: Cpus) -> None:
    """Move all threads of this process; those to come, and its children, inherit the place."""
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended meanwhile, or the machine does not allow it
            os.sched_setaffinity(int(thread), cpus)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
