"""Work on a stranger's file tried in a child process: a library in C may crash over it, or never end.

A signal reaches no such library either, as it holds the interpreter.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

_LOOK_S = 0.005


def problem_apart(work: Callable[[], object], within_s: float) -> str:
    """Find out whether work comes to an end; what it returns or raises is left to whoever does it.

    Parameters
    ----------
    work : callable
        Changes nothing outside the process.
    within_s : float
        What it may take.

    Returns
    -------
    str
        Why it cannot be done here; empty if it can.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    until_s = time.monotonic() + within_s
    try:
        while time.monotonic() < until_s:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                child = 0
                number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                return f"reading it ends the process ({signal.strsignal(number)})" if number else ""
            time.sleep(_LOOK_S)
        return f"reading it comes to no end within {within_s:g} s"
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
