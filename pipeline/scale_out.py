"""Run work units here or on Dask workers: the only module that imports dask.

A task owns a whole unit, writes it and returns its small record. A killed worker's units are done
by others; units are idempotent, so doing one twice is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from cache_schema.documents import CommitRecord
from cache_schema.errors import RunError
from pipeline.unit import Job, compute_unit

# How many workers may die with a unit in hand before the unit itself is held to be the cause.
ALLOWED_DEATHS = 5


def run_units(
    job: Job, units: Sequence[int], *, workers: int, scheduler: str | None
) -> Iterator[CommitRecord]:
    """Compute units and yield their records as they are committed.

    Parameters
    ----------
    job : Job
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
    if not workers and scheduler is None:
        yield from (compute_unit(job, unit) for unit in units)
        return
    yield from _run_on_dask(job, units, workers, scheduler)


def _run_on_dask(
    job: Job, units: Sequence[int], workers: int, scheduler: str | None
) -> Iterator[CommitRecord]:
    import dask
    from distributed import KilledWorker, LocalCluster, as_completed

    dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_DEATHS})
    cluster = None
    if scheduler is None:
        cluster = LocalCluster(
            n_workers=min(workers, max(len(units), 1)),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    try:
        with _connected(cluster or scheduler) as client:
            futures = {client.submit(compute_unit, job, u, pure=False): u for u in units}
            for future in as_completed(list(futures)):
                try:
                    yield future.result()
                except KilledWorker:
                    raise RunError(
                        f"work unit {futures[future]}: {ALLOWED_DEATHS} workers died computing it, "
                        "probably out of memory. Use fewer workers, or smaller --unit-rows with a "
                        "new --out.",
                        kind="worker",
                    ) from None
    finally:
        if cluster is not None:
            cluster.close()


def _connected(target: Any) -> Any:
    from distributed import Client

    try:
        return Client(target, timeout="30s")
    except OSError as error:
        raise RunError(
            f"no Dask scheduler answers at {target!r} ({error}). Check the address, or leave out "
            "--scheduler to compute here.",
            kind="scheduler",
        ) from None
