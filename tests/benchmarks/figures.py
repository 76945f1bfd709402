"""What a benchmark reports: figures of one run, each beside the bound it is held to."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
LIBRARIES = ("torch", "transformers", "numpy", "zarr")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes
    ----------
    what : str
        The case, as the table names it.
    value : float or None
        None when the case was left out; then `note` explains why.
    unit : str
        ``"x"`` for a ratio, ``"%"``, ``"s"``, ``"MB"``, ``"clips/s"``.
    bound : str
        ``">= 0.90"`` or ``"<= 1"``; empty for a figure that is shown and held to nothing.
    against : str
        What a ratio is a ratio to.
    note : str
        Why a figure is missing, or what limits it.
    details : mapping
        Raw values behind the figure, for the JSON file.
    """

    what: str
    value: float | None
    unit: str
    bound: str = ""
    against: str = ""
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool | None:
        """Whether the bound holds; None without a bound or a value."""
        if not self.bound or self.value is None:
            return None
        sign, limit = self.bound.split()
        return self.value >= float(limit) if sign == ">=" else self.value <= float(limit)


def interleaved(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each case once a round, in turn, so that a busy moment hits all; seconds of each round.

    One round before is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            began = clock()
            run()
            if number:
                seconds[name].append(clock() - began)
    return seconds


def median(values: Sequence[float]) -> float:
    """Middle value."""
    return statistics.median(values)


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
