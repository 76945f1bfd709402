"""``--scheduler``: the same bytes on a Dask cluster that somebody else started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command, plain_environment, succeeded, write_tones
from small_cache import tree_bytes

CLUSTER = """
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """Address of a running cluster on this machine."""
    code = tmp_path / "cluster.py"
    code.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=plain_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate("\n", timeout=60)


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


def test_an_address_where_nobody_answers_is_said(tmp_path: Path) -> None:
    corpus = write_tones(tmp_path / "tones", per_class=1)
    words = [f"folder:{corpus}", "--teacher", "toy", "--out", tmp_path / "c"]
    run = command("precompute-teacher", *words, "--scheduler", "tcp://127.0.0.1:9")
    assert run.returncode == 1
    assert "no Dask scheduler responds at 'tcp://127.0.0.1:9'" in run.stderr
    assert "Traceback" not in run.stderr
