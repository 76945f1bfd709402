"""What a comparison is estimated to cost, from what a clip costs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_cache import copy_small_cache

from cache_schema.errors import UsageError
from cache_schema.reader import open_cache
from student.compare.conditions import parse_condition
from student.compare.runs import Comparison, Run
from student.stream.unit_loader import BUDGET_BYTES
from student.training.cost import HOUR_S, ClipCost, run_hours


@pytest.mark.parametrize(
    ("row_bytes", "loads"), [(1.0, 8), (BUDGET_BYTES / 4, 4 + 20 / 2), (math.inf, 20)]
)
def test_what_memory_does_not_hold_is_loaded_in_every_epoch(
    tmp_path: Path, row_bytes: float, loads: float
) -> None:
    """Four training clips in two views, five epochs: 8 rows, visited 20 times."""
    path = copy_small_cache(tmp_path / "small.zarr")
    conditions = (parse_condition("none"),)
    named = {"small": path}
    comparison = Comparison(tmp_path, named, ("tc-resnet",), conditions, 1, ("--epochs", "5"))
    settings = comparison.settings(Run("small", "tc-resnet", "none", 0))
    cost = ClipCost(load_s=1.0, step_s=10.0, eval_s=0.0, row_bytes=row_bytes)
    assert run_hours(open_cache(path), settings, cost) * HOUR_S == pytest.approx(loads + 200)


@pytest.mark.parametrize(
    ("text", "loose"), [("logits=0.5 :temperature=2", ":temperature=2"), ("sp =30", "=30")]
)
def test_a_blank_within_a_loss_is_named(text: str, loose: str) -> None:
    with pytest.raises(UsageError, match=f"{loose}' belongs to what is before it: a blank"):
        parse_condition(text)
