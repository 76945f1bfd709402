"""What every loss must do, with every student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_cache import copy_small_cache

from cache_schema.errors import CacheError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin, plugin_names
from cache_schema.reader import open_cache
from student.losses import LOSSES
from student.losses.interface import LossSetup
from student.models import STUDENTS
from student.models.interface import Student, StudentOutput
from student.models.pooling_student import PoolingStudent
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
from student.stream.batch import Batch
from student.training.objective import check_signals

every_student = pytest.mark.parametrize("student_name", STUDENTS)


@pytest.mark.parametrize("check", LOSS_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(LOSSES, "loss"))
def test_every_loss(name: str, check: Callable[[str], None]) -> None:
    check(name)


def in_training(student_name: str) -> tuple[Student, LossSetup, StudentOutput, Batch]:
    student = build_student(student_name).train()
    batch = loss_batch(FRONT_ENDS[student.front_end].features)
    setup = LossSetup.of(
        student, student_name, task="single", classes=CLASSES, covered=(0,), grids=GRIDS
    )
    return student, setup, student(batch.features_BTM, batch.lengths_B), batch


@every_student
def test_native_attention_is_taken_where_there_is_one(student_name: str) -> None:
    kind, setup, output, batch = in_training(student_name)
    temporal = load_plugin(LOSSES, "temporal", "loss")
    if not kind.native_attention:
        with pytest.raises(UsageError, match=f"{student_name} has none.*source=auxiliary"):
            temporal(setup, source="native")
        return
    assert temporal(setup, source="native")(output, batch) > 0
    with pytest.raises(UsageError, match="takes the student's scores as they are"):
        temporal(setup, source="native", scale=True)


@every_student
def test_evidence_is_taken_of_a_mean_over_frames_and_trains_its_classifier(
    student_name: str,
) -> None:
    kind, setup, output, batch = in_training(student_name)
    temporal = load_plugin(LOSSES, "temporal", "loss")
    if not isinstance(kind, PoolingStudent):
        with pytest.raises(UsageError, match=f"{student_name} has none.*source=auxiliary"):
            temporal(setup, source="evidence")
        return
    loss = temporal(setup, source="evidence")
    assert not list(loss.parameters()), "the student's own are no part of the loss"
    value = loss(output, batch)
    value.backward()
    assert value > 0
    assert kind.classifier.weight.grad is not None
    assert kind.classifier.weight.grad.abs().max() > 0


@every_student
@torch.no_grad()
def test_the_evidence_of_frames_makes_up_the_winning_logit(student_name: str) -> None:
    kind = build_student(student_name).eval()
    if not isinstance(kind, PoolingStudent):
        pytest.skip("it takes no mean over frames")
    batch = loss_batch(FRONT_ENDS[kind.front_end].features)
    output = kind(batch.features_BTM, batch.lengths_B)
    evidence_BT = kind.frame_evidence(output)
    for clip, frames in enumerate(output.context_lengths_B.tolist()):
        bias = kind.classifier.bias[output.logits_BC[clip].argmax()]
        logit = evidence_BT[clip, :frames].mean() + bias
        # The layers before a classifier that is not all of the head have biases of 0 as they start.
        torch.testing.assert_close(logit, output.logits_BC[clip].max(), rtol=1e-4, atol=1e-5)


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
