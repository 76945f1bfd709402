"""precompute-teacher stopped by a signal or a failing unit: it reports what is kept, and resumes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from commands import command, plain_environment, script, succeeded, write_tones
from small_cache import tree_bytes

from cache_schema.integrity.verify import verify

OPTIONS = ["--teacher", "toy", "--unit-rows", "2", "--signal", "layer_attention"]
UNITS = 55
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{write_tones(tmp_path_factory.mktemp('corpus') / 'tones', per_class=30)}"


@pytest.fixture(scope="module")
def undisturbed(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "c"
    succeeded(command("precompute-teacher", corpus, "--out", out, *OPTIONS))
    return tree_bytes(out)


def started(corpus: str, out: Path, *options: str) -> subprocess.Popen[str]:
    """A run in a process group of its own, as a terminal gives to a command."""
    return subprocess.Popen(
        [script("precompute-teacher"), corpus, "--out", str(out), *OPTIONS, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=plain_environment(),
        start_new_session=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def processes_in(group: int) -> int:
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            found += os.getpgid(int(process.name)) == group
    return found


def committed(out: Path) -> int:
    return len(list(out.glob("parts/part-000/commits/*.json")))


def stopped_after_a_unit(
    corpus: str, out: Path, send: Callable[[int], None], *options: str
) -> tuple[str, str]:
    """Send a signal once a unit is committed; standard output and error of the run."""
    process = started(corpus, out, *options)
    assert wait_until(lambda: committed(out)), "no unit was ever committed"
    send(process.pid)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, output + errors
    assert wait_until(lambda: group_is_gone(process.pid), 10), "a worker was left behind"
    return output, errors


def units_kept(out: Path, errors: str) -> int:
    """How many units a stopped run reports as kept, in its one line, which is true."""
    assert "Traceback" not in errors
    (line,) = errors.splitlines()
    match = re.search(
        r"stopped\. (\d+) of 55 work units of part-000 in .* repeat the command", line
    )
    assert match is not None, errors
    assert int(match[1]) == committed(out) < UNITS
    return int(match[1])


def assert_goes_on(corpus: str, out: Path, errors: str, undisturbed: dict[str, bytes]) -> None:
    """What it reported is true, nothing is half-written, and the repeated command finishes the rest."""
    kept = units_kept(out, errors)
    assert kept > 0
    assert verify(out) == []
    assert [path.name for path in out.rglob("*.partial")] == []
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    output = succeeded(command("precompute-teacher", corpus, "--out", out, *OPTIONS))
    assert f"{UNITS - kept} work units to compute, {kept} already there" in output
    assert tree_bytes(out) == undisturbed


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_it_and_the_repeated_command_gives_the_same_bytes(
    corpus: str, tmp_path: Path, undisturbed: dict[str, bytes], number: signal.Signals
) -> None:
    out = tmp_path / "c"
    _, errors = stopped_after_a_unit(corpus, out, lambda pid: os.kill(pid, number))
    assert_goes_on(corpus, out, errors, undisturbed)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_all_workers_too_leaves_none_of_them_behind(
    corpus: str, tmp_path: Path, undisturbed: dict[str, bytes], number: signal.Signals
) -> None:
    """Ctrl-C on a terminal and the end of a batch job reach every process of the command."""
    out, workers = tmp_path / "c", ("--workers", "2")
    _, errors = stopped_after_a_unit(corpus, out, lambda pid: os.killpg(pid, number), *workers)
    assert_goes_on(corpus, out, errors, undisturbed)


def test_a_signal_to_the_command_alone_stops_its_workers(
    corpus: str, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out, workers = tmp_path / "c", ("--workers", "2")
    send = lambda pid: os.kill(pid, signal.SIGTERM)  # noqa: E731
    _, errors = stopped_after_a_unit(corpus, out, send, *workers)
    assert_goes_on(corpus, out, errors, undisturbed)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_unit_that_fails_stops_the_run_and_keeps_the_others(
    corpus: str, tmp_path: Path, undisturbed: dict[str, bytes], workers: str
) -> None:
    out = tmp_path / "c"
    stopped_after_a_unit(corpus, out, lambda pid: os.kill(pid, signal.SIGTERM))
    before = committed(out)
    in_the_way = out / f"parts/part-000/temporal_attention/c/{before + 4}"
    in_the_way.mkdir()
    words = ["precompute-teacher", corpus, "--out", out, *OPTIONS, "--workers", workers]
    run = command(*words)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"temporal_attention/c/{in_the_way.name}" in run.stderr
    assert "Traceback" not in run.stderr
    assert before + 3 <= committed(out) < UNITS
    in_the_way.rmdir()
    succeeded(command(*words[:-1], "0"))
    assert tree_bytes(out) == undisturbed


def test_a_signal_while_workers_start_leaves_none_behind(corpus: str, tmp_path: Path) -> None:
    out = tmp_path / "c"
    process = started(corpus, out, "--workers", "2")
    # The command, multiprocessing's tracker, and a worker that has seconds of imports before it.
    assert wait_until(lambda: processes_in(process.pid) > 2), "no worker was ever started"
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, output + errors
    units_kept(out, errors)  # none, unless this test was slower than a start and a unit
    assert wait_until(lambda: group_is_gone(process.pid), 10)
