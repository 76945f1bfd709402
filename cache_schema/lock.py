"""One writer at a time: a lock file beside the cache.

A lock whose owner died on this host is taken over; the owner is known by pid and the moment the
process started, so that a reused pid is not mistaken for it. A lock of another host is never
broken silently.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache_schema.errors import RunError


@contextmanager
def write_lock(cache: Path) -> Iterator[None]:
    """Hold the write lock of a cache.

    Raises
    ------
    RunError
        Kind ``"locked"`` when another living process, or another host, holds it.
    """
    path = cache.with_name(f"{cache.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    me = {"host": host, "pid": os.getpid(), "started": _start_time(os.getpid())}
    while not _create(path, me):
        owner = _owner(path)
        if owner is not None and _holds(owner, host):
            raise RunError(
                f"{cache} is being written by process {owner.get('pid')} on host {owner.get('host')!r}. "
                f"Wait for it; if that process is gone, delete {path} and repeat the command.",
                kind="locked",
            )
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _create(path: Path, owner: dict[str, Any]) -> bool:
    """Create the lock with its content in one step, so that no empty lock is ever seen."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(owner))
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _owner(path: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _holds(owner: dict[str, Any], host: str) -> bool:
    """Whether the owner may still be writing; always so on another host."""
    if owner.get("host") != host:
        return True
    started = _start_time(int(owner.get("pid", -1)))
    return started is not None and started == owner.get("started")


def _start_time(pid: int) -> str | None:
    """Start of a process in clock ticks since boot; where /proc is absent, whether it lives."""
    try:
        # Field 22 of stat, counted after the closing bracket of the command name.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists() or not _alive(pid):
            return None
        return "alive"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
