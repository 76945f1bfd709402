"""kill -9 at random moments: the repeated command gives the bytes of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import command, plain_environment, script, succeeded, write_tones
from small_cache import tree_bytes

from cache_schema.errors import AftersoundError
from cache_schema.reader import open_cache
from cache_schema.verify import verify

KILLS = int(os.environ.get("AFTERSOUND_KILLS", "5"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=30)


def arguments(corpus: Path, out: Path) -> list[str]:
    options = ["--teacher", "toy", "--unit-rows", "2", "--signal", "layer_attention"]
    return [f"folder:{corpus}", "--out", str(out), *options]


def test_a_killed_run_repeated_equals_an_undisturbed_one(corpus: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    started = time.monotonic()
    succeeded(command("precompute-teacher", *arguments(corpus, whole)))
    duration_s = time.monotonic() - started
    wanted = tree_bytes(whole)
    generator = random.Random(KILLS)
    out, interrupted = tmp_path / "killed", 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [script("precompute-teacher"), *arguments(corpus, out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=plain_environment(),
        )
        try:
            # From the moment the imports are over to the end.
            process.wait(timeout=generator.uniform(0.3, 0.95) * duration_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            interrupted += 1
        look(out)
    assert interrupted > 0
    succeeded(command("precompute-teacher", *arguments(corpus, out)))
    assert tree_bytes(out) == wanted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "whole"]


def look(out: Path) -> None:
    """Whatever a kill leaves, a reader sees a whole cache or a clear refusal, never damage."""
    if not out.exists():
        return
    assert verify(out) == []
    refusal = None
    try:
        open_cache(out)
    except AftersoundError as error:
        refusal = error.kind
    assert refusal in (None, "unfinished")


def test_a_dask_worker_killed_on_the_way_changes_no_byte(corpus: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    succeeded(command("precompute-teacher", *arguments(corpus, whole)))
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [script("precompute-teacher"), *arguments(corpus, out), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=plain_environment(),
    )
    killed = kill_a_worker(process.pid, out)
    _, errors = process.communicate(timeout=300)
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
