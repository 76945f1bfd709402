"""One writer at a time: a lock file beside what is being written, a cache or the folder of a run.

The kernel holds the lock (``flock``) and drops it with its owner, so a dead owner never blocks
the next one. The file names the owner; a lock of another host is never broken silently, because
not every network file system passes such locks on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache_schema.errors import RunError, UsageError
from cache_schema.store.address import CachePath
from cache_schema.store.cloud import check_conditional_writes
from cache_schema.store.files import named_in_errors

MAX_LOCK_BYTES = 4096
POLL_S = 0.2


@contextmanager
def write_lock(target: CachePath, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the write lock of a cache or of a run's folder.

    A store has none: there conditions of each request keep writers from losing each other's objects,
    and whether it keeps to them is tried first.

    Parameters
    ----------
    target : CachePath
        What is to be written.
    wait_s : float
        How long to wait for another owner.

    Raises
    ------
    UsageError
        If the target has no name: ``/``.
    RunError
        Kind ``"locked"`` when another living process, or another host, holds it; ``"store"`` if a
        store ignores conditions.
    """
    if not isinstance(target, Path):
        check_conditional_writes(target)
        yield
        return
    target = target.resolve()  # one lock under whatever name, "." too
    if not target.name:
        raise UsageError(
            f"{target} cannot be written: it is no folder with a name. Choose another --out.",
            kind="out",
        )
    path = target.with_name(f"{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire_within(path, wait_s)
    try:
        try:
            _write_owner(descriptor, path)
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _acquire_within(path: Path, wait_s: float) -> int:
    """Lock the file, after its owner where that ends in time."""
    until_s = time.monotonic() + wait_s
    while True:
        try:
            descriptor = _acquire(path)
            owner = _owner(descriptor)
            if owner.get("host") in (None, socket.gethostname()):
                return descriptor
            os.close(descriptor)
            raise _locked(path, owner)
        except RunError as error:
            if error.kind != "locked" or time.monotonic() >= until_s:
                raise
        time.sleep(POLL_S)


def _write_owner(descriptor: int, path: Path) -> None:
    mine = {"host": socket.gethostname(), "pid": os.getpid()}
    with named_in_errors(path):
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(mine).encode(), 0)


def _acquire(path: Path) -> int:
    """Lock the file that lies at `path` now, not one that its last owner just removed."""
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise _locked(path, owner) from None
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the lock file; a link leads elsewhere, and a pipe would be waited for."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise _no_lock(path) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return descriptor


def _no_lock(path: Path) -> RunError:
    return RunError(
        f"{path} is a link or no plain file, so nothing is written. Delete it, and repeat the command.",
        kind="link",
    )


def _owner(descriptor: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, MAX_LOCK_BYTES, 0))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _locked(path: Path, owner: dict[str, Any]) -> RunError:
    process = f"process {owner['pid']}" if "pid" in owner else "another process"
    host = f" on host {owner['host']!r}" if "host" in owner else ""
    return RunError(
        f"{path.with_suffix('')} is being written by {process}{host}. Wait for it; if that process "
        f"is gone, delete {path} and repeat the command.",
        kind="locked",
    )
