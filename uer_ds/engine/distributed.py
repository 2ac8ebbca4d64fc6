"""The process group: starting it, agreeing in it, leaving it.

Two planes: gradients travel by DeepSpeed (NCCL on GPUs); small facts (label counts, stop wishes) travel by `Group`,
over gloo and CPU tensors, so that agreeing never waits for a GPU.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

import uer_ds
from uer_ds.engine.ops_cache import use_ops_cache
from uer_ds.errors import UserError
from uer_ds.launch.place import LOOPBACK, Place

T = TypeVar("T")


class Group:
    """All processes of a run, talking about small things. Every method is collective: all ranks call it, in the same
    order."""

    def __init__(self, place: Place, timeout: timedelta):
        self.place = place
        gloo_is_default = dist.get_backend() == "gloo"
        self._group = None if gloo_is_default else dist.new_group(backend="gloo", timeout=timeout)

    def sum(self, values: Sequence[float] | torch.Tensor) -> torch.Tensor:
        """Element-wise sum over all ranks, float64 on the CPU. Integers up to 2**53 stay exact."""
        total = torch.as_tensor(values, dtype=torch.float64).cpu().clone()
        if self.place.world_size > 1:
            dist.all_reduce(total, group=self._group)
        return total

    def on_first(self, work: Callable[[], T]) -> T:
        """Let rank 0 do `work`; every rank gets its result, or its `UserError`. Nobody waits for a rank that failed."""
        result, mistake = None, None
        if self.place.is_first:
            try:
                result = work()
            except UserError as error:
                mistake = str(error)
        result, mistake = self.broadcast((result, mistake))
        if mistake is not None:
            raise UserError(mistake)
        return result  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.place.world_size > 1:
            dist.barrier(group=self._group)

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.place.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]


@contextmanager
def joined(place: Place, timeout_minutes: float = 30.0) -> Iterator[Group]:
    """Be in the process group that `place` describes inside the `with` block; chooses device and threads.

    Raises UserError when rank 0's port is taken or the others cannot be reached.
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
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield _start(place, address, port, timedelta(minutes=timeout_minutes))
    finally:
        _stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(place: Place, address: str, port: int, timeout: timedelta) -> Group:
    use_ops_cache()
    _use_cores(place.local_world_size)
    accelerator = get_accelerator()
    if accelerator.device_name() != "cpu":
        if place.local_rank >= accelerator.device_count():
            raise UserError(
                f"{place.local_world_size} processes on this machine, but {accelerator.device_count()} "
                f"{accelerator.device_name()} devices; start no more processes than devices, or set DS_ACCELERATOR=cpu."
            )
        accelerator.set_device(place.local_rank)
    try:
        deepspeed.init_distributed(
            dist_backend=accelerator.communication_backend_name(),
            timeout=timeout,
            auto_mpi_discovery=False,
            verbose=False,
        )
    except (dist.DistNetworkError, dist.DistStoreError, RuntimeError) as error:
        raise _network_error(error, address, port) from error
    return Group(place, timeout)


def _stop() -> None:
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError):  # peers may be gone already: nothing is left to agree on
            dist.destroy_process_group()


def device() -> torch.device:
    """The device of this process."""
    accelerator = get_accelerator()
    if accelerator.device_name() == "cpu":
        return torch.device("cpu")
    return torch.device(accelerator.current_device_name())


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    return {
        "uer_ds": uer_ds.__version__,
        "torch": torch.__version__,
        "deepspeed": deepspeed.__version__,
        "python": platform.python_version(),
    }


def _rendezvous(place: Place) -> tuple[str, int]:
    if place.world_size == 1:
        return place.address or LOOPBACK, place.port or _free_port()
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
    answer = MPI.COMM_WORLD.bcast((_own_address(), _free_port()) if MPI.COMM_WORLD.Get_rank() == 0 else None, root=0)
    return answer


def _own_address() -> str:
    """The address of this machine on the interface that leads outside; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737): routed, never reached
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostbyname(socket.gethostname())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def _use_cores(local_world_size: int) -> None:
    """Share this machine's cores between its processes, unless the user has said how many threads to use."""
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is None or (chosen == "1" and "TORCHELASTIC_RUN_ID" in os.environ):  # torchrun's habit, nobody's choice
        share = (os.cpu_count() or 1) // local_world_size
        torch.set_num_threads(max(1, min(len(os.sched_getaffinity(0)), share)))


def _network_error(error: Exception, address: str, port: int) -> Exception:
    text = str(error)
    if "EADDRINUSE" in text or "ddress already in use" in text:
        return UserError(
            f"port {port} on {address} is in use, so the processes cannot meet there; choose another one "
            "(deepspeed --master_port, torchrun --master-port, or the variable MASTER_PORT)."
        )
    if isinstance(error, (dist.DistNetworkError, dist.DistStoreError)):
        first = text.splitlines()[0]
        return UserError(f"rank 0 at {address}:{port} cannot be reached ({first}); check address, port and firewall.")
    return error
