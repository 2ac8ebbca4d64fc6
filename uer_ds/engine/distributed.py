"""The process group: starting it, being watched in it, leaving it.

Gradients travel in it by DeepSpeed (NCCL on GPUs), small facts by `engine.group.Group`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import deepspeed
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

from uer_ds.engine.cores import use_cores
from uer_ds.engine.group import Group
from uer_ds.engine.malloc import keep_freed_memory
from uer_ds.engine.ops_cache import must_compile, use_ops_cache
from uer_ds.engine.quiet import only_news_printed
from uer_ds.engine.shared_buffers import forget_buffer
from uer_ds.errors import INTERRUPTED, USER_MISTAKE, UserError
from uer_ds.launch.address import free_port, host_name, interface_towards, networks, own_address, shared_address
from uer_ds.launch.meeting import open_hub, open_spoke
from uer_ds.launch.place import LOOPBACK, Place
from uer_ds.launch.watch import Watch
from uer_ds.storage.disk import disk_errors


@contextmanager
def joined(place: Place, network_timeout_seconds: float = 60.0, timeout_minutes: float = 30.0) -> Iterator[Group]:
    """Be in the process group that `place` describes inside the `with` block; chooses device and threads.

    A rank that dies or is cut off for `network_timeout_seconds` ends all the others with `PEER_LOST`; a collective that
    hangs for another reason fails after `timeout_minutes`, and so does a meeting to which somebody does not come.
    Raises UserError when rank 0's port is taken or the others cannot be reached, and for a disk that is full or gone.
    """
    address, port = _rendezvous(place)
    variables = {  # what torch's env:// rendezvous and DeepSpeed read
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.local_rank),
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_SIZE": str(place.local_world_size),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }
    with _variables(variables), _explained(address, port):
        store = _store(place, address, port, timedelta(minutes=timeout_minutes))
        watch = _watch(place, address, store, network_timeout_seconds, 60 * timeout_minutes)
    with _variables(variables), _watched(watch):
        try:
            with _explained(address, port):
                group = _start(place, address, port, timedelta(minutes=timeout_minutes))
            with disk_errors():
                yield group
        finally:
            _stop()


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _explained(address: str, port: int) -> Iterator[None]:
    try:
        yield
    except (dist.DistNetworkError, dist.DistStoreError, RuntimeError) as error:
        raise _network_error(error, address, port) from error


@contextmanager
def _watched(watch: Watch | None) -> Iterator[None]:
    """Tell the others how this rank ends; an error that only echoes a peer's end gives way to the watch's sentence."""
    if watch is None:
        yield
        return
    try:
        yield
    except UserError as error:
        watch.fail(USER_MISTAKE, str(error))
        raise
    except Exception as error:
        watch.settle()
        watch.fail(1, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]} (its traceback is in its log)")
        raise
    except KeyboardInterrupt:
        watch.fail(INTERRUPTED, "interrupted")
        raise
    except SystemExit:  # DeepSpeed's autotuner ends its experiments so, on all ranks in the same update
        watch.close()
        raise
    else:
        watch.close()


def _store(place: Place, address: str, port: int, timeout: timedelta) -> dist.Store | None:
    """Where the ranks find each other: rank 0's (torch's env:// will share it), or that of torchrun's agent."""
    if place.world_size == 1:
        return None
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store = dist.TCPStore(address, port, place.world_size, False, timeout)
        return dist.PrefixStore(f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return dist.TCPStore(
        address, port, place.world_size, place.is_first, timeout, wait_for_workers=False, multi_tenant=True
    )


def _watch(
    place: Place, address: str, store: dist.Store | None, timeout_seconds: float, meeting_seconds: float
) -> Watch | None:
    """Wait until all are here, each linked to rank 0; None in a run of one process."""
    if store is None:
        return None
    host = host_name(os.environ)
    if place.is_first:
        listener = socket.create_server(("", 0), backlog=place.world_size)
        token = secrets.token_hex(16)
        store.set("watch", f"{listener.getsockname()[1]} {token}")
        return open_hub(listener, place.world_size, host, token, timeout_seconds, meeting_seconds)
    watch_port, token = store.get("watch").decode().split()
    hub = (address, int(watch_port))
    return open_spoke(hub, place.rank, place.world_size, host, token, timeout_seconds, meeting_seconds)


def _start(place: Place, address: str, port: int, timeout: timedelta) -> Group:
    ops_folder = use_ops_cache()
    accelerator = get_accelerator()
    on_cpu = accelerator.device_name() == "cpu"
    if on_cpu:
        keep_freed_memory()
        if ops_folder and place.local_rank == 0 and must_compile(ops_folder):
            print("DeepSpeed compiles a C++ part, once on this machine: up to a minute ...", flush=True)
    elif place.local_rank >= accelerator.device_count():
        raise UserError(
            f"{place.local_world_size} processes on this machine, but {accelerator.device_count()} "
            f"{accelerator.device_name()} devices; start no more processes than devices (under srun, let every "
            "task see all of them: --gpus-per-node, not --gpus-per-task), or set DS_ACCELERATOR=cpu."
        )
    else:
        accelerator.set_device(place.local_rank)
    if place.world_size > 1 and "GLOO_SOCKET_IFNAME" not in os.environ and (name := interface_towards(address)):
        os.environ["GLOO_SOCKET_IFNAME"] = name
    with only_news_printed():
        deepspeed.init_distributed(
            dist_backend=accelerator.communication_backend_name(),
            timeout=timeout,
            auto_mpi_discovery=False,
            verbose=False,
        )
    group = Group(place, timeout)
    use_cores(group, bind=on_cpu)
    group.barrier()
    forget_buffer(place.rank, address, port)
    return group


def _stop() -> None:
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError):  # peers may be gone already: nothing is left to agree on
            dist.destroy_process_group()


def _rendezvous(place: Place) -> tuple[str, int]:
    if place.world_size == 1:
        return place.address or LOOPBACK, place.port or free_port()
    if place.address:
        return place.address, place.port
    return _ask_mpi()


def _ask_mpi() -> tuple[str, int]:
    """MPI over several machines: rank 0 tells everybody its address and a free port."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise UserError(
            "mpirun over several machines needs mpi4py to find the address of rank 0; "
            "install it (`pip install mpi4py`) or set MASTER_ADDR and MASTER_PORT."
        ) from error
    world = MPI.COMM_WORLD
    of_all = world.allgather(networks())
    return world.bcast((shared_address(of_all) or own_address(), free_port()), root=0)


def _network_error(error: Exception, address: str, port: int) -> Exception:
    text = str(error)
    if "Error building extension" in text and "interrupted" in text:
        return UserError("stopped while DeepSpeed compiled its C++ parts; the next start compiles them.")
    if "Error building extension" in text:
        return UserError(
            f"DeepSpeed cannot compile its C++ parts here ({text.splitlines()[0]}); install a C++ compiler and ninja, "
            "or set CXX: `uer-ds doctor` tries them."
        )
    if "EADDRINUSE" in text or "ddress already in use" in text:
        return UserError(
            f"port {port} on {address} is in use, so the processes cannot meet there; choose another one "
            "(deepspeed --master_port, torchrun --master-port, or the variable MASTER_PORT)."
        )
    if isinstance(error, (dist.DistNetworkError, dist.DistStoreError)):
        first = text.splitlines()[0]
        return UserError(f"rank 0 at {address}:{port} cannot be reached ({first}); check address, port and firewall.")
    return error
