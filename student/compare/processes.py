"""Run the jobs of a comparison in processes beside each other, on one device or several."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cache_schema.command_line.interrupts import deferred_interrupts
from cache_schema.errors import RunError
from cache_schema.store.safe_open import open_for_writing
from student.compare.runs import Comparison
from student.compare.selection import RunJob

POLL_S = 0.1

Process = subprocess.Popen[bytes]


def log_of(comparison: Comparison, job: RunJob) -> Path:
    """File beside the run with the output of its processes."""
    folder = comparison.folder(job.run)
    return folder.with_name(f"{folder.name}.log")


def run_jobs(
    comparison: Comparison,
    outstanding: Callable[[], list[RunJob]],
    processes: int,
    on_finish: Callable[[RunJob, int], None],
    gpus: Sequence[str] = (),
) -> None:
    """Run what is outstanding, listed again after each end, each job once.

    Parameters
    ----------
    comparison : Comparison
    outstanding : callable
        Gives the jobs that are left, in order.
    processes : int
        At most so many at once.
    on_finish : callable
        Called with each job that ended and its exit code.
    gpus : sequence of str
        A process sees the one of these that has the fewest; all there are where none is given.

    Raises
    ------
    RunError
        Kind ``"interrupted"`` after a signal; the processes have saved their states and ended.
    """
    running: dict[RunJob, Process] = {}
    taken: dict[RunJob, str] = {}
    tried: set[RunJob] = set()
    with deferred_interrupts() as stop_requested:
        try:
            while True:
                busy = {job.run for job in running}
                waiting = [j for j in outstanding() if j.run not in busy and j not in tried]
                for job in waiting[: processes - len(running)]:
                    environment = {}
                    if gpus:
                        in_use = [taken[other] for other in running]
                        taken[job] = min(gpus, key=in_use.count)
                        environment = {"CUDA_VISIBLE_DEVICES": taken[job]}
                    running[job] = _started(comparison, job, environment)
                if not running:
                    return
                for job in _wait_any(running, stop_requested):
                    with running.pop(job) as process:
                        code = process.wait()
                    tried.add(job)
                    on_finish(job, code)
        finally:
            _stop(running)


def _started(comparison: Comparison, job: RunJob, environment: dict[str, str]) -> Process:
    """Start a process; its standard input stays open as long as this one lives."""
    log = log_of(comparison, job)
    log.parent.mkdir(parents=True, exist_ok=True)
    score_on = [word for split in job.score_on for word in ("--score-on", split)]
    # -P: what lies in the working directory is no module of ours, as for a console script.
    program = [sys.executable, "-P", "-m", "student.compare.worker", *score_on]
    with open_for_writing(log, "ab") as file:
        return subprocess.Popen(
            [*program, *comparison.words(job.run)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            process_group=0,  # Ctrl-C reaches this process alone, which stops the others once
        )


def _wait_any(running: dict[RunJob, Process], stop_requested: Callable[[], bool]) -> list[RunJob]:
    """Wait until a process ends, or a signal requests to stop."""
    while not stop_requested():
        ended = [job for job, process in running.items() if process.poll() is not None]
        if ended:
            return ended
        time.sleep(POLL_S)
    raise RunError(
        f"stopped. Finished runs are kept; repeat the command, and the {len(running)} under way go on "
        "from what they last saved.",
        kind="interrupted",
    )


def _stop(running: dict[RunJob, Process]) -> None:
    """Request processes to stop, and wait until their states are saved."""
    for process in running.values():
        process.terminate()
    for process in running.values():
        with process:  # which closes its standard input, after the wait
            process.wait()
