"""The machines that a run is planned for: presets from public data sheets, every figure open to an option.

Bandwidths are GB (10^9 bytes) a second in one direction. Peaks are dense products without sparsity, in bfloat16 where
the card has it, else in float16.
"""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.errors import unknown_name
from uer_ds.plan.division import FULL


@dataclass(frozen=True)
class Device:
    """One accelerator: memory in GB (10^9 bytes), peaks in TFLOP/s in low precision and in float32, bandwidths in GB/s
    of its own memory, inside a node and of the network of a whole node."""

    memory_gb: float
    tflops: float
    float32_tflops: float
    memory_bandwidth_gb: float
    node_bandwidth_gb: float
    network_bandwidth_gb: float
    kind: str = "gpu"


# NVIDIA's data sheets: "NVIDIA H100 Tensor Core GPU" (SXM5: 989 TFLOP/s bfloat16 dense, 3.35 TB/s, NVLink 900 GB/s both
# ways); "NVIDIA H200" (141 GB, 4.8 TB/s, the rest as H100); "NVIDIA A100" (SXM: 312 TFLOP/s, 1,555 GB/s with 40 GB and
# 2,039 with 80, NVLink 600 GB/s both ways); "NVIDIA V100" (SXM2, 32 GB: 125 TFLOP/s float16, 900 GB/s, NVLink 300 GB/s
# both ways); "NVIDIA Ada GPU Architecture" (RTX 4090: 165.2 TFLOP/s bfloat16 with float32 sums, 1,008 GB/s; PCIe 4.0
# x16: 32 GB/s). float32 is that outside of tensor cores. The network is one adapter a node, of the card's time: 400,
# 200 or 100 Gb/s; 10 Gb/s beside a 4090. "cpu" has no data sheet: a process of a small server, a guess that
# `uer-ds doctor` and bench/train.py measure.
DEVICES = {
    "h100": Device(80, 989.4, 67, 3350, 450, 50),
    "h200": Device(141, 989.4, 67, 4800, 450, 50),
    "a100-40": Device(40, 312, 19.5, 1555, 300, 25),
    "a100-80": Device(80, 312, 19.5, 2039, 300, 25),
    "v100": Device(32, 125, 15.7, 900, 150, 12.5),
    "4090": Device(24, 165.2, 82.6, 1008, 32, 1.25),
    "cpu": Device(16, 0.2, 0.1, 10, 2, 1.25, "cpu"),
}

HOST_LINK_GB = 25.0
"""GB/s between a GPU and the host's memory (PCIe 4.0 x16, less what transfers lose), for offloading."""

HOST_MEMORY_GB = 100.0
"""GB/s of a node's memory under an optimizer on the CPU, shared by its processes; servers have 100 to 400."""

EFFICIENCY = 0.4
"""Share of the peak that products of a whole run reach: published runs of large transformers say 0.3 to 0.55 (Narayanan
et al. 2021; Chowdhery et al. 2022); narrow models less. Not measured here."""


@dataclass(frozen=True)
class Cluster:
    """`nodes` machines of `per_node` processes each; `price`: for an hour of one device, None: unknown."""

    name: str
    device: Device
    nodes: int = 1
    per_node: int = 1
    efficiency: float = EFFICIENCY
    price: float | None = None

    def flops(self, width: int) -> float:
        """Operations a second that products reach with numbers of `width` bytes."""
        peak = self.device.float32_tflops if width == FULL else self.device.tflops
        return self.efficiency * peak * 1e12

    @property
    def processes(self) -> int:
        """Of the whole run."""
        return self.nodes * self.per_node


def device(name: str) -> Device:
    """The preset called `name`."""
    if name not in DEVICES:
        raise unknown_name("--gpu", name, DEVICES)
    return DEVICES[name]
