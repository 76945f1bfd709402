"""What a worker on another machine must have, found out before any unit is sent to it."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from cache_schema.clip_table import ClipTable
from cache_schema.errors import AftersoundError, RunError, bullet_list
from cache_schema.metadata import CommitRecord
from cache_schema.store.address import CachePath, cache_path
from cache_schema.writer import load_manifest, part_folder
from pipeline.audio.members import container_of
from pipeline.audio.source import SourceProblem, open_source
from pipeline.precompute.work_unit import UnitJob, compute_unit, planned_part

DISTRIBUTION = "aftersound"
SAME_EVERYWHERE = (
    "Give every worker the same package, corpus and cache at the same paths, or end it, and repeat the "
    "command."
)


def worker_problems(job: UnitJob, wanted_version: str) -> list[str]:
    """Name what this process lacks to compute units of a job; runs on each worker.

    Parameters
    ----------
    job : UnitJob
        What every unit needs.
    wanted_version : str
        Version of the distribution that sends the job.
    """
    if (found := version(DISTRIBUTION)) != wanted_version:
        return [f"it has {DISTRIBUTION} {found}, and {wanted_version} is required"]
    cache = cache_path(job.cache)
    try:
        manifest = load_manifest(cache)
        plan = planned_part(manifest, job)
    except (AftersoundError, OSError) as error:
        absent = getattr(error, "kind", "") == "missing"
        return [f"the cache: {cache} is not there" if absent else f"the cache: {error}"]
    problems = []
    folder = part_folder(cache, plan.name)
    if isinstance(folder, Path) and not os.access(folder, os.W_OK):
        problems.append(f"the cache: {folder} cannot be written")
    if plan.source == "corpus":
        problems += _corpus_problems(cache_path(job.corpus_root), ClipTable(cache, manifest))
    return problems


def compute_on_worker(job: UnitJob, number: int, wanted_version: str) -> CommitRecord:
    """Compute a unit in a process that may have come after the others were tried.

    Raises
    ------
    RunError
        With what it lacks; else as `compute_unit`.
    """
    _check_once(job, wanted_version)
    return compute_unit(job, number)


@lru_cache(maxsize=1)
def _check_once(job: UnitJob, wanted_version: str) -> None:
    if problems := worker_problems(job, wanted_version):
        raise RunError(
            f"the worker of process {os.getpid()} on {socket.gethostname()} cannot compute\n"
            f"{bullet_list(problems)}\nIt computed nothing. {SAME_EVERYWHERE}",
            kind="worker",
        )


def _corpus_problems(root: CachePath, table: ClipTable) -> list[str]:
    """Try the first clip alone: a folder that is not mounted has none."""
    first = table.clips(0, 1)[0]
    path = container_of(root / first.path)
    try:
        with open_source(path) as source:
            source.read(1)
    except (SourceProblem, RunError, OSError) as error:
        if first.frames:  # else it was not readable where the cache was planned either
            return [f"the corpus: {path}: {getattr(error, 'strerror', None) or error}"]
    return []
