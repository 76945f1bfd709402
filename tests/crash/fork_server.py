"""Run a command in a forked child that kills itself at its n-th touch of a folder.

The parent imports everything once and starts no thread, so a run costs a fork instead of seconds of
imports, and a kill hits the run instead of the imports.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


def forked(work: Callable[[], int | None], log: Path) -> int:
    """Start `work` in a child whose output goes to `log`; returns its process id."""
    if threading.active_count() > 1:
        raise RuntimeError(f"fork beside threads: {threading.enumerate()}")
    child = os.fork()
    if child:
        return child
    code: Any = 70
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = work() or 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def ended(child: int) -> int:
    """Wait for a child: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_each_touch(folder: Path, sources: str, act: Callable[[str], None]) -> None:
    """Call `act` with the path before each thing that this process does to a path below `folder`.

    That is each file opened for writing or by its descriptor (as for fsync), each folder made, name
    changed and object removed, and each file below its subfolder `sources` opened at all. Python
    offers no way to undo this.
    """
    prefix = f"{folder}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in CHANGES:
            return
        path = _path(event, arguments)
        reads = event == "open" and arguments[1] is not None and not set(arguments[1]) & set("wax+")
        if path.startswith(f"{prefix}{sources}" if reads else prefix):
            act(path.removeprefix(prefix))

    sys.addaudithook(hook)


def _path(event: str, arguments: tuple[Any, ...]) -> str:
    """Where an event happens; ``shutil.rmtree`` names entries below an open folder."""
    named = arguments[0]
    if isinstance(named, int):
        return ""
    path = os.fsdecode(named)
    place = arguments[-1] if event in {"os.remove", "os.rmdir"} else -1
    if isinstance(place, int) and place >= 0 and not os.path.isabs(path):
        return os.path.join(os.readlink(f"/proc/self/fd/{place}"), path)
    return path


def kill_myself() -> None:
    """Die as by ``kill -9``: nothing is flushed and nothing is cleared away."""
    os.kill(os.getpid(), signal.SIGKILL)
