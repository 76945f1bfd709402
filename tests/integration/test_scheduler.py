"""``--scheduler``: the same bytes on a Dask cluster that somebody else started."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import NamedTuple

import pytest
from commands import Started, command, plain_environment, succeeded, write_tones
from small_cache import tree_bytes

WAIT_S = 5.0  # for workers, in place of half a minute
CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, dashboard_address=None,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""

WAITS_LESS = f"""
import pipeline.precompute.dask_executor
pipeline.precompute.dask_executor.WORKERS_WITHIN_S = {WAIT_S}
from pipeline.precompute.cli import main
main()
"""


@contextmanager
def cluster(folder: Path, workers: int, **environment: str) -> Iterator[tuple[str, Popen[str]]]:
    """Address and process of a running cluster on this machine."""
    code = folder / "cluster.py"
    code.write_text(CLUSTER)
    process = Popen(
        [sys.executable, str(code), str(workers)],
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True, env=plain_environment() | environment,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        with suppress(BrokenPipeError):
            process.communicate("\n", timeout=60)


class Waited(NamedTuple):
    """A command that ended after waiting in vain."""

    code: int
    errors: str
    seconds: float
    is_begun: bool = True


def nobody_answers(folder: Path) -> Waited:
    return waited(folder, "tcp://127.0.0.1:9")


def no_worker(folder: Path) -> Waited:
    with cluster(folder, 0) as (address, _):
        return waited(folder, address)


def waited(folder: Path, address: str) -> Waited:
    corpus, began_s = write_tones(folder / "tones", per_class=1), time.monotonic()
    words = (f"folder:{corpus}", "--teacher", "toy", "--out", folder / "c", "--scheduler", address)
    run = command("precompute-teacher", *words, program=WAITS_LESS)
    is_begun = (folder / "c").exists()
    seconds = time.monotonic() - began_s
    return Waited(run.returncode, run.stderr.replace(address, "ADDRESS"), seconds, is_begun)


def scheduler_dies(folder: Path) -> Waited:
    corpus, out = write_tones(folder / "tones", per_class=20), folder / "c"
    words = [f"folder:{corpus}", "--teacher", "toy", "--out", out, "--unit-rows", 1]
    with cluster(folder, 1) as (address, process):
        run = Started("precompute-teacher", *words, "--scheduler", address)
        while not list(out.glob("parts/part-000/commits/*.json")):
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        began_s = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        _, errors = run.communicate()
        code = run.wait()
    done = len(list(out.glob("parts/part-000/commits/*.json")))
    assert 0 < done < 60
    assert f"{done} already there" in succeeded(command("precompute-teacher", *words))
    return Waited(code, errors, time.monotonic() - began_s)


@pytest.fixture(scope="module", autouse=True)
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Waited]]:
    """Commands that wait, begun together while the other tests go on."""
    scenarios = (nobody_answers, no_worker, scheduler_dies)
    folders = {one.__name__: tmp_path_factory.mktemp(one.__name__) for one in scenarios}
    with ThreadPoolExecutor(len(scenarios)) as pool:
        begun = {one.__name__: pool.submit(one, folders[one.__name__]) for one in scenarios}
        yield lambda name: begun[name].result()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """Address of a running cluster on this machine."""
    with cluster(tmp_path, 1) as (address, _):
        yield address


def test_a_cluster_started_elsewhere_gives_the_same_bytes(scheduler: str, tmp_path: Path) -> None:
    corpus = write_tones(tmp_path / "tones", per_class=4)
    words = [f"folder:{corpus}", "--teacher", "toy", "--unit-rows", 4]
    here, there = tmp_path / "here", tmp_path / "there"
    succeeded(command("precompute-teacher", *words, "--out", here))
    succeeded(command("precompute-teacher", *words, "--out", there, "--scheduler", scheduler))
    assert tree_bytes(there) == tree_bytes(here)
    # The worker outlives the command: a cache made anew at the same place must not meet the old plan.
    for key in sorted(there.rglob("*"), reverse=True):
        key.unlink() if key.is_file() else key.rmdir()
    again = [*words, "--out", there, "--scheduler", scheduler, "--seed", 1]
    succeeded(command("precompute-teacher", *again))
    assert "verified" in succeeded(command("inspect-cache", there, "--verify"))


def test_a_worker_that_lacks_the_package_is_named_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    corpus, out = write_tones(tmp_path / "tones", per_class=1), tmp_path / "c"
    hidden = tmp_path / "hidden/pipeline"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('no pipeline here')")
    with cluster(tmp_path, 1, PYTHONPATH=str(hidden.parent)) as (address, _):
        run = command(
            "precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out,
            "--scheduler", address,
        )  # fmt: skip
    assert run.returncode == 1
    assert "1 problem(s) with the workers of" in run.stderr
    assert "no pipeline here" in run.stderr
    assert "Nothing was computed" in run.stderr
    assert list((out / "parts/part-000/commits").glob("*.json")) == []


def test_an_address_where_nobody_answers_is_reported(waiting: Callable[[str], Waited]) -> None:
    found = waiting("nobody_answers")
    assert found.code == 1
    assert "no Dask scheduler responds at 'ADDRESS'" in found.errors
    assert "Traceback" not in found.errors
    assert not found.is_begun


def test_a_scheduler_without_workers_is_reported_in_time(
    waiting: Callable[[str], Waited],
) -> None:
    found = waiting("no_worker")
    assert found.seconds < 60 + WAIT_S, "the wait, and what a busy machine adds"
    assert found.code == 1
    assert f"has no worker after {WAIT_S:g} s" in found.errors
    assert "dask worker ADDRESS" in found.errors


def test_a_scheduler_that_dies_is_reported_with_the_way_on(
    waiting: Callable[[str], Waited],
) -> None:
    found = waiting("scheduler_dies")
    assert found.code == 1
    assert "was lost while work unit" in found.errors
    assert "Traceback" not in found.errors
