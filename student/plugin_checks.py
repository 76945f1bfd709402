"""What every student, loss, metric and exporter must do, as checks for the tests of whoever adds one.

A test of a package that adds a student ``my-student`` is::

    @pytest.mark.parametrize("check", STUDENT_CHECKS)
    def test_my_student(check): check("my-student")

and likewise with ``LOSS_CHECKS`` and ``METRIC_CHECKS``; those of ``EXPORTER_CHECKS`` also take a folder
to write into. What to expect is taken from the plug-in's own declarations. Our own plug-ins pass the
same checks in ``tests/contract``.

Shape suffixes: B clips, T frames, M bands, C classes, N clips of a metric.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.testing import assert_close

from cache_schema.errors import UsageError
from cache_schema.frame_grid import FrameGrid
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin, parse_named_options, plugin_names, typed_options
from student.augmentation.mixup import draw_mixup
from student.augmentation.spec_augment import spec_augment
from student.export import ANY_LENGTH
from student.export.bars import check_parity
from student.export.clips import generated_clips
from student.export.forms import FormSpec, build_graph
from student.export.interface import Exporter, Graph
from student.export.parity import Trial
from student.export.request import ExportRequest, check_exporter, load_exporter
from student.losses import LOSSES
from student.losses.interface import DistillationLoss, LossSetup
from student.metrics import is_share, load_metric, measure
from student.metrics.interface import Predictions, tasks_of
from student.models import STUDENTS
from student.models.interface import Student, StudentOutput
from student.predict.contract import FEATURES
from student.recipes import SpecAugment
from student.runs.settings import Settings, loss_class, student_class
from student.stream.batch import Batch
from student.training.objective import Objective, mixup_loss

CLASSES = ("a", "b", "c", "d")
TASKS = ("single", "multi")
LENGTHS = (49, 1, 2, 30, 48, 7)
"""Feature frames of the clips that students are checked with."""
UNPADDED_FRAMES = 7
"""Frames from which no student has to lengthen a clip; its context then lies within it."""


# --- students ------------------------------------------------------------------------------------


def build_student(name: str, classes: int = len(CLASSES)) -> Student:
    """Build a student without options, from a fixed seed."""
    torch.manual_seed(0)
    student: Student = student_class(name)(classes)
    return student


def student_input(student: Student) -> tuple[Tensor, Tensor]:
    """Features (B, T, M) of clips of several lengths, noise in the padding, and the lengths."""
    generator = torch.Generator().manual_seed(1)
    bands = FRONT_ENDS[student.front_end].features
    return torch.randn(len(LENGTHS), max(LENGTHS), bands, generator=generator), torch.tensor(
        LENGTHS
    )


def settled_student(name: str) -> Student:
    """A student whose normalisation has seen data, in evaluation mode."""
    student = build_student(name)
    with torch.no_grad():
        student.train()(*student_input(student))
    return student.eval()


def switch_dropout_off(module: nn.Module) -> None:
    """For `nn.Module.apply`."""
    if isinstance(module, nn.Dropout | nn.Dropout1d):
        module.p = 0.0


def labelled_batch(student: Student) -> Batch:
    """The clips of `student_input` with labels and no signals."""
    features, lengths = student_input(student)
    preset, clips = FRONT_ENDS[student.front_end], len(LENGTHS)
    return Batch(
        features_BTM=features,
        lengths_B=lengths,
        labels_BC=torch.eye(len(CLASSES))[torch.arange(clips) % len(CLASSES)],
        labelled_B=torch.ones(clips, dtype=torch.bool),
        signals={},
        signal_lengths={},
        clips=np.arange(clips),
        feature_grid=FrameGrid(preset.hop_s, preset.first_frame_s),
    )


@torch.no_grad()
def student_shapes(name: str) -> None:
    """Shapes and types of the output; frames beyond a clip's own are zero."""
    student = build_student(name).eval()
    output = student(*student_input(student))
    clips, frames = len(LENGTHS), output.context_BTD.shape[1]
    assert type(vars(student)["context_width"]) is int
    assert output.logits_BC.shape == (clips, len(CLASSES))
    assert output.context_BTD.shape == (clips, frames, student.context_width)
    assert output.logits_BC.dtype == output.context_BTD.dtype == torch.float32
    assert output.context_lengths_B.shape == output.first_frame_s_B.shape == (clips,)
    assert output.context_lengths_B.dtype == torch.int64
    assert output.first_frame_s_B.dtype == torch.float32
    assert int(output.context_lengths_B.min()) >= 1
    assert int(output.context_lengths_B.max()) == frames
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert (output.context_BTD[row, length:] == 0).all()


@torch.no_grad()
def student_attention(name: str) -> None:
    """Attention of its own is there if declared, and minus infinity on padding."""
    student = settled_student(name)
    output = student(*student_input(student))
    assert (output.attention_BHT is not None) == student.native_attention
    if output.attention_BHT is None:
        return
    assert output.attention_BHT.dim() == 3
    assert output.attention_BHT.shape[::2] == output.context_BTD.shape[:2]
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert output.attention_BHT[row, :, :length].isfinite().all()
        assert (output.attention_BHT[row, :, length:] == -torch.inf).all()


@torch.no_grad()
def student_times(name: str) -> None:
    """Frames of the context lie within the clip, or less than one of their hops beside it."""
    student = build_student(name).eval()
    preset = FRONT_ENDS[student.front_end]
    output = student(*student_input(student))
    assert output.hop_s >= preset.hop_s * 0.999
    for row, length in enumerate(LENGTHS):
        first_s = float(output.first_frame_s_B[row])
        last_s = first_s + (int(output.context_lengths_B[row]) - 1) * output.hop_s
        clip_end_s = preset.first_frame_s + (length - 1) * preset.hop_s
        if length >= UNPADDED_FRAMES:
            assert preset.first_frame_s - output.hop_s < first_s
            assert last_s < clip_end_s + output.hop_s


@torch.no_grad()
def student_is_seeded(name: str) -> None:
    """The same seed builds the same student, and the same input gives the same output."""
    first, second = build_student(name).eval(), build_student(name).eval()
    outputs = [student(*student_input(first)) for student in (first, second, first)]
    for other in outputs[1:]:
        assert torch.equal(outputs[0].logits_BC, other.logits_BC)
        assert torch.equal(outputs[0].context_BTD, other.context_BTD)


@torch.no_grad()
def student_alone_and_in_a_batch(name: str) -> None:
    """A clip alone and in a padded batch give the same output, in float32 and float64.

    To 1e-5, relative above 1; that it is rounding and not a leak is for float64 to show.
    """
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
        student = settled_student(name).to(dtype)
        features, lengths = student_input(student)
        features = features.to(dtype)
        together = student(features, lengths)
        attribution_BT = student.frame_attribution(together)
        for row, length in enumerate(LENGTHS):
            alone = student(features[row : row + 1, :length], lengths[row : row + 1])
            frames = int(alone.context_lengths_B[0])
            assert together.context_lengths_B[row] == frames
            assert together.first_frame_s_B[row] == alone.first_frame_s_B[0]
            for batched, single in (
                (together.logits_BC[row], alone.logits_BC[0]),
                (together.context_BTD[row, :frames], alone.context_BTD[0]),
                (attribution_BT[row, :frames], student.frame_attribution(alone)[0]),
            ):
                assert_close(batched, single, atol=tolerance, rtol=tolerance)


@torch.no_grad()
def student_padding_in_training(name: str) -> None:
    """Padding does not reach training either."""
    features, lengths = student_input(build_student(name))
    wider = torch.cat([features, torch.full_like(features, 50.0)], 1)
    short, long = (
        build_student(name).train().apply(switch_dropout_off)(padded, lengths)
        for padded in (features, wider)
    )
    assert_close(short.logits_BC, long.logits_BC, atol=1e-4, rtol=0)


def student_without_lengths(name: str) -> None:
    """A batch without padding gives the same loss and gradients without its lengths."""
    student = build_student(name).double().train()
    student.apply(switch_dropout_off)
    generator = torch.Generator().manual_seed(2)
    bands = FRONT_ENDS[student.front_end].features
    features = torch.randn(4, 40, bands, generator=generator, dtype=torch.float64)
    found = []
    for lengths in (torch.full((4,), 40), None):
        output = student(features, lengths)
        loss = output.logits_BC.square().sum() + output.context_BTD.square().mean()
        gradients = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
        found.append([loss, *(g for g in gradients if g is not None)])
    for masked, plain in zip(*found, strict=True):
        assert_close(masked, plain, rtol=1e-8, atol=1e-10)


def student_learns(name: str) -> None:
    """Three steps lower the label loss of each task and move every parameter."""
    for task in TASKS:
        student = build_student(name).apply(switch_dropout_off)
        settings = Settings(
            student=name, student_options={}, distill=(), label_weight=1.0, seed=0,
            recipe=student.recipe,
        )  # fmt: skip
        objective = Objective(student, {}, settings, {}, task).train()
        batch = labelled_batch(student)
        before = {key: value.clone() for key, value in student.named_parameters()}
        losses = _trained(lambda: objective(batch)["total"], objective.parameters(), 4, 2e-4)  # noqa: B023
        assert min(losses[1:]) < losses[0]
        assert [k for k, v in student.named_parameters() if torch.equal(before[k], v)] == []


@torch.no_grad()
def student_attributes_to_valid_frames(name: str) -> None:
    """Where it finds its evidence is a distribution over each clip's own frames."""
    student = settled_student(name)
    output = student(*student_input(student))
    attribution_BT = student.frame_attribution(output)
    assert attribution_BT.shape == output.context_BTD.shape[:2]
    assert_close(attribution_BT.sum(1), torch.ones(len(LENGTHS)), atol=1e-5, rtol=0)
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert (attribution_BT[row, :length] >= 0).all()
        assert (attribution_BT[row, length:] == 0).all()


def _trained(value: Callable[[], Tensor], parameters: Any, steps: int, rate: float) -> list[float]:
    """Values before each of some steps of Adam."""
    optimizer, values = torch.optim.Adam(parameters, rate), []
    for _ in range(steps):
        loss = value()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(loss.item())
    return values


STUDENT_CHECKS: tuple[Callable[[str], None], ...] = (
    student_shapes, student_attention, student_times, student_is_seeded,
    student_alone_and_in_a_batch, student_padding_in_training, student_without_lengths,
    student_learns, student_attributes_to_valid_frames,
)  # fmt: skip


# --- losses --------------------------------------------------------------------------------------

CLIPS, WIDTH, EMBEDDING = 3, 8, 5
FRAMES = torch.tensor([49, 20, 2])
TEACHER_FRAMES = torch.tensor([50, 20, 3])
POOLED_FRAMES = torch.tensor([13, 5, 1])
GRIDS = {
    "temporal_attention": FrameGrid(0.02, 0.0125),
    "layer_attention": FrameGrid(0.02, 0.0125),
    "frame_embedding": FrameGrid(0.08, 0.0425),
    "attention_map": FrameGrid(0.08, 0.0425),
}


def build_loss(name: str, task: str = "single", **changes: Any) -> DistillationLoss:
    """Build a loss for a student of any kind."""
    facts: dict[str, Any] = {
        "student": "any", "context_dim": WIDTH, "native_attention": False, "task": task,
        "classes": CLASSES, "covered": tuple(range(len(CLASSES))), "grids": GRIDS,
    }  # fmt: skip
    torch.manual_seed(0)
    return made_loss(name, LossSetup(**facts | changes))


def made_loss(name: str, setup: LossSetup) -> DistillationLoss:
    """Build a loss without options, or as its `example`."""
    kind = loss_class(name)
    _, options = parse_named_options(getattr(kind, "example", name))
    return kind(setup, **typed_options(kind, options, f"loss {name}"))


def loss_batch(bands: int = 1, *, size: float = 1.0) -> Batch:
    """Three clips with every signal of a teacher; `size` scales those without a sum to keep."""
    random = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(CLIPS, *shape, generator=random)

    map_BTT = torch.rand(CLIPS, 13, 13, generator=random)
    signals = {
        "temporal_attention": (torch.rand(CLIPS, 50, generator=random), TEACHER_FRAMES),
        "layer_attention": (torch.rand(CLIPS, 50, 2, generator=random), TEACHER_FRAMES),
        "attention_map": (map_BTT / map_BTT.sum(2, keepdim=True), POOLED_FRAMES),
        "frame_embedding": (noise(13, EMBEDDING) * size, POOLED_FRAMES),
        "logits": (noise(len(CLASSES)) * size, torch.full((CLIPS,), len(CLASSES))),
        "clip_embedding": (noise(EMBEDDING) * size, torch.full((CLIPS,), EMBEDDING)),
    }
    return Batch(
        features_BTM=noise(49, bands),
        lengths_B=FRAMES,
        labels_BC=torch.eye(len(CLASSES))[:CLIPS],
        labelled_B=torch.tensor([True, False, True]),
        signals={signal: values for signal, (values, _) in signals.items()},
        signal_lengths={signal: lengths for signal, (_, lengths) in signals.items()},
        clips=np.arange(CLIPS),
        feature_grid=FrameGrid(0.02, 0.02),
    )


def free_output(size: float = 1.0) -> StudentOutput:
    """An output whose numbers are themselves what is trained."""
    random = torch.Generator().manual_seed(1)
    return StudentOutput(
        logits_BC=(torch.randn(CLIPS, 4, generator=random) * size).requires_grad_(),
        context_BTD=(torch.randn(CLIPS, 25, WIDTH, generator=random) * size).requires_grad_(),
        context_lengths_B=(FRAMES + 1) // 2,
        hop_s=0.04,
        first_frame_s_B=torch.full((CLIPS,), 0.02),
    )


def _finite(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Gradients of a loss, those that there are, after a look at both."""
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value.dtype == torch.float32
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    gradients = [gradient for gradient in found if gradient is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return gradients


def loss_declares(name: str) -> None:
    """It names the signals it needs, of those a teacher has, and the augmentation it supports."""
    loss = load_plugin(LOSSES, name, "loss")
    assert loss.signals
    assert set(loss.signals) <= set(loss_batch().signals)
    assert set(loss.supports) <= {"masking", "mixing"}


def loss_serves_every_student(name: str) -> None:
    """It has a gradient with the output of every student, in each task."""
    for student_name, task in itertools.product(plugin_names(STUDENTS, "student"), TASKS):
        student = build_student(student_name)
        batch = loss_batch(FRONT_ENDS[student.front_end].features)
        with torch.no_grad():
            output = student.train()(batch.features_BTM, batch.lengths_B)
        setup = LossSetup.of(
            student, student_name, task=task, classes=CLASSES, covered=(0, 1, 2, 3), grids=GRIDS
        )
        leaves = [output.logits_BC.requires_grad_(), output.context_BTD.requires_grad_()]
        value = made_loss(name, setup)(output, batch)
        assert value > 0, student_name
        assert any((g != 0).any() for g in _finite(value, leaves)), student_name


def loss_is_lowered_by_training(name: str) -> None:
    """Thirty steps on the output itself lower it at every step."""
    for task in TASKS:
        loss, output, batch = build_loss(name, task), free_output(), loss_batch()
        parameters = [output.logits_BC, output.context_BTD, *loss.parameters()]
        values = _trained(lambda: loss(output, batch), parameters, 30, 1e-2)  # noqa: B023
        assert all(later < earlier for earlier, later in itertools.pairwise(values)), values


def loss_is_finite(name: str) -> None:
    """Value and gradients are finite for output and signals of 0, 1e-6 and 1e4."""
    for task, size in itertools.product(TASKS, (0.0, 1e-6, 1e4)):
        loss, output = build_loss(name, task), free_output(size)
        leaves = [output.logits_BC, output.context_BTD, *loss.parameters()]
        _finite(loss(output, loss_batch(size=size)), leaves)


def loss_repeats(name: str) -> None:
    """The same input gives the same value."""
    first, again = (build_loss(name)(free_output(), loss_batch()).item() for _ in range(2))
    assert first == again


def loss_ignores_padding(name: str) -> None:
    """What lies in the padding of context and signals changes nothing."""
    output, batch = free_output(), loss_batch()
    expected = build_loss(name)(output, batch)
    with torch.no_grad():
        for row, frames in enumerate(output.context_lengths_B.tolist()):
            output.context_BTD[row, frames:] = 1e3
    for signal in GRIDS:
        for row, frames in enumerate(batch.signal_lengths[signal].tolist()):
            batch.signals[signal][row, frames:] = 1e3
            if signal == "attention_map":
                batch.signals[signal][row, :, frames:] = 1e3
    assert_close(build_loss(name)(output, batch), expected, atol=1e-6, rtol=1e-6)


def loss_is_computed_in_float32(name: str) -> None:
    """Mixed precision around it changes nothing, a student in bfloat16 little."""
    expected = build_loss(name)(free_output(), loss_batch())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(build_loss(name)(free_output(), loss_batch()), expected)
    output = free_output()
    half = replace(
        output, logits_BC=output.logits_BC.bfloat16(), context_BTD=output.context_BTD.bfloat16()
    )
    assert_close(build_loss(name)(half, loss_batch()), expected, rtol=0.1, atol=0)


def loss_trains_its_parameters(name: str) -> None:
    """Each of its own parameters has a gradient."""
    loss = build_loss(name)
    loss(free_output(), loss_batch()).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())


def loss_supports_what_it_declares(name: str) -> None:
    """Hidden frames and mixed clips leave it finite and positive, where it declares so."""
    random, loss_class = np.random.default_rng(0), load_plugin(LOSSES, name, "loss")
    for task in TASKS:
        loss, output, batch = build_loss(name, task), free_output(), loss_batch(40)
        leaves = [output.logits_BC, output.context_BTD]
        if "masking" in loss_class.supports:
            hidden = spec_augment(batch, SpecAugment(2, 10, 0, 1), random)
            assert _finite(loss(output, hidden), leaves)
        if "mixing" in loss_class.supports:
            mixing = draw_mixup(CLIPS, 0.3, random)
            assert _finite(mixup_loss(loss, output, batch, mixing), leaves)
            assert_close(loss.per_clip(output, batch).mean(), loss(output, batch))


def loss_lists_its_options(name: str) -> None:
    """An unknown option is an error that lists the known ones."""
    message = ""
    try:
        typed_options(load_plugin(LOSSES, name, "loss"), {"no_such_option": "1"}, f"loss {name}")
    except UsageError as error:
        message = str(error)
    assert "known: " in message


LOSS_CHECKS: tuple[Callable[[str], None], ...] = (
    loss_declares, loss_serves_every_student, loss_is_lowered_by_training, loss_is_finite,
    loss_repeats, loss_ignores_padding, loss_is_computed_in_float32, loss_trains_its_parameters,
    loss_supports_what_it_declares, loss_lists_its_options,
)  # fmt: skip


# --- metrics -------------------------------------------------------------------------------------


def metric_labels(task: str, clips: int = 60) -> NDArray[np.bool_]:
    """Random labels (N, C)."""
    random = np.random.default_rng(3)
    if task == "single":
        return np.eye(len(CLASSES), dtype=bool)[random.integers(0, len(CLASSES), clips)]
    return np.asarray(random.random((clips, len(CLASSES))) < 0.3)


def guesses(task: str, labels_NC: NDArray[np.bool_], knowledge: float) -> Predictions:
    """Noise in [-1, 1] and so much of the truth: beyond 1 all is right, below -1 all is wrong."""
    noise = np.random.default_rng(4).uniform(-1, 1, labels_NC.shape)
    return Predictions(noise + knowledge * (2.0 * labels_NC - 1), labels_NC, task, CLASSES)


def metric_rises_with_knowledge(name: str) -> None:
    """More knowledge scores higher, a share up to 1 from 0."""
    for task in tasks_of(load_metric(name)):
        labels = metric_labels(task)
        values = [measure(guesses(task, labels, k), name).value for k in (-9, 0, 0.3, 9)]
        assert values == sorted(values), values
        assert values[0] < values[1] < values[2]
        if is_share(name):
            shown = f"from {values[0]} to {values[3]}: 0 to 1, or declared `unbounded`"
            assert values[0] >= 0, shown
            assert abs(values[3] - 1) < 1e-6, shown


def metric_ignores_order(name: str) -> None:
    """The order of clips changes nothing, ties included."""
    for task in tasks_of(load_metric(name)):
        known = guesses(task, metric_labels(task), 0.3)
        order = np.random.default_rng(5).permutation(len(known.labels_NC))
        straight = Predictions(known.logits_NC.round(1), known.labels_NC, task, CLASSES)
        shuffled = Predictions(straight.logits_NC[order], straight.labels_NC[order], task, CLASSES)
        assert measure(shuffled, name) == measure(straight, name)


def metric_leaves_out_by_name(name: str) -> None:
    """A class without positives is named, or counts nothing, and spoils nothing."""
    for task in tasks_of(load_metric(name)):
        labels = metric_labels(task)
        single, present = task == "single", np.array([True, False, True, True])
        labels = labels[~labels[:, 1]] if single else labels & present
        found = measure(guesses(task, labels, 0.3), name)
        assert np.isfinite(found.value)
        assert found.left_out in ((), ("b",))


def metric_has_no_value_of_nothing(name: str) -> None:
    """Without clips, or without any positive, there is no value."""
    for task in tasks_of(load_metric(name)):
        found = measure(guesses(task, metric_labels(task, 0), 0), name)
        assert (found.clips, found.defined, found.left_out) == (0, False, ())
    if "multi" in tasks_of(load_metric(name)):
        found = measure(guesses("multi", np.zeros((5, len(CLASSES)), bool), 0), name)
        assert (found.clips, found.defined) == (5, False)
        assert found.left_out in ((), CLASSES)


METRIC_CHECKS: tuple[Callable[[str], None], ...] = (
    metric_rises_with_knowledge, metric_ignores_order, metric_leaves_out_by_name,
    metric_has_no_value_of_nothing,
)  # fmt: skip


# --- exporters -----------------------------------------------------------------------------------

EXPORTED, STEPPED = "tc-resnet", "crnn"
SECOND = 16_000


def exported_trial(name: str, spec: FormSpec) -> tuple[Graph, Trial]:
    """A student's form, and generated clips with the student's own outputs."""
    student = settled_student(name)
    clips = generated_clips(student.front_end, spec, len(CLASSES))
    return build_graph(student, spec), Trial.of(student, spec, clips, "single", CLASSES)


def exported_alike(exporter: Exporter, name: str, spec: FormSpec, path: Path) -> None:
    """Write a form; the file gives its student's outputs."""
    graph, trial = exported_trial(name, spec)
    exporter.write(graph, path)
    assert os.listdir(path.parent) == [path.name]
    runner = exporter.load(path)
    assert [facts.name for facts in runner.inputs] == list(graph.inputs)
    assert {facts.name for facts in runner.outputs} == set(graph.outputs)
    check_parity(trial.compare(runner, exact=True), spec, path.name)


def exporter_declares(name: str, folder: Path) -> None:
    """Its file has a plain name with a suffix, and what it lacks has a reason."""
    exporter = load_exporter(name)
    assert folder / exporter.file_name == folder / Path(exporter.file_name).name
    assert Path(exporter.file_name).suffix
    lacks = (exporter.why_not_any_length, exporter.why_not_waveform, exporter.why_not_int8)
    assert all(type(reason) is str for reason in lacks)


def exporter_refuses_what_it_lacks(name: str, folder: Path) -> None:
    """What is asked for and declared as lacking is rejected with that reason, anything else is not."""
    exporter = load_exporter(name)
    plain = ExportRequest(
        run=folder, to=name, out=folder, length_s=1.0, waveform=False, streaming=False, int8=False,
        calibrate=None, clips=200, page=None,
    )  # fmt: skip
    check_exporter(exporter, plain)
    for asked, reason in (
        (replace(plain, length_s=ANY_LENGTH), exporter.why_not_any_length),
        (replace(plain, waveform=True), exporter.why_not_waveform),
        (replace(plain, int8=True), exporter.why_not_int8),
    ):
        said = ""
        try:
            check_exporter(exporter, asked)
        except UsageError as error:
            said = str(error)
        assert said.endswith(f": not with --to {name}: {reason}") if reason else not said


def exporter_writes_clips(name: str, folder: Path) -> None:
    """A clip of features gets the student's output, in int8 nearly so from a smaller file."""
    exporter, spec = load_exporter(name), FormSpec(kind="static", takes="features", samples=SECOND)
    floats, int8 = folder / exporter.file_name, folder / f"int8-{exporter.file_name}"
    exported_alike(exporter, EXPORTED, spec, floats)
    if exporter.why_not_int8:
        return
    graph, trial = exported_trial(EXPORTED, spec)
    calibration = [{FEATURES: clip.features_TM[None]} for clip in trial.clips.clips]
    exporter.quantize(graph, floats, int8, calibration)
    assert sorted(os.listdir(folder)) == sorted([floats.name, int8.name])
    assert int8.stat().st_size < floats.stat().st_size
    assert trial.compare(exporter.load(int8), exact=False).agreement > 0.5


def exporter_writes_weights_alone(name: str, folder: Path) -> None:
    """Weights in int8 and activations in float answer more alike than this, where the format has it."""
    exporter = load_exporter(name)
    graph, trial = exported_trial(
        EXPORTED, FormSpec(kind="static", takes="features", samples=SECOND)
    )
    if not exporter.quantizes_weights_alone(graph):
        return
    assert not exporter.why_not_int8
    floats, int8 = folder / exporter.file_name, folder / f"int8-{exporter.file_name}"
    exporter.write(graph, floats)
    exporter.quantize_weights(graph, floats, int8)
    assert sorted(os.listdir(folder)) == sorted([floats.name, int8.name])
    assert int8.stat().st_size < 0.6 * floats.stat().st_size
    parity = trial.compare(exporter.load(int8), exact=False)
    assert parity.agreement > 0.8
    assert 0 < parity.largest_difference < 0.1


def exporter_writes_waveforms(name: str, folder: Path) -> None:
    """A waveform of any length, or of one, gets the student's output, where the format has it."""
    exporter = load_exporter(name)
    if exporter.why_not_waveform:
        return
    spec = FormSpec(kind="dynamic", takes="waveform")
    if exporter.why_not_any_length:
        spec = FormSpec(kind="static", takes="waveform", samples=SECOND)
    exported_alike(exporter, EXPORTED, spec, folder / exporter.file_name)


def exporter_writes_steps(name: str, folder: Path) -> None:
    """One frame after the other gets the student's output to the clip so far."""
    exporter = load_exporter(name)
    spec = FormSpec(kind="step", takes="features")
    exported_alike(exporter, STEPPED, spec, folder / exporter.file_name)


EXPORTER_CHECKS: tuple[Callable[[str, Path], None], ...] = (
    exporter_declares, exporter_refuses_what_it_lacks, exporter_writes_clips,
    exporter_writes_weights_alone, exporter_writes_waveforms, exporter_writes_steps,
)  # fmt: skip
