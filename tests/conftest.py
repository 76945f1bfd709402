"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import command_server
import pytest

# What is imported stays; the collector would walk over it time and again, until collection has ended.
gc.disable()

# Before torch is imported: on a shared machine threads that spin are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and every command they run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Caches are many small files, each written with fsync: on a disk most of the time of many tests.
MEMORY_DISK = Path("/dev/shm")
ROOM_BYTES = 4 << 30  # all tests take about 1 GB
if MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > ROOM_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_DISK))

# Without bytecode (as in many containers) each of hundreds of commands would compile all its modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Start what commands are forks of, once for all workers: they have its address from here."""
    if not hasattr(config, "workerinput"):
        whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        command_server.start(imports_all=whole)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # tracing makes millions of small objects, few of them garbage
    gc.enable()


@pytest.fixture(scope="session")
def operators_once() -> None:
    """Let exports in this process share their list of operators."""
    import listed_operators  # noqa: F401 - for its effect, and torch.onnx only where it is used


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real audio and pretrained encoders; the test skips where it is absent."""
    folder = Path(os.environ.get("AFTERSOUND_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(
            f"needs real data: no {folder.name}/data beside the repository (AFTERSOUND_SHARED)"
        )
    return folder
