"""Run work units on Dask workers: the only module that imports dask.

A killed worker's units are done by others; units are idempotent, so doing one twice is harmless.
Units are handed out a few at a time: a scheduler, and this process, hold as many tasks however large
the corpus is.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any

import click

from cache_schema.command_line.interrupts import deferred_interrupts
from cache_schema.errors import AftersoundError, RunError, bullet_list
from cache_schema.metadata import CommitRecord
from cache_schema.text import one_line
from pipeline.precompute.preflight import (
    DISTRIBUTION,
    SAME_EVERYWHERE,
    compute_on_worker,
    worker_problems,
)
from pipeline.precompute.work_unit import (
    MAX_CONCURRENT_UNITS,
    UnitJob,
    stop_run_and_wait,
)

# How many workers of ours may die with a unit in hand before the unit itself is held to be the cause;
# a scheduler of somebody else has a number of its own.
ALLOWED_DEATHS = 5
# Each thread of a worker has the next units at hand when one is done.
UNITS_A_THREAD = 3
# A worker that comes later than that is not waited for, one that has not answered by then is unusable.
WORKERS_WITHIN_S = 30.0
POLL_S = 0.5


def run_on_new_workers(job: UnitJob, units: Sequence[int], workers: int) -> Iterator[CommitRecord]:
    """Compute units on a cluster of processes of this machine, started and ended here."""
    with _local_cluster(min(workers, max(len(units), 1))) as cluster:
        yield from run_on_workers(job, units, cluster)


def check_scheduler(address: str) -> None:
    """Check that a Dask scheduler answers at an address.

    Raises
    ------
    RunError
        If none does.
    """
    with _connected(address):
        pass


def run_on_workers(job: UnitJob, units: Sequence[int], cluster: Any) -> Iterator[CommitRecord]:
    """Compute units on the workers of a cluster, or of the scheduler at an address.

    Raises
    ------
    RunError
        If there is no scheduler or no usable worker, a unit fails or its workers die, or the scheduler
        is lost. The records that were committed stay.
    """
    from concurrent.futures import CancelledError

    from distributed import as_completed
    from distributed.comm import CommClosedError

    with _connected(cluster) as client:
        _check_workers(client, job)
        left, wanted = iter(units), version(DISTRIBUTION)
        numbers: dict[Any, int] = {}

        def submitted() -> list[Any]:
            """Hand out further units, as many as the workers that are there by now may have at hand."""
            count = _threads(client) * UNITS_A_THREAD - len(numbers)
            futures = {
                client.submit(compute_on_worker, job, unit, wanted, pure=False): unit
                for unit in islice(left, max(count, 1))
            }
            numbers.update(futures)
            return list(futures)

        try:
            running = as_completed(submitted())
            with _lack_of_workers_noted(client):
                for future in running:
                    number = numbers.pop(future)
                    yield _record(future, number)
                    running.update(submitted())
        except (CancelledError, CommClosedError):
            raise RunError(
                f"the Dask scheduler {_shown(cluster)} was lost while work units were computed. What "
                "was committed is kept. Start it again and repeat the command, or leave out --scheduler "
                "to go on here.",
                kind="scheduler",
            ) from None
        except BaseException:
            _stop(client, job, numbers)
            raise


def _record(future: Any, number: int) -> CommitRecord:
    """The record of a finished unit, or what became of it."""
    from distributed import KilledWorker

    try:
        record: CommitRecord = future.result()
    except ImportError as error:  # of a worker that came later
        raise RunError(
            f"a worker cannot compute work unit {number}: {one_line(error)}. Give every worker the same "
            "package, or end it, and repeat the command.",
            kind="worker",
        ) from None
    except KilledWorker as error:
        raise RunError(
            f"work unit {number}: {error.allowed_failures + 1} workers died computing it, probably out "
            "of memory. Use fewer workers, or smaller --unit-rows with a new --out.",
            kind="worker",
        ) from None
    return record


def _stop(client: Any, job: UnitJob, futures: Mapping[Any, int]) -> None:
    """End what is under way: units that are being written are finished, the others dropped."""
    if client.status != "running":  # its scheduler is gone
        return
    with suppress(OSError, TimeoutError):
        client.cancel(list(futures))
        client.run(stop_run_and_wait, job.run, on_error="ignore")


def _threads(client: Any) -> int:
    """Threads of all workers: a cluster may grow as it has work to do."""
    with suppress(OSError):  # a scheduler that is lost is reported by the units
        return sum(client.nthreads().values())
    return 0


@contextmanager
def _lack_of_workers_noted(client: Any) -> Iterator[None]:
    """Say so when the last worker has gone: another may come, and is waited for."""
    ended = threading.Event()

    def watch() -> None:
        seen_s = time.monotonic()
        noted = False
        while not ended.wait(POLL_S):
            if _threads(client) or client.status != "running":
                seen_s, noted = time.monotonic(), False
            elif not noted and time.monotonic() - seen_s > WORKERS_WITHIN_S:
                noted = True
                click.echo(
                    f"The Dask scheduler {client.scheduler.address} has no worker any more; waiting for "
                    "one. What is committed is kept if you stop this.",
                    err=True,
                )

    thread = threading.Thread(target=watch, name="aftersound-workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _check_workers(client: Any, job: UnitJob) -> None:
    """Wait for workers and try each.

    Raises
    ------
    RunError
        If there is none in time, or what one lacks.
    """
    from distributed import wait

    tried = {
        address: client.submit(
            worker_problems, job, version(DISTRIBUTION), workers=[address], pure=False
        )
        for address in _workers(client)
    }
    with suppress(TimeoutError):
        wait(list(tried.values()), timeout=WORKERS_WITHIN_S)
    problems = [
        f"{address}: {problem}" for address, future in tried.items() for problem in _found(future)
    ]
    if problems:
        client.cancel(list(tried.values()))
        raise RunError(
            f"{len(problems)} problem(s) with the workers of {client.scheduler.address}\n"
            f"{bullet_list(problems)}\nNothing was computed. {SAME_EVERYWHERE}",
            kind="worker",
        )


def _workers(client: Any) -> dict[str, Any]:
    """Workers by address, as soon as there is one."""
    until_s = time.monotonic() + WORKERS_WITHIN_S
    while time.monotonic() < until_s:
        found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        if found:
            return found
        time.sleep(POLL_S)
    raise RunError(
        f"the Dask scheduler {client.scheduler.address} has no worker after {WORKERS_WITHIN_S:g} s. "
        f"Start some, for example: dask worker {client.scheduler.address}; then repeat the command.",
        kind="worker",
    )


def _found(future: Any) -> list[str]:
    """What the trial of a worker found."""
    if not future.done():
        return [f"no answer within {WORKERS_WITHIN_S:g} s"]
    try:
        problems: list[str] = future.result()
    except AftersoundError as error:
        return [str(error)]
    except Exception as error:  # of its interpreter: a package that is not installed, for one
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        return [f"{type(first).__name__}: {one_line(first)}"]
    return problems


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    """Start workers that no signal reaches: this process stops them.

    A terminal sends Ctrl-C to them as well, and a batch system its SIGTERM; they inherit from the
    thread that starts them that both are blocked.
    """
    import dask
    from distributed import LocalCluster

    dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_DEATHS})
    resource_tracker.ensure_running()  # its start would unblock them again
    with deferred_interrupts() as interrupted:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=MAX_CONCURRENT_UNITS,
                processes=True,
                dashboard_address=None,
                # Its HTTP server is there even so, and would warn of a second cluster on the port.
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
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

    for name in (
        "distributed",
        "distributed.client",
    ):  # it prints tracebacks of what is reported here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(target, timeout=f"{WORKERS_WITHIN_S:g}s")
    # TLS without certificates is a TypeError there.
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no Dask scheduler responds at {target!r} ({one_line(error)}). Check the address "
            "(tls:// needs Dask's settings distributed.comm.tls), or leave out --scheduler to compute "
            "here.",
            kind="scheduler",
        ) from None


def _shown(cluster: Any) -> str:
    return cluster if isinstance(cluster, str) else str(cluster.scheduler_address)
