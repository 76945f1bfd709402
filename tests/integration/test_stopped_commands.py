"""Commands that are killed, stopped, run twice at once or given a wrong clock."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Started, command, plain_environment, succeeded, write_tones
from compare_runs import RUN_FILES, assert_same_run
from small_cache import tree_bytes
from small_finetuning import write_base

from cache_schema.integrity.verify import verify

# A hundred steps of some milliseconds: long enough to be hit inside an epoch.
STUDENT = (
    "--student",
    "tc-resnet",
    "--epochs",
    "3",
    "--batch-size",
    "1",
    "--distill",
    "temporal=0.5",
)
PRECOMPUTE = ("--teacher", "toy", "--unit-rows", "2")
KILLS = int(os.environ.get("AFTERSOUND_KILLS", "3"))
SAVES_OFTEN = """
import student.training.loop
student.training.loop.SAVE_EVERY_S = 0.02
from student.training.cli import main
main(prog_name="train-student")
"""
# queue and threading come first and keep the true clock: their waits must end.
WRONG_CLOCK = """
import itertools, queue, threading, time
past_and_future = itertools.cycle([0.0, 4e9, 1.0, 2e9])
time.time = time.monotonic = lambda: next(past_and_future)
from MODULE import main
main()
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{write_tones(tmp_path_factory.mktemp('corpus') / 'tones', 12)}"


@pytest.fixture(scope="module")
def cache(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cache") / "c.zarr"
    succeeded(command("precompute-teacher", corpus, *PRECOMPUTE, "--out", out))
    return out


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    succeeded(command("train-student", cache, *STUDENT, "--out", run))
    return run


def started_alone(program: str, *words: object) -> subprocess.Popen[str]:
    """Run a program in an interpreter of its own, whose clock no library has looked at."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plain_environment(),
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], process: Started) -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.005)


def meanwhile(first: Started, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a command while another, which is under way, stands still."""
    first.send_signal(signal.SIGSTOP)
    second = command(name, *words)
    first.send_signal(signal.SIGCONT)
    return second


def test_a_training_killed_again_and_again_gives_the_bits_of_an_undisturbed_one(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    run, generator, killed = tmp_path / "run", random.Random(KILLS), 0
    state, words = run / "training-state.pt", (cache, *STUDENT, "--out", run)
    while killed < KILLS:
        before = state.stat().st_mtime_ns if state.exists() else None
        with Started("train-student", *words, program=SAVES_OFTEN) as process:
            wait_for(lambda: state.exists() and state.stat().st_mtime_ns != before, process)  # noqa: B023
            time.sleep(generator.uniform(0, 0.4))
            process.kill()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        killed += 1
    assert killed > 0
    last = succeeded(command("train-student", *words))
    assert "continuing after" in last or "is finished" in last
    assert_same_run(run, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_stopped_by_a_signal_reports_where_and_continues_inside_the_epoch(
    cache: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    words = (cache, *STUDENT, "--out", run)
    process = Started("train-student", *words)
    wait_for((run / "tensorboard").exists, process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith("train-student: stopped after batch ")
    assert errors.endswith(f"{run} holds the state. Repeat the command to go on there.\n")
    assert not (tmp_path / "run.lock").exists()
    stopped_at = errors.split("stopped after ")[1].split(";")[0]
    last = succeeded(command("train-student", *words))
    assert f"continuing after {stopped_at}" in last
    assert_same_run(run, whole)


def test_a_run_has_one_writer_at_a_time(cache: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = (cache, *STUDENT, "--out", run)
    first = Started("train-student", *words)
    wait_for((run / "config.json").exists, first)
    second = meanwhile(first, "train-student", *words)
    assert second.returncode == 1
    assert f"{run} is being written by process {first.pid} on host" in second.stderr
    _, errors = first.communicate()
    assert (first.returncode, errors) == (0, "")
    assert_same_run(run, whole)


def test_a_cache_has_one_writer_at_a_time(corpus: str, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    words = (corpus, *PRECOMPUTE, "--out", out)
    first, lock = Started("precompute-teacher", *words), tmp_path / "c.zarr.lock"
    # Its owner's name comes after the file: one stopped between the two has no name.
    wait_for(lambda: lock.exists() and lock.stat().st_size > 0, first)
    second = meanwhile(first, "precompute-teacher", *words)
    assert second.returncode == 1
    assert f"{out} is being written by process {first.pid}" in second.stderr
    _, errors = first.communicate()
    assert first.returncode == 0, errors
    assert verify(out) == []
    assert tree_bytes(out) == tree_bytes(cache)
    assert os.listdir(tmp_path) == ["c.zarr"]


@pytest.mark.parametrize("name", ["precompute-teacher", "train-student"])
def test_a_stale_lock_stops_nobody_but_another_hosts(
    name: str, corpus: str, cache: Path, whole: Path, tmp_path: Path
) -> None:
    out, lock = tmp_path / "out", tmp_path / "out.lock"
    words: tuple[object, ...] = (
        (cache, *STUDENT) if name == "train-student" else (corpus, *PRECOMPUTE)
    )
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    refused = command(name, *words, "--out", out)
    assert refused.returncode == 1
    assert "is being written by process 7 on host 'elsewhere'" in refused.stderr
    assert f"delete {lock} and repeat the command" in refused.stderr
    assert not out.exists()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1}))
    succeeded(command(name, *words, "--out", out))
    expected = whole if name == "train-student" else cache
    for key in RUN_FILES if name == "train-student" else tree_bytes(cache):
        assert (out / key).read_bytes() == (expected / key).read_bytes(), key
    assert not lock.exists()


def touch_all(folder: Path, seconds: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (seconds, seconds))


def test_a_clock_that_jumps_changes_no_byte_of_a_cache(
    corpus: str, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    words = (corpus, *PRECOMPUTE, "--out", out)
    process = Started("precompute-teacher", *words)
    wait_for(lambda: any(out.glob("parts/*/commits/*.json")), process)
    process.kill()
    process.communicate()
    touch_all(out, 2**32)  # in the year 2106
    for number, path in enumerate(sorted(out.rglob("*"))):
        os.utime(path, (number % 2 * 2**32, number % 2 * 2**32))
    jumping = WRONG_CLOCK.replace("MODULE", "pipeline.precompute.cli")
    last = started_alone(jumping, *words)
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    assert tree_bytes(out) == tree_bytes(cache)
    touch_all(out, 0)
    assert verify(out) == []
    assert "nothing to do" in succeeded(command("precompute-teacher", *words))


def test_a_clock_that_jumps_changes_no_byte_of_a_run(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = (cache, *STUDENT, "--out", run)
    process = Started("train-student", *words, program=SAVES_OFTEN)
    wait_for((run / "training-state.pt").exists, process)
    process.kill()
    process.communicate()
    touch_all(run, 2**32)
    jumping = WRONG_CLOCK.replace("MODULE", "student.training.cli")
    last = started_alone(jumping, *words)
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    assert_same_run(run, whole)


def finetuning(corpus: str, folder: Path) -> tuple[object, ...]:
    base = write_base(folder / "base")
    return (corpus, "--base", base, "--epochs", "4", "--batch-size", "2", "--patience", "4")


def test_a_fine_tuning_stopped_by_a_signal_or_run_twice_gives_the_same_bytes(
    corpus: str, tmp_path: Path
) -> None:
    words, out = finetuning(corpus, tmp_path), tmp_path / "teacher"
    succeeded(command("finetune-teacher", *words, "--out", tmp_path / "whole"))
    for number in (signal.SIGINT, signal.SIGTERM):
        process = Started("finetune-teacher", *words, "--out", out)
        while not (line := process.stdout.readline()).startswith("epoch"):
            assert line, "it ended before an epoch was over"
        if number is signal.SIGINT:
            second = meanwhile(process, "finetune-teacher", *words, "--out", out)
            assert second.returncode == 1
            assert f"{out} is being written by process {process.pid}" in second.stderr
        process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == 1
        assert "finetune-teacher: stopped. What was finished is kept" in errors
        assert "Traceback" not in errors
        assert not out.exists()
    done = succeeded(command("finetune-teacher", *words, "--out", out))
    assert "continuing after epoch" in done
    assert tree_bytes(out) == tree_bytes(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["base", "teacher", "whole"]
