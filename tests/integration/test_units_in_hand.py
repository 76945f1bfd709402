"""Threads of one process share a teacher; a stopped run's units are dropped unwritten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from commands import write_tones

from cache_schema.writer import missing_units
from pipeline.precompute import work_unit as unit
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.work_unit import UnitCancelled, compute_unit, stop_run


@pytest.fixture
def precompute(tmp_path: Path) -> Precompute:
    corpus = write_tones(tmp_path / "tones", per_class=4)
    out = tmp_path / "c"
    return Precompute(Request(corpora=(f"folder:{corpus}",), teacher="toy", out=out, unit_rows=2))


def test_threads_that_start_at_once_load_the_teacher_once(precompute: Precompute) -> None:
    (plan,) = precompute.create_parts()
    loaded = unit._loaded_worker.cache_info().misses
    units = range(len(plan.units.rows))
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(partial(compute_unit, precompute.job(plan)), units))
    assert unit._loaded_worker.cache_info().misses == loaded + 1
    assert [record.unit for record in records] == list(units)
    assert missing_units(precompute.out, plan) == []


def test_units_of_a_stopped_run_are_dropped_and_those_of_the_next_are_not(
    precompute: Precompute,
) -> None:
    (plan,) = precompute.create_parts()
    job = precompute.job(plan)
    stopped, again = (replace(job, run=run) for run in ("stopped", "again"))
    compute_unit(stopped, 0)
    stop_run(stopped.run)
    with pytest.raises(UnitCancelled):
        compute_unit(stopped, 1)
    assert 1 in missing_units(precompute.out, plan)
    compute_unit(again, 1)
    assert missing_units(precompute.out, plan)[0] == 2
