"""This machine's names and numbers in the network: host name, address, interface, a free port. Sends no packet."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence

from uer_ds.launch.place import LOOPBACK


def host_name(environ: Mapping[str, str]) -> str:
    """What people call this machine: SLURM's name of the node, else the host name."""
    return environ.get("SLURMD_NODENAME") or socket.gethostname()


def address_towards(address: str) -> str:
    """The own address that packets to `address` would carry; raises OSError where no route leads there."""
    family, kind, protocol, _, where = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(where)
        return str(probe.getsockname()[0])


def own_address() -> str:
    """The address of this machine on the interface that leads outside."""
    try:
        return address_towards("192.0.2.1")  # TEST-NET-1 (RFC 5737): routed, never reached
    except OSError:
        return socket.gethostbyname(socket.gethostname())


def networks() -> list[str]:
    """The IPv4 addresses of this machine with their networks, loopback left out: ["10.0.0.7/24", ...]."""
    import psutil

    return [
        f"{entry.address}/{entry.netmask}"
        for name, entries in sorted(psutil.net_if_addrs().items())
        for entry in entries
        if entry.family == socket.AF_INET and not entry.address.startswith("127.")
    ]


def shared_address(of_all: Sequence[Sequence[str]]) -> str | None:
    """The address of the first machine in a network that all have a part in; `of_all`: `networks()` of every rank.

    None when there is none. A network where another machine has the very same address is a bridge of its own (docker0).
    """
    others = [[ipaddress.ip_interface(text).ip for text in texts] for texts in of_all if texts != of_all[0]]
    for text in of_all[0]:
        ours = ipaddress.ip_interface(text)
        if all(any(ip in ours.network and ip != ours.ip for ip in theirs) for theirs in others):
            return str(ours.ip)
    return None


def interface_towards(address: str) -> str | None:
    """The network interface that leads to `address`; None for this machine alone (loopback) or when nobody knows.

    Gloo, left alone, takes the address that the host name resolves to, which on Debian is 127.0.1.1.
    """
    import psutil

    try:
        ours = address_towards(address)
    except OSError:
        return None
    if ipaddress.ip_address(ours.partition("%")[0]).is_loopback:
        return None
    for name, addresses in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == ours for entry in addresses):
            return str(name)
    return None


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
