"""kill -9 at random moments: the repeated command gives the bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from commands import Started, command, succeeded, write_tones
from kill_loop import kill_loop
from small_cache import tree_bytes

KILLS = int(os.environ.get("AFTERSOUND_KILLS", "2"))
OPTIONS = ["--teacher", "toy", "--unit-rows", "2", "--signal", "layer_attention"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{write_tones(tmp_path_factory.mktemp('corpus') / 'tones', per_class=10)}"


def test_a_killed_run_repeated_equals_an_undisturbed_one(corpus: str, tmp_path: Path) -> None:
    finished, units = kill_loop(corpus, OPTIONS, tmp_path, KILLS)
    assert finished > 0
    assert units == 25


def test_a_dask_worker_killed_on_the_way_changes_no_byte(corpus: str, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    succeeded(command("precompute-teacher", corpus, "--out", whole, *OPTIONS))
    words = (corpus, "--out", out, *OPTIONS, "--workers", 2)
    with Started("precompute-teacher", *words) as process:
        killed = kill_a_worker(process.pid, out)
        _, errors = process.communicate()
    assert killed, "the run ended before a worker was seen at work"
    assert process.returncode == 0, errors
    assert tree_bytes(out) == tree_bytes(whole)


def kill_a_worker(parent: int, out: Path) -> bool:
    """Wait for the first committed unit, then kill -9 one of the processes that hold a teacher."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if list(out.glob("parts/*/commits/*.json")):
            workers = [pid for pid in descendants(parent) if "spawn_main" in command_line(pid)]
            if workers:
                os.kill(workers[-1], signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


def descendants(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for path in lists for child in path.read_text().split()]
    return [d for child in children for d in [child, *descendants(child)]]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""
