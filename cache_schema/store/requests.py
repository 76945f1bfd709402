"""Requests that a signal can end: a library in Rust or C would go on waiting for minutes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import wait
from functools import lru_cache
from typing import TypeVar

from cache_schema.command_line.interrupts import is_overdue

_LOOK_S = 0.2

Result = TypeVar("Result")


def answered(request: Callable[[], Awaitable[Result]]) -> Result:
    """Wait for the answer to a request, in any thread.

    Parameters
    ----------
    request : callable
        Makes it; called in the thread of an event loop.

    Raises
    ------
    KeyboardInterrupt
        If a signal has requested that the command stop, and the answer does not come. The request is
        given up.
    """

    async def made() -> Result:
        return await request()

    began_s = time.monotonic()
    future = asyncio.run_coroutine_threadsafe(made(), _loop(os.getpid()))
    try:
        while not wait([future], _LOOK_S).done:
            if is_overdue(began_s):
                raise KeyboardInterrupt
    except BaseException:
        future.cancel()
        raise
    return future.result()


@lru_cache
def _loop(_process: int) -> asyncio.AbstractEventLoop:
    """The loop of a process, in a thread that its end does not wait for."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="aftersound-answers", daemon=True).start()
    return loop
