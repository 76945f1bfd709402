"""What a cache on a store costs a training of TC-ResNet, where each request takes 50 ms.

The store is a process of its own on this machine: it waits before each answer, and has the objects in
memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from unittest.mock import PropertyMock, patch

from commands import command, succeeded, write_tones
from figures import Figure
from stall import FEATURES, SIGNALS, STUDENT
from watched import Watched, cached_batches, loader_of, settings_of, train_epoch

from cache_schema.reader import Cache, open_cache

REQUEST_S = 0.05
SERVER = Path(__file__).resolve().parents[1] / "helpers" / "object_server.py"


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Stalls with units read ahead, and one after the other."""
    tones = scratch / "tones"
    if not tones.exists():
        write_tones(tones, 8 if quick else 400, ragged=False)
    out = scratch / "served" / "tones.zarr"
    signals = [word for name in (*SIGNALS, FEATURES) for word in ("--signal", name)]
    teacher = ("--teacher", "toy", "--out", out, "--unit-rows", 8 if quick else 64)
    succeeded(command("precompute-teacher", f"folder:{tones}", *teacher, *signals))
    with _served(out.parent) as address:
        found = _epoch(f"{address}/{out.name}")
        with patch.object(Cache, "reads_at_once", PropertyMock(return_value=1)):
            alone = _epoch(f"{address}/{out.name}")
    yield Figure(
        what=f"stall from afar, {1000 * REQUEST_S:.0f} ms a request",
        value=100 * _behind_the_first(found),
        unit="%",
        bound="<= 2",
        against="wall time of an epoch behind its first batch",
        note=f"{100 * _behind_the_first(alone):.1f} % with one unit at a time; the first batch takes "
        f"{found.first_wall_s:.2f} s",
        details={"wall_s": found.wall_s, "first_wall_s": found.first_wall_s},
    )


def _behind_the_first(found: Watched) -> float:
    """Share of the steps' time that the trainer waited; the first batch comes once in an epoch."""
    return sum(found.waits_s) / found.wall_s


def _epoch(address: str) -> Watched:
    cache, settings = open_cache(address), settings_of(STUDENT)
    return train_epoch(
        cache, settings, cached_batches(loader_of(cache, settings, held=False), settings)
    )


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP from another process; gives its address."""
    words = [sys.executable, str(SERVER), str(folder), str(REQUEST_S)]
    with Popen(words, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/bucket"
        finally:
            process.communicate("")
