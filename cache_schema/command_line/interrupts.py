"""SIGINT and SIGTERM alike: the first requests that a command stop, the second ends it at once.

Wherever a command may be stopped the first raises KeyboardInterrupt in the main thread. Where a
step must stay whole it is only noted, and looked at between steps. What waits for others, for minutes
if need be, asks from then on whether to give up.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# How long a step that must stay whole waits for another machine once it is to stop.
GRACE_S = 2.0


@dataclass(slots=True)
class _Stop:
    """When the first signal came, and whether it has raised KeyboardInterrupt; of how many blocks."""

    came_s: float | None = None
    raised: bool = False
    blocks: int = 0


_stop = _Stop()


def is_overdue(began_s: float) -> bool:
    """Whether a wait that began at a monotonic time is to be given up, as a signal has come.

    In the main thread, which ends what is in hand, after `GRACE_S`; in others at once where the main
    thread no longer waits for them.
    """
    if _stop.came_s is None:
        return False
    if _stop.raised and threading.current_thread() is not threading.main_thread():
        return True
    return time.monotonic() - max(began_s, _stop.came_s) > GRACE_S


@contextmanager
def interrupts() -> Iterator[None]:
    """Let both signals raise KeyboardInterrupt; afterwards the end of the process is quiet, too."""

    def interrupt() -> None:
        _stop.raised = True
        raise KeyboardInterrupt

    try:
        with _first_signal(interrupt), _second_ends_a_library():
            yield
    finally:
        atexit.unregister(_end_at_once)
        atexit.register(_end_at_once)


def _end_at_once() -> None:
    """Let Ctrl-C end a process that is ending, without a traceback out of what libraries do at exit.

    What is registered last is called first: before torch takes its operators apart, for a second.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _second_ends_a_library() -> Iterator[None]:
    """Let the second signal end the process, too, where the first has not been seen yet.

    Python calls handlers between its own steps, so never while a library computes for ever, as of a
    graph that somebody has made to. Another thread reads what the interpreter notes of signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    watch = threading.Thread(target=_end_at_the_second, args=(read_end,), daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write_end)
        watch.join()
        os.close(read_end)


def _end_at_the_second(notes: int) -> None:
    came = 0
    while note := os.read(notes, 1):
        came += note[0] in (signal.SIGINT, signal.SIGTERM)
        if came > 1 and _stop.came_s is None:
            os._exit(128 + note[0])


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
        _stop.came_s = time.monotonic()
        on_signal()

    for number in before:
        signal.signal(number, handle)
    _stop.blocks += 1
    try:
        yield
    finally:
        _stop.blocks -= 1
        if not _stop.blocks:
            _stop.came_s, _stop.raised = None, False
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
