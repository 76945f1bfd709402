"""Units handed out to a Dask cluster: as many as its workers have use for, also when it grows."""

from __future__ import annotations

import time
from typing import Any

import pytest
from distributed import LocalCluster

from pipeline.precompute import dask_executor

UNITS = range(60)


def slow_unit(job: object, unit: int) -> int:
    time.sleep(0.1)
    return unit


def no_problems(*_: object) -> list[str]:
    return []


def test_a_cluster_that_grows_gets_more_units_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_executor, "compute_unit", slow_unit)
    monkeypatch.setattr(dask_executor, "worker_problems", no_problems)
    job: Any = None
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    ) as cluster:  # fmt: skip
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
