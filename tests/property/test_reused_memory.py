"""Memory of chunks is used again, but never while an array still lies in it."""

from __future__ import annotations

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.store.arrays import BufferPool


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 5)), min_size=1, max_size=40))
def test_what_is_still_held_is_never_overwritten(steps: list[tuple[int, int]]) -> None:
    memory, held = BufferPool(), []
    for number, (size, forget) in enumerate(steps):
        lease = memory.acquire(size)
        lease[:] = number
        part = lease[: size // 2 + 1].view(np.uint8).reshape(-1)[::1]  # what is kept is a view
        held.append((number, part))
        del lease, part
        del held[: min(forget, len(held) - 1)]
        for written, values in held:
            assert (values == written).all()


def test_memory_comes_back_when_the_last_view_is_gone() -> None:
    memory = BufferPool()
    lease = memory.acquire(100)
    where = lease.ctypes.data
    row = lease[10:20].view(np.float16)
    del lease
    assert memory.acquire(100).ctypes.data != where
    del row
    gc.collect()
    assert where in {memory.acquire(100).ctypes.data, memory.acquire(100).ctypes.data}
