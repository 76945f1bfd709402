"""How much a teacher's attention holds about *when*: how far its attention is from a flat one.

    python tests/experiments/flatness.py CACHE [CACHE ...]

Prints for each cache the Kullback-Leibler divergence of the cached temporal attention from a flat curve,
in nats, a mean over the test clips. With 0 there is nothing that temporal distillation could teach.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cache_schema.reader import Cache, open_cache

ATTENTION = "temporal_attention"


def divergences(cache: Cache) -> list[float]:
    """One number for each test clip."""
    found = []
    for unit in cache.units("test", view=0):
        rows = cache.read_unit(unit, [ATTENTION])
        for row in range(len(rows.clip)):
            weights_T = rows.signals[ATTENTION][row].astype(np.float64)
            weights_T = weights_T[weights_T > 0] / weights_T.sum()
            frames = len(rows.signals[ATTENTION][row])
            found.append(float((weights_T * np.log(weights_T * frames)).sum()))
    return found


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        print(f"{path}: {np.mean(divergences(open_cache(path))):.3f} nats")
