"""The temporal loss against hand values and an oracle in NumPy float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from loss_inputs import (
    CLASSIFIER_CD,
    FEATURES,
    STUDENT_FRAMES,
    STUDENT_GRID,
    TEACHER_GRID,
    batch_of,
    loss_setup,
    one_clip,
    oracle_visible,
    output_of,
    ragged,
    times,
)

from cache_schema.errors import UsageError
from cache_schema.frame_grid import FrameGrid
from student.losses.frames import interpolate
from student.losses.temporal import TemporalLoss, attention_divergence, sharpened
from student.models.interface import StudentOutput
from student.stream.batch import Batch

OPTIONS: list[dict[str, Any]] = [
    {},
    {"source": "native"},
    {"source": "evidence"},
    {"direction": "reverse"},
    {"align": "ends"},
    {"scale": True},
    {"renormalise": False},
    {"direction": "reverse", "renormalise": False, "source": "native"},
    {"align": "ends", "renormalise": False},
    {"align": "edges"},
    {"sharpen": 3.0},
    {"sharpen": 0.5, "align": "edges", "renormalise": False},
    {"source": "evidence", "sharpen": 3.0, "direction": "reverse"},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def softmax(scores: Any) -> Any:
    exponentials = np.exp(scores - scores.max(0))
    return exponentials / exponentials.sum(0)


def student_attention(loss: TemporalLoss, output: StudentOutput, clip: int) -> Any:
    frames = STUDENT_FRAMES[clip]
    if loss.query_D is not None:
        context = output.context_BTD[clip, :frames].double().numpy()
        return softmax(context @ loss.query_D.detach().double().numpy() * loss.factor)
    if loss.evidence is not None:
        winner = CLASSIFIER_CD[output.logits_BC[clip].argmax()]
        return softmax((output.context_BTD[clip, :frames] @ winner).double().numpy())
    assert output.attention_BHT is not None
    return softmax(output.attention_BHT[clip, :, :frames].double().numpy().T).mean(1)


def oracle(loss: TemporalLoss, output: StudentOutput, batch: Batch, **options: Any) -> float:
    """The loss as the paper reads, one clip at a time."""
    values = []
    for clip, frames in enumerate(STUDENT_FRAMES):
        own_frames = int(batch.signal_lengths["temporal_attention"][clip])
        teacher = batch.signals["temporal_attention"][clip, :own_frames].double().numpy()
        teacher = teacher ** options.get("sharpen", 1.0)
        teacher = teacher / teacher.sum()
        if options.get("align") == "ends":
            target = np.interp(
                np.linspace(0, own_frames - 1, frames), np.arange(own_frames), teacher
            )
        elif options.get("align") == "edges":
            centres = (np.arange(frames) + 0.5) * own_frames / frames - 0.5
            target = np.interp(centres, np.arange(own_frames), teacher)
        else:
            # Two teacher frames to a student's: the mean at the middles of its two halves.
            halves = [
                times(STUDENT_GRID, frames) + side * STUDENT_GRID.hop_s for side in (-1 / 4, 1 / 4)
            ]
            target = np.mean(
                [np.interp(at, times(TEACHER_GRID, own_frames), teacher) for at in halves], 0
            )
        visible = oracle_visible(batch, clip, frames)
        target, student = target[visible], student_attention(loss, output, clip)[visible]
        student = student / student.sum()
        if options.get("renormalise", True):
            target = target / target.sum()
        reverse = options.get("direction") == "reverse"
        first, second = (student, target) if reverse else (target, student)
        values.append(np.sum(first * np.log(first / second)))
    return float(np.mean(values))


@every_option
@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_temporal_equals_the_oracle(options: dict[str, Any], hide: bool, seed: int) -> None:
    torch.manual_seed(seed)
    loss = TemporalLoss(loss_setup(), **options)
    output, batch = ragged(seed, hide=hide)
    assert loss(output, batch).item() == pytest.approx(
        oracle(loss, output, batch, **options), abs=1e-5
    )


def small(attention: Any, scores: Any = None) -> tuple[StudentOutput, Batch]:
    """One clip: a context of zeros on the teacher's own grid."""
    teacher = torch.tensor([attention])
    signals = {"temporal_attention": teacher}
    heads = None if scores is None else torch.tensor([scores])
    output = output_of(torch.zeros(1, len(attention), FEATURES), TEACHER_GRID)
    return replace(output, attention_BHT=heads), batch_of(signals, {})


def test_temporal_by_hand() -> None:
    # Student (1/2, 1/2), teacher (1/4, 3/4): 1/4 ln(1/2) + 3/4 ln(3/2) = -0.17329 + 0.30410.
    value = TemporalLoss(loss_setup())(*small([0.25, 0.75]))
    assert value.item() == pytest.approx(0.13081, abs=1e-5)
    # The other way round: 1/2 ln 2 + 1/2 ln(2/3) = 0.34657 - 0.20273.
    value = TemporalLoss(loss_setup(), direction="reverse")(*small([0.25, 0.75]))
    assert value.item() == pytest.approx(0.14384, abs=1e-5)


def test_native_heads_are_averaged_as_weights_by_hand() -> None:
    # Heads (1, 0) and (1/2, 1/2) have the mean (3/4, 1/4); against (1/2, 1/2):
    # 1/2 ln(2/3) + 1/2 ln 2 = -0.20273 + 0.34657. The mean of the scores would give (1, 0).
    native = TemporalLoss(loss_setup(), source="native")
    assert not list(native.parameters())
    value = native(*small([0.5, 0.5], [[200.0, 0.0], [0.0, 0.0]]))
    assert value.item() == pytest.approx(0.14384, abs=1e-5)


def test_without_renormalising_by_hand() -> None:
    # Weights (1/8, 3/8) of sum 1/2, student (1/2, 1/2): 1/8 ln(1/4) + 3/8 ln(3/4).
    value = TemporalLoss(loss_setup(), renormalise=False)(*small([0.125, 0.375]))
    assert value.item() == pytest.approx(-0.17329 - 0.10788, abs=1e-5)


def test_a_coarse_student_meets_all_that_its_frames_cover() -> None:
    # Four teacher frames to each student frame. All weight lies on teacher frame 4, the first of
    # student frame 1, whose centre meets frames 5 and 6 alone: uniform against (0, 1, 0) is ln 3.
    peak = torch.nn.functional.one_hot(torch.tensor([4]), 12).float()
    coarse = FrameGrid(
        4 * TEACHER_GRID.hop_s, TEACHER_GRID.first_frame_s + 1.5 * TEACHER_GRID.hop_s
    )
    output = output_of(torch.zeros(1, 3, FEATURES), coarse)
    value = TemporalLoss(loss_setup())(output, batch_of({"temporal_attention": peak}, {}))
    assert value.item() == pytest.approx(math.log(3), abs=1e-5)


def read_weights(ratio: float, frames: int = 40) -> torch.Tensor:
    """How much of each teacher frame a student `ratio` times as coarse reads, in student frames."""
    coarse = FrameGrid(ratio * TEACHER_GRID.hop_s, TEACHER_GRID.first_frame_s)
    student = torch.zeros(frames, math.ceil(frames / ratio), FEATURES)
    loss = TemporalLoss(loss_setup(), renormalise=False)
    output = output_of(student, coarse)
    positions_BTN = loss._positions(output, torch.full((frames,), frames))
    one_hot = torch.eye(frames)  # clip u has all its weight on teacher frame u
    read = interpolate(one_hot, torch.full((frames,), frames), positions_BTN.flatten(1))
    return read.view_as(positions_BTN).mean(2).sum(1)


@pytest.mark.parametrize("ratio", [1.999, 2.0, 2.001, 3.0, 4.0])
def test_every_teacher_frame_is_read_alike_by_a_coarser_student(ratio: float) -> None:
    weights = read_weights(ratio)[4:-6]  # away from the ends, where the outermost frame is held
    assert weights.min() > 0.7 / ratio
    assert weights.max() < 1.3 / ratio


def test_a_student_of_twice_the_hop_reads_the_mean_of_its_frame_by_hand() -> None:
    # Student frame 1 lies on teacher frame 2 and reads at 1.5 and 2.5: (w1 + 2 w2 + w3) / 4.
    # Weights (0, 4, 2, 4, 0)/10 give it 3/10; frames 0 and 2 read (0, 0, 4, 0)/4 and (4, 0, 0)/4.
    coarse = FrameGrid(2 * TEACHER_GRID.hop_s, TEACHER_GRID.first_frame_s)
    output = output_of(torch.zeros(1, 3, FEATURES), coarse)
    batch = batch_of({"temporal_attention": torch.tensor([[0.0, 0.4, 0.2, 0.4, 0.0]])}, {})
    # Targets (1, 3, 1)/5 against uniform: 3/5 ln(9/5) + 2/5 ln(3/5).
    value = TemporalLoss(loss_setup())(output, batch)
    assert value.item() == pytest.approx(0.6 * math.log(1.8) + 0.4 * math.log(0.6), abs=1e-6)


def test_sharpening_by_hand() -> None:
    # (1/4, 3/4) squared is (1, 9)/10: against uniform 1/10 ln(1/5) + 9/10 ln(9/5).
    value = TemporalLoss(loss_setup(), sharpen=2.0)(*small([0.25, 0.75]))
    assert value.item() == pytest.approx(0.1 * math.log(0.2) + 0.9 * math.log(1.8), abs=1e-6)


def test_sharpening_small_weights_loses_none() -> None:
    # float32 cannot hold (1e-5)^10: the largest weight of the clip is divided out first.
    flat = torch.full((1, 1000), 1e-5)
    assert sharpened(flat, torch.tensor([1000]), 10.0).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sharpen", [0.0, -1.0, 10.5, float("nan"), float("inf")])
def test_a_power_out_of_bounds_is_a_usage_error(sharpen: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and at most 10"):
        TemporalLoss(loss_setup(), sharpen=sharpen)


def test_edges_is_torchs_own_interpolation() -> None:
    teacher = torch.rand(2, 49, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(teacher[:, None], size=25, mode="linear")[:, 0]
    loss = TemporalLoss(loss_setup(), align="edges")
    output = output_of(torch.zeros(2, 25, FEATURES), STUDENT_GRID)
    lengths = torch.tensor([49, 49])
    read = interpolate(teacher, lengths, loss._positions(output, lengths)[:, :, 0])
    torch.testing.assert_close(read, expected)


def test_a_hidden_frame_is_left_out_on_both_sides() -> None:
    # Features and context share a grid; frame 1 is hidden. Teacher (.2, .5, .3) becomes (.4, .6),
    # the uniform student (1/2, 1/2): .4 ln .8 + .6 ln 1.2.
    output, batch = small([0.2, 0.5, 0.3])
    hidden = torch.tensor([[False, True, False]])
    batch = replace(batch, feature_grid=TEACHER_GRID, hidden_BT=hidden)
    value = TemporalLoss(loss_setup())(output, batch)
    assert value.item() == pytest.approx(-0.08926 + 0.10939, abs=1e-5)


def test_a_long_rounding_of_times_does_not_shift_what_is_hidden() -> None:
    frames = 3000
    output = output_of(torch.zeros(1, frames, FEATURES), FrameGrid(0.02, 0.02))
    hidden = torch.arange(frames)[None] % 2 == 1
    batch = batch_of({"temporal_attention": torch.ones(1, frames)}, {}, hidden)
    loss = TemporalLoss(loss_setup(), align="ends")
    # Half of the frames are left: a uniform student equals a uniform teacher only if it is the same.
    output.context_BTD[0, 1::2] = 5.0
    assert loss(output, batch).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("source", ["auxiliary", "native", "evidence"])
def test_nothing_visible_or_nothing_audible_adds_nothing(direction: Any, source: Any) -> None:
    loss = TemporalLoss(loss_setup(), direction=direction, source=source)
    for silent in (False, True):
        output, batch = ragged(hide=True)
        assert batch.hidden_BT is not None
        assert output.attention_BHT is not None
        output.context_BTD.requires_grad_()
        output.attention_BHT.requires_grad_()
        if silent:
            batch.signals["temporal_attention"].zero_()
        else:
            batch.hidden_BT.fill_(True)
        value = loss(output, batch)
        value.backward()
        assert value.item() == 0
        moved = output.attention_BHT if source == "native" else output.context_BTD
        assert moved.grad is not None
        assert (moved.grad == 0).all()


@every_option
@pytest.mark.parametrize("hide", [False, True])
def test_temporal_ignores_padding_and_neighbours(options: dict[str, Any], hide: bool) -> None:
    torch.manual_seed(0)
    loss = TemporalLoss(loss_setup(), **options)
    values = [loss(*ragged(padding=padding, hide=hide)).item() for padding in (0, 1, 13)]
    assert values == pytest.approx([values[0]] * 3, abs=1e-6)
    output, batch = ragged(hide=hide)
    alone = [loss(*one_clip(output, batch, clip)).item() for clip in range(3)]
    assert np.mean(alone) == pytest.approx(values[0], abs=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("mass", [1.0, 0.5])
def test_gradient_is_zero_where_student_equals_teacher(direction: Any, mass: float) -> None:
    teacher = torch.tensor([[0.1, 0.2, 0.7, 0.0], [0.5, 0.25, 0.125, 0.125]])
    counted = torch.tensor([[True, True, True, False], [True, True, True, True]])
    scores = teacher.clamp_min(1e-9).log().masked_fill(~counted, -1e9).requires_grad_()
    student = torch.log_softmax(scores, 1)
    value = attention_divergence(student, teacher * mass, counted, direction=direction)
    value.backward()  # type: ignore[no-untyped-call]
    least = mass * math.log(mass) if direction == "forward" else -math.log(mass)
    assert value.item() == pytest.approx(least, abs=1e-6)
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-6


def test_a_head_mean_that_underflows_keeps_its_gradient() -> None:
    # Both heads give frame 1 a weight of e^-200: float32 has no such number, its logarithm has.
    output, batch = small([0.5, 0.5], [[200.0, 0.0], [200.0, 0.0]])
    assert output.attention_BHT is not None
    output.attention_BHT.requires_grad_()
    value = TemporalLoss(loss_setup(), source="native")(output, batch)
    value.backward()
    # 1/2 ln(1/2) + 1/2 (ln(1/2) + 200)
    assert value.item() == pytest.approx(100 - math.log(2), rel=1e-6)
    assert output.attention_BHT.grad is not None
    torch.testing.assert_close(
        output.attention_BHT.grad, torch.tensor([[[0.25, -0.25], [0.25, -0.25]]])
    )


def test_temporal_gradient_reaches_student_and_query_alone() -> None:
    output, batch = ragged(hide=True)
    output.context_BTD.requires_grad_()
    loss = TemporalLoss(loss_setup())
    loss(output, batch).backward()
    assert loss.query_D is not None
    assert loss.query_D.grad is not None
    assert loss.query_D.grad.abs().max() > 0
    assert output.context_BTD.grad is not None
    assert output.context_BTD.grad.abs().max() > 0
    assert (output.context_BTD.grad[0, 5:] == 0).all()
    assert output.logits_BC.grad is None
    assert output.attention_BHT is not None
    assert output.attention_BHT.grad is None
    assert batch.signals["temporal_attention"].grad is None
