"""What a worker lacks is named before a unit is sent to it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from commands import write_tones

from cache_schema.errors import RunError
from cache_schema.inspection.summary import summary
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.preflight import compute_on_worker, worker_problems
from pipeline.precompute.work_unit import UnitJob

VERSION = version("aftersound")


@pytest.fixture
def job(tmp_path: Path) -> UnitJob:
    corpus = write_tones(tmp_path / "tones", per_class=1)
    request = Request(corpora=(f"folder:{corpus}",), teacher="toy", out=tmp_path / "c")
    precompute = Precompute(request)
    (plan,) = precompute.create_parts()
    return precompute.job(plan)


def test_a_worker_that_has_everything_has_no_problem(job: UnitJob) -> None:
    assert worker_problems(job, VERSION) == []


def test_another_version_is_named_with_both(job: UnitJob) -> None:
    (problem,) = worker_problems(job, "9.9")
    assert VERSION in problem
    assert "9.9" in problem


def test_a_worker_that_comes_later_is_tried_at_its_first_unit(job: UnitJob) -> None:
    with pytest.raises(RunError, match="computed nothing") as raised:
        compute_on_worker(job, 0, "9.9")
    assert "9.9 is required" in str(raised.value)
    assert summary(Path(job.cache))["parts"][0]["units_done"] == 0
    assert compute_on_worker(job, 0, VERSION).unit == 0
    assert summary(Path(job.cache))["parts"][0]["units_done"] == 1


def test_a_corpus_that_is_not_mounted_is_named(job: UnitJob) -> None:
    shutil.rmtree(job.corpus_root)
    (problem,) = worker_problems(job, VERSION)
    assert problem.startswith(f"the corpus: {job.corpus_root}/")
    assert "no such file" in problem


def test_a_cache_that_is_not_there_or_another_is_named(job: UnitJob) -> None:
    (problem,) = worker_problems(replace(job, cache=f"{job.cache}-elsewhere"), VERSION)
    assert problem.startswith("the cache: ")
    (problem,) = worker_problems(replace(job, plan_sha256="0" * 64), VERSION)
    assert "is not the part that was requested" in problem
    (problem,) = worker_problems(replace(job, part="part-001"), VERSION)  # an older copy's
    assert problem.startswith("the cache: part-001 of ")
    assert "is not the part that was requested" in problem
