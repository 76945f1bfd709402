"""Windows cover every sample of a recording, however its samples come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fuzzing import fuzzing
from hypothesis import given
from hypothesis import strategies as st

from student.predict.windows import Window, cut


def blocks_of(samples_S: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """The samples in blocks of these sizes, over and over."""
    first = turn = 0
    while first < len(samples_S):
        size = sizes[turn % len(sizes)]
        yield samples_S[first : first + size]
        first, turn = first + size, turn + 1


cases = {
    "total": st.integers(0, 300),
    "window": st.integers(1, 60),
    "sizes": st.lists(st.integers(1, 90), min_size=1, max_size=4),
}


def windows(total: int, window: int, hop: int, sizes: list[int], **how: bool) -> list[Window]:
    samples_S = np.arange(total, dtype=np.float32)
    found = list(cut(blocks_of(samples_S, sizes), window, hop, **how))
    for one in found:  # the samples of a window are those of its place
        np.testing.assert_array_equal(one.samples_S, samples_S[one.first :][: len(one.samples_S)])
        assert len(one.samples_S) == min(window, total)
    return found


@fuzzing(400)
@given(share=st.floats(0.01, 1), **cases)
def test_every_sample_is_in_a_window(
    total: int, window: int, sizes: list[int], share: float
) -> None:
    hop = max(1, round(window * share))
    found = windows(total, window, hop, sizes)
    decoded = {place for one in found for place in range(one.first, one.first + len(one.samples_S))}
    assert decoded == set(range(total))
    firsts = [one.first for one in found]
    assert firsts == sorted(set(firsts))
    assert all(first == n * hop for n, first in enumerate(firsts[:-1]))


@fuzzing(300)
@given(hop=st.integers(1, 120), **cases)
def test_blocks_make_no_difference(total: int, window: int, sizes: list[int], hop: int) -> None:
    for to_the_end in (True, False):
        found = windows(total, window, hop, sizes, to_the_end=to_the_end)
        whole = windows(total, window, hop, [max(1, total)], to_the_end=to_the_end)
        assert [one.first for one in found] == [one.first for one in whole]


@fuzzing(300)
@given(hop=st.integers(1, 120), **cases)
def test_frames_are_whole_windows_only(total: int, window: int, sizes: list[int], hop: int) -> None:
    found = windows(total, window, hop, sizes, to_the_end=False)
    wanted = 1 + (total - window) // hop if total >= window else min(total, 1)
    assert [one.first for one in found] == [n * hop for n in range(wanted)]


@fuzzing(100)
@given(hop=st.integers(1, 60), window=st.integers(1, 60), block=st.integers(1, 90))
def test_a_window_comes_as_soon_as_its_last_sample_has(hop: int, window: int, block: int) -> None:
    given_samples = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal given_samples
        for block_S in blocks_of(np.zeros(400, np.float32), [block]):
            given_samples += len(block_S)
            yield block_S

    for one in cut(counted(), window, hop, to_the_end=False):
        assert given_samples < one.first + len(one.samples_S) + block
