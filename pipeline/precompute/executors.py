"""Run work units here or on Dask workers: the only module that imports dask.

A task owns a whole unit, writes it and returns its small record. A killed worker's units are done
by others; units are idempotent, so doing one twice is harmless. When a run ends early, by an error
or a signal, units that are being written are finished, the others in hand are dropped.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from typing import Any
from uuid import uuid4

from cache_schema.command_line.interrupts import deferred_interrupts
from cache_schema.errors import RunError
from cache_schema.metadata import CommitRecord
from pipeline.precompute.work_unit import (
    MAX_CONCURRENT_UNITS,
    UnitJob,
    compute_unit,
    stop_run,
    stop_run_and_wait,
)

# How many workers may die with a unit in hand before the unit itself is held to be the cause.
ALLOWED_DEATHS = 5


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
        When a unit fails; the others' records stay.
    """
    job = replace(job, run=uuid4().hex)
    if workers:
        with _local_cluster(min(workers, max(len(units), 1))) as cluster:
            yield from _run_on_dask(job, units, cluster)
    elif scheduler is not None:
        yield from _run_on_dask(job, units, scheduler)
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


def _run_on_dask(job: UnitJob, units: Sequence[int], cluster: Any) -> Iterator[CommitRecord]:
    import dask
    from distributed import KilledWorker
    from distributed import as_completed as dask_as_completed

    dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_DEATHS})
    with _connected(cluster) as client:
        futures = {client.submit(compute_unit, job, unit, pure=False): unit for unit in units}
        try:
            for future in dask_as_completed(list(futures)):
                try:
                    yield future.result()
                except KilledWorker:
                    raise RunError(
                        f"work unit {futures[future]}: {ALLOWED_DEATHS} workers died computing it, "
                        "probably out of memory. Use fewer workers, or smaller --unit-rows with a "
                        "new --out.",
                        kind="worker",
                    ) from None
        except BaseException:
            client.cancel(list(futures))
            client.run(stop_run_and_wait, job.run, on_error="ignore")
            raise


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    """Start workers that no signal reaches: this process stops them.

    A terminal sends Ctrl-C to them as well, and a batch system its SIGTERM; they inherit from the
    thread that starts them that both are blocked.
    """
    from distributed import LocalCluster

    resource_tracker.ensure_running()  # its start would unblock them again
    with deferred_interrupts() as interrupted:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=MAX_CONCURRENT_UNITS,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with cluster:
        if interrupted():
            raise KeyboardInterrupt
        yield cluster


def _connected(target: Any) -> Any:
    from distributed import Client

    try:
        return Client(target, timeout="30s")
    except OSError as error:
        raise RunError(
            f"no Dask scheduler responds at {target!r} ({error}). Check the address, or leave out "
            "--scheduler to compute here.",
            kind="scheduler",
        ) from None
