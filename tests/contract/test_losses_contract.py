"""What every loss must do, with every student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_cache import copy_small_cache

from cache_schema.errors import CacheError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin, plugin_names
from cache_schema.reader import open_cache
from student.losses import LOSSES
from student.losses.interface import LossSetup
from student.models import STUDENTS
from student.plugin_checks import (
    CLASSES,
    GRIDS,
    LOSS_CHECKS,
    WIDTH,
    build_loss,
    build_student,
    free_output,
    loss_batch,
)
from student.recipes import RECIPES
from student.runs.settings import Settings, parse_distillation
from student.training.objective import check_signals

every_student = pytest.mark.parametrize("student_name", STUDENTS)


@pytest.mark.parametrize("check", LOSS_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(LOSSES, "loss"))
def test_every_loss(name: str, check: Callable[[str], None]) -> None:
    check(name)


@every_student
def test_native_attention_is_taken_where_there_is_one(student_name: str) -> None:
    kind = build_student(student_name)
    batch = loss_batch(FRONT_ENDS[kind.front_end].features)
    output = kind.train()(batch.features_BTM, batch.lengths_B)
    setup = LossSetup.of(
        kind, student_name, task="single", classes=CLASSES, covered=(0,), grids=GRIDS
    )
    temporal = load_plugin(LOSSES, "temporal", "loss")
    if not kind.native_attention:
        with pytest.raises(UsageError, match=f"{student_name} has none.*source=auxiliary"):
            temporal(setup, source="native")
        return
    assert temporal(setup, source="native")(output, batch) > 0
    with pytest.raises(UsageError, match="takes the student's attention as it is"):
        temporal(setup, source="native", scale=True)


@pytest.mark.parametrize("name", ["temporal", "iusp", "attention-map"])
def test_a_loss_over_frames_needs_their_times(name: str) -> None:
    with pytest.raises(UsageError, match="needs the hop of") as caught:
        build_loss(name, grids={})
    assert caught.value.kind == "options"


def test_temporal_can_do_without_times() -> None:
    temporal = load_plugin(LOSSES, "temporal", "loss")
    setup = LossSetup(
        student="free", context_dim=WIDTH, native_attention=False, task="single",
        classes=CLASSES, covered=(0,),
    )  # fmt: skip
    assert temporal(setup, align="ends")(free_output(), loss_batch()) > 0


@pytest.mark.parametrize("name", plugin_names(LOSSES, "loss"))
def test_a_missing_signal_is_named_with_the_command_that_adds_it(name: str, tmp_path: Path) -> None:
    cache = open_cache(copy_small_cache(tmp_path / "cache"))
    cache.__dict__["signals"] = {"waveform": cache.signals["waveform"]}
    settings = Settings(
        student="tc-resnet", student_options={}, distill=(parse_distillation(f"{name}=0.5"),),
        label_weight=0.5, seed=0, recipe=next(iter(RECIPES.values())),
    )  # fmt: skip
    signal, *_ = load_plugin(LOSSES, name, "loss").signals
    with pytest.raises(CacheError, match=f"--signal {signal}") as caught:
        check_signals(cache, settings)
    assert f"loss '{name}' needs the signal '{signal}'" in str(caught.value)


@pytest.mark.parametrize("name", ["temporal", "attention-map"])
def test_a_loss_with_a_query_or_projection_trains_it(name: str) -> None:
    assert list(build_loss(name).parameters())


@pytest.mark.parametrize("name", ["logits", "sp", "iusp"])
def test_a_loss_of_outputs_alone_has_no_parameters(name: str) -> None:
    assert not list(build_loss(name).parameters())
