"""Cut a stream of samples into windows. Shape suffix: S samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """Some samples of a recording, and the number of the first one."""

    first: int
    samples_S: NDArray[np.float32]


def cut(
    blocks: Iterable[NDArray[np.float32]], window: int, hop: int, *, to_the_end: bool = True
) -> Iterator[Window]:
    """Yield a window every `hop` samples, as soon as its last sample has come.

    Memory holds a window, a hop and a block.

    Parameters
    ----------
    blocks : iterable of float32 arrays, shape (S,)
        The recording, however it comes.
    window, hop : int
        Samples of a window, and from the first of one to the first of the next.
    to_the_end : bool
        A last window ends with the recording, as long as all others: it begins before its turn. With a
        hop no longer than a window every sample is then in a window.

    Yields
    ------
    Window
        Of `window` samples; the only one of a shorter recording has as many as there are.
    """
    held_S = np.zeros(0, np.float32)
    first = turn = end = 0  # of what is held; of the next window; of the last one
    for block_S in blocks:
        held_S = np.concatenate([held_S, block_S])
        while turn + window <= first + len(held_S):
            yield Window(turn, held_S[turn - first : turn - first + window])
            turn, end = turn + hop, turn + window
        # A last window may begin before the next one's turn.
        needed = min(turn, first + max(0, len(held_S) - window))
        held_S, first = held_S[max(0, needed - first) :], max(first, needed)
    total = first + len(held_S)
    if total > end and (to_the_end or end == 0):
        begin = max(0, total - window)
        yield Window(begin, held_S[begin - first :])
