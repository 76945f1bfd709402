"""Units handed out to a Dask cluster: as many as its workers have use for, also when it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from distributed import LocalCluster

from cache_schema.errors import RunError
from pipeline.precompute import dask_executor

UNITS = range(60)


def slow_unit(job: object, unit: int, version: str) -> int:
    time.sleep(0.1)
    return unit


def unit_of_a_late_worker(job: object, unit: int, version: str) -> int:
    raise ModuleNotFoundError("No module named 'pipeline'")


def no_problems(*_: object) -> list[str]:
    return []


@contextmanager
def small_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    ) as cluster:  # fmt: skip
        yield cluster


def test_a_worker_that_comes_later_without_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_executor, "compute_on_worker", unit_of_a_late_worker)
    monkeypatch.setattr(dask_executor, "worker_problems", no_problems)
    monkeypatch.setattr(dask_executor, "_stop", lambda *_: None)
    job: Any = None
    with small_cluster() as cluster, pytest.raises(RunError) as raised:
        list(dask_executor.run_on_workers(job, UNITS, cluster.scheduler_address))
    assert "No module named 'pipeline'" in str(raised.value)
    assert "same package" in str(raised.value)


def test_a_cluster_that_grows_gets_more_units_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_executor, "compute_on_worker", slow_unit)
    monkeypatch.setattr(dask_executor, "worker_problems", no_problems)
    job: Any = None
    with small_cluster() as cluster:
        running = dask_executor.run_on_workers(job, UNITS, cluster.scheduler_address)
        found, held = [next(running)], [len(cluster.scheduler.tasks)]
        cluster.scale(3)
        for unit in running:
            found.append(unit)
            held.append(len(cluster.scheduler.tasks))
    assert sorted(found) == list(UNITS)
    a_thread = dask_executor.UNITS_A_THREAD
    assert held[0] <= a_thread + 1
    assert 2 * a_thread < max(held) <= 3 * a_thread + 3


def test_a_cluster_without_workers_is_noted_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dask_executor, "compute_on_worker", slow_unit)
    monkeypatch.setattr(dask_executor, "worker_problems", no_problems)
    monkeypatch.setattr(dask_executor, "POLL_S", 0.02)
    job: Any = None
    with small_cluster() as cluster:
        running = dask_executor.run_on_workers(job, UNITS[:8], cluster.scheduler_address)
        found = [next(running)]
        cluster.scale(0)
        while cluster.scheduler.workers:
            time.sleep(0.02)
        monkeypatch.setattr(dask_executor, "WORKERS_WITHIN_S", 0.1)
        errors = ""
        while "has no worker any more; waiting for one" not in errors:
            time.sleep(0.05)
            errors += capfd.readouterr().err
        cluster.scale(1)
        found += running
    assert sorted(found) == list(UNITS[:8])
