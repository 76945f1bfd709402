"""Recipes: the schedules of the papers' code, epoch by epoch."""

from __future__ import annotations

import math

import pytest

from cache_schema.errors import UsageError
from student.recipes import RECIPES, Cosine, Exponential, RampDown, Steps
from student.training.cli import parse_schedule


def test_kws_streaming_falls_from_first_to_last_rate() -> None:
    recipe = RECIPES["kws-streaming"]
    assert recipe.learning_rate * recipe.schedule.factor(0) == 1e-3
    assert recipe.learning_rate * recipe.schedule.factor(1) == pytest.approx(2e-5)
    # Its formula: lr0 * exp(step * ln(lr_last / lr0) / steps).
    halfway = 1e-3 * math.exp(40_000 * math.log(2e-5 / 1e-3) / 80_000)
    assert recipe.learning_rate * recipe.schedule.factor(0.5) == pytest.approx(halfway)
    assert RECIPES["kws-streaming-sgd"].schedule == Exponential(0.1)


def test_psla_halves_after_epochs_10_15_20_and_so_on_of_40() -> None:
    schedule = RECIPES["psla"].schedule
    halvings = [round(-math.log2(schedule.factor(epoch / 40))) for epoch in range(40)]
    assert halvings == [0] * 10 + [1] * 5 + [2] * 5 + [3] * 5 + [4] * 5 + [5] * 5 + [6] * 5


def test_ast_falls_every_epoch_from_epoch_5_of_25() -> None:
    schedule = RECIPES["ast"].schedule
    for epoch in range(25):
        assert schedule.factor(epoch / 25) == pytest.approx(0.85 ** max(0, epoch - 4))


def test_efficientat_rises_holds_and_falls_on_a_line() -> None:
    schedule = RECIPES["efficientat"].schedule
    assert schedule.factor(0) == pytest.approx(math.exp(-5))
    assert schedule.factor(4 / 200) == pytest.approx(math.exp(-5 * 0.25))
    assert schedule.factor(8 / 200) == schedule.factor(80 / 200) == 1
    assert schedule.factor(127.5 / 200) == pytest.approx(1 - 0.99 / 2)
    assert schedule.factor(175 / 200) == schedule.factor(1) == pytest.approx(0.01)


def test_a_schedule_keeps_its_shape_in_another_number_of_epochs() -> None:
    steps = Steps(10 / 40, 5 / 40, 0.5)
    assert [steps.factor(epoch / 8) for epoch in range(8)] == [1, 1, 0.5, 0.25, 0.125, *(
        0.5**n for n in (4, 5, 6)
    )]  # fmt: skip
    assert RampDown(0.1, 0.5, 0.9, 0.0).factor(0.7) == pytest.approx(0.5)


def test_a_cosine_falls_slowly_fast_slowly_to_its_floor() -> None:
    assert [Cosine(0.1).factor(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.55, 0.1])
    assert Cosine().factor(1 / 3) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("cosine", Cosine(0.0)),
        ("cosine:floor=0.01", Cosine(0.01)),
        ("exponential:last=0.05", Exponential(0.05)),
    ],
)
def test_schedules_by_name(text: str, schedule: Cosine | Exponential) -> None:
    assert parse_schedule(text) == schedule


@pytest.mark.parametrize(
    "text",
    ["linear", "exponential", "exponential:last=0", "exponential:last=2", "exponential:floor=1",
     "cosine:floor=nan", "cosine:floor=-1", "cosine:last=1", "cosine:floor=x"],
)  # fmt: skip
def test_what_is_no_schedule_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="For example: --schedule cosine"):
        parse_schedule(text)
