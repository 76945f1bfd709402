"""SIGINT and SIGTERM alike: the first requests that a command stop, the second ends it at once.

Wherever a command may be stopped the first raises KeyboardInterrupt in the main thread. Where a
step must stay whole it is only noted, and looked at between steps.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[None]:
    """Let both signals raise KeyboardInterrupt."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with _first_signal(interrupt):
        yield


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Let both signals be noted alone; yields a function that returns whether one came."""
    came = threading.Event()
    with _first_signal(came.set):
        yield came.is_set


@contextmanager
def _first_signal(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` at the first signal; from then on each has its default, deadly effect.

    A signal that is ignored (``nohup``) stays so; threads but the main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {n: handler for n, handler in found.items() if handler is not signal.SIG_IGN}

    def handle(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        on_signal()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
