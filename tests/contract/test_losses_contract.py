"""Every loss keeps the promises of a loss, with every student."""

from __future__ import annotations

import doctest
import functools
import importlib
import itertools
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_cache import write_small_cache

import student.losses
from cache_schema.errors import CacheError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin, typed_options
from cache_schema.reader import open_cache
from student.losses import LOSSES
from student.losses.interface import DistillationLoss, LossSetup
from student.models import STUDENTS
from student.models.interface import Student, StudentOutput, TimeGrid
from student.recipes import RECIPES
from student.runs.settings import Settings, parse_distillation
from student.stream.batch import Batch
from student.training.objective import check_signals

CLASSES = ("a", "b", "c", "d")
CLIPS, FEATURES, EMBEDDING = 3, 8, 5
FRAMES = torch.tensor([49, 20, 2])
TEACHER_FRAMES = torch.tensor([50, 20, 3])
POOLED_FRAMES = torch.tensor([13, 5, 1])
GRIDS = {
    "temporal_attention": TimeGrid(0.02, 0.0125),
    "frame_embedding": TimeGrid(0.08, 0.0425),
    "attention_map": TimeGrid(0.08, 0.0425),
}
FEATURE_GRID = TimeGrid(0.02, 0.02)

every_loss = pytest.mark.parametrize("name", LOSSES)
every_student = pytest.mark.parametrize("student_name", STUDENTS)
every_task = pytest.mark.parametrize("task", ["single", "multi"])


def build(name: str, task: str = "single", **changes: Any) -> DistillationLoss:
    facts: dict[str, Any] = {
        "student": "free",
        "context_dim": FEATURES,
        "native_attention": False,
        "classes": CLASSES,
        "covered": (0, 1, 2, 3),
        "grids": GRIDS,
    }
    torch.manual_seed(0)
    loss: DistillationLoss = load_plugin(LOSSES, name, "loss")(
        LossSetup(task=task, **facts | changes)
    )
    return loss


def batch_for(bands: int = 1, *, size: float = 1.0) -> Batch:
    """Three clips with every signal; `size` scales what has no sum to keep."""
    random = torch.Generator().manual_seed(0)
    rows_of_map = torch.rand(CLIPS, 13, 13, generator=random)
    return Batch(
        features_BTM=torch.randn(CLIPS, 49, bands, generator=random),
        lengths_B=FRAMES,
        labels_BC=torch.eye(len(CLASSES))[:CLIPS],
        labelled_B=torch.tensor([True, False, True]),
        signals={
            "temporal_attention": torch.rand(CLIPS, 50, generator=random),
            "logits": torch.randn(CLIPS, len(CLASSES), generator=random) * size,
            "clip_embedding": torch.randn(CLIPS, EMBEDDING, generator=random) * size,
            "frame_embedding": torch.randn(CLIPS, 13, EMBEDDING, generator=random) * size,
            "attention_map": rows_of_map / rows_of_map.sum(2, keepdim=True),
        },
        signal_lengths={
            "temporal_attention": TEACHER_FRAMES,
            "logits": torch.full((CLIPS,), len(CLASSES)),
            "clip_embedding": torch.full((CLIPS,), EMBEDDING),
            "frame_embedding": POOLED_FRAMES,
            "attention_map": POOLED_FRAMES,
        },
        clips=np.arange(CLIPS),
        feature_grid=FEATURE_GRID,
    )


def free_output(size: float = 1.0) -> StudentOutput:
    """Answers of a student that can say anything: its answers are what is trained."""
    random = torch.Generator().manual_seed(1)
    return StudentOutput(
        logits_BC=(torch.randn(CLIPS, 4, generator=random) * size).requires_grad_(),
        context_BTD=(torch.randn(CLIPS, 25, FEATURES, generator=random) * size).requires_grad_(),
        context_lengths_B=(FRAMES + 1) // 2,
        hop_s=0.04,
        first_frame_s_B=torch.full((CLIPS,), 0.02),
    )


@functools.cache
def answered(student_name: str) -> tuple[Student, StudentOutput, Batch]:
    """What a student says, cut off from how it came to it."""
    torch.manual_seed(0)
    student: Student = load_plugin(STUDENTS, student_name, "student")(len(CLASSES))
    batch = batch_for(FRONT_ENDS[student.front_end].features)
    output = student.train()(batch.features_BTM, batch.lengths_B)
    attention = output.attention_BHT
    return (
        student,
        replace(
            output,
            logits_BC=output.logits_BC.detach(),
            context_BTD=output.context_BTD.detach(),
            attention_BHT=None if attention is None else attention.detach(),
        ),
        batch,
    )


def test_there_are_losses() -> None:
    assert set(LOSSES) == {"temporal", "logits", "sp", "iusp", "attention-map"}


@every_loss
def test_it_names_the_signals_it_needs(name: str) -> None:
    loss = load_plugin(LOSSES, name, "loss")
    assert loss.signals
    assert set(loss.signals) <= set(batch_for().signals)


@every_loss
@every_student
@every_task
def test_it_serves_every_student(name: str, student_name: str, task: str) -> None:
    kind, output, batch = answered(student_name)
    setup = LossSetup.of(
        kind, student_name, task=task, classes=CLASSES, covered=(0, 1, 2, 3), grids=GRIDS,
    )  # fmt: skip
    loss: DistillationLoss = load_plugin(LOSSES, name, "loss")(setup)
    leaves = (output.logits_BC.requires_grad_(), output.context_BTD.requires_grad_())
    value = loss(output, batch)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value > 0
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    found = [gradient for gradient in gradients if gradient is not None]
    assert found
    assert all(torch.isfinite(gradient).all() for gradient in found)
    assert any((gradient != 0).any() for gradient in found)


@every_student
def test_native_attention_is_taken_where_there_is_one(student_name: str) -> None:
    kind, output, batch = answered(student_name)
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


@every_loss
@every_task
def test_training_lowers_it(name: str, task: str) -> None:
    loss, output, batch = build(name, task), free_output(), batch_for()
    leaves = [output.logits_BC, output.context_BTD]
    optimizer = torch.optim.Adam([*leaves, *loss.parameters()], 1e-2)
    values = []
    for _ in range(30):
        value = loss(output, batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert all(later < earlier for earlier, later in itertools.pairwise(values))


@every_loss
@every_task
@pytest.mark.parametrize("size", [0.0, 1e-6, 1e4])
def test_it_is_finite_on_extreme_input(name: str, task: str, size: float) -> None:
    loss, output = build(name, task), free_output(size)
    value = loss(output, batch_for(size=size))
    leaves = [output.logits_BC, output.context_BTD, *loss.parameters()]
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


@every_loss
def test_the_same_input_gives_the_same_value(name: str) -> None:
    values = [build(name)(free_output(), batch_for()).item() for _ in range(2)]
    assert values[0] == values[1]


@every_loss
def test_what_lies_in_the_padding_changes_nothing(name: str) -> None:
    output, batch = free_output(), batch_for()
    expected = build(name)(output, batch).item()
    with torch.no_grad():
        for row, frames in enumerate(output.context_lengths_B.tolist()):
            output.context_BTD[row, frames:] = 1e3
    for signal in GRIDS:
        for row, frames in enumerate(batch.signal_lengths[signal].tolist()):
            batch.signals[signal][row, frames:] = 1e3
            if signal == "attention_map":
                batch.signals[signal][row, :, frames:] = 1e3
    assert build(name)(output, batch).item() == pytest.approx(expected, abs=1e-6)


@every_loss
def test_mixed_precision_outside_leaves_it_in_float32(name: str) -> None:
    expected = build(name)(free_output(), batch_for())
    with torch.autocast("cpu", torch.bfloat16):
        value = build(name)(free_output(), batch_for())
    assert value.dtype == torch.float32
    assert value.item() == expected.item()


@every_loss
def test_a_student_in_bfloat16_gets_a_float32_loss(name: str) -> None:
    output = free_output()
    half = replace(
        output, logits_BC=output.logits_BC.bfloat16(), context_BTD=output.context_BTD.bfloat16()
    )
    value = build(name)(half, batch_for())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(build(name)(output, batch_for()).item(), rel=0.1)


@every_loss
def test_its_parameters_are_its_own(name: str) -> None:
    loss, output = build(name), free_output()
    loss(output, batch_for()).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert bool(list(loss.parameters())) == (name in {"temporal", "attention-map"})


@every_loss
def test_a_wrong_option_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="known: "):
        typed_options(load_plugin(LOSSES, name, "loss"), {"colour": "red"}, f"loss {name}")


@pytest.mark.parametrize("name", ["temporal", "iusp", "attention-map"])
def test_a_loss_over_frames_needs_their_times(name: str) -> None:
    with pytest.raises(UsageError, match="needs the hop of") as caught:
        build(name, grids={})
    assert caught.value.kind == "options"


def test_temporal_can_do_without_times() -> None:
    temporal = load_plugin(LOSSES, "temporal", "loss")
    setup = LossSetup(
        student="free", context_dim=FEATURES, native_attention=False, task="single",
        classes=CLASSES, covered=(0,),
    )  # fmt: skip
    assert temporal(setup, align="ends")(free_output(), batch_for()) > 0


@every_loss
def test_a_missing_signal_is_named_with_the_command_that_adds_it(name: str, tmp_path: Path) -> None:
    cache = open_cache(write_small_cache(tmp_path / "cache"))
    cache.__dict__["signals"] = {"waveform": cache.signals["waveform"]}
    settings = Settings(
        student="tc-resnet", student_options={}, distill=(parse_distillation(f"{name}=0.5"),),
        label_weight=0.5, seed=0, recipe=next(iter(RECIPES.values())),
    )  # fmt: skip
    (signal,) = load_plugin(LOSSES, name, "loss").signals
    with pytest.raises(CacheError, match=f"--signal {signal}") as caught:
        check_signals(cache, settings)
    assert f"loss '{name}' needs the signal '{signal}'" in str(caught.value)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(student.losses.__path__)])
def test_examples_in_docstrings_hold(module: str) -> None:
    found = importlib.import_module(f"student.losses.{module}")
    assert doctest.testmod(found).failed == 0
