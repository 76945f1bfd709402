"""Run work units here or on Dask workers.

A task owns a whole unit, writes it and returns its small record. When a run ends early, by an error
or a signal, units that are being written are finished, the others in hand are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from uuid import uuid4

from cache_schema.metadata import CommitRecord
from pipeline.precompute.dask_executor import run_on_new_workers, run_on_workers
from pipeline.precompute.work_unit import MAX_CONCURRENT_UNITS, UnitJob, compute_unit, stop_run


def run_units(
    job: UnitJob, units: Sequence[int], *, workers: int, scheduler: str | None
) -> Iterator[CommitRecord]:
    """Compute units and yield their records as they are committed.

    Closing the iterator stops the run: when that returns, no unit of it is being worked on.

    Parameters
    ----------
    job : UnitJob
        What every unit needs.
    units : sequence of int
        Numbers of the work units.
    workers : int
        Processes of a local Dask cluster; 0 computes in this process.
    scheduler : str or None
        Address of a running Dask scheduler whose workers see the same paths.

    Raises
    ------
    RunError
        When a unit fails, or there is nobody to compute it; the others' records stay.
    """
    job = replace(job, run=uuid4().hex)
    if workers:
        yield from run_on_new_workers(job, units, workers)
    elif scheduler is not None:
        yield from run_on_workers(job, units, scheduler)
    else:
        yield from _run_here(job, units)


def _run_here(job: UnitJob, units: Sequence[int]) -> Iterator[CommitRecord]:
    pool = ThreadPoolExecutor(MAX_CONCURRENT_UNITS)
    try:
        for future in as_completed([pool.submit(compute_unit, job, unit) for unit in units]):
            yield future.result()
    finally:
        stop_run(job.run)
        pool.shutdown(cancel_futures=True)
