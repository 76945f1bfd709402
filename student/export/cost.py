"""What a form costs a device: parameters, multiply-accumulates, peak of activations, and time."""

from __future__ import annotations

import os
import platform
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

MAX_RUNS, MAX_SECONDS, WARM_UP_RUNS = 200, 2.0, 3
CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time of one run on one thread, in milliseconds."""

    p50_ms: float
    p95_ms: float
    runs: int

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def count_parameters(module: nn.Module) -> int:
    """Weights of a form, normalisation folded; the front end's tables are none."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def count_macs(module: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Multiply-accumulates of convolutions and matrix products of one run; the rest is not counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops()) // 2


@torch.no_grad()
def peak_activation_bytes(module: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Most bytes that inputs, intermediate values and outputs take at one time, op by op in torch."""
    kept = [*module.parameters(), *module.buffers()]
    with sdpa_kernel(SDPBackend.MATH), _LiveBytes(kept, inputs) as live:
        module(*inputs)
    peak: int = live.peak
    return peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that are alive, weights left out."""

    def __init__(self, kept: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = {tensor.untyped_storage()._cdata for tensor in kept}
        self._bytes: dict[int, int] = {}
        self.peak = 0
        for tensor in inputs:
            self._note(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self._note(value)
        return made

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._kept or key in self._bytes:
            return
        self._bytes[key] = storage.nbytes()
        weakref.finalize(storage, self._bytes.pop, key, None)
        self.peak = max(self.peak, sum(self._bytes.values()))


def measure_latency(run: Callable[[], object]) -> Latency:
    """Time a run again and again, after a few that are not counted."""
    for _ in range(WARM_UP_RUNS):
        run()
    seconds: list[float] = []
    while len(seconds) < MAX_RUNS and sum(seconds) < MAX_SECONDS:
        began = perf_counter()
        run()
        seconds.append(perf_counter() - began)
    p50_s, p95_s = np.percentile(seconds, [50, 95])
    return Latency(p50_ms=float(1e3 * p50_s), p95_ms=float(1e3 * p95_s), runs=len(seconds))


def machine() -> dict[str, Any]:
    """Describe what a latency depends on beside the file."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": 1,
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    if CPU_FACTS.exists():
        for line in CPU_FACTS.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
