"""SP and IUSP, and the frame arithmetic beneath, against hand values and NumPy float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_inputs import (
    COARSER,
    FEATURES,
    FINER,
    STUDENT_FRAMES,
    Grid,
    batch_of,
    grid_setup,
    loss_setup,
    one_clip,
    oracle_shared,
    output_of,
    ragged,
)

from cache_schema.errors import UsageError
from cache_schema.frame_grid import FrameGrid
from student.losses.frames import (
    Frames,
    SharedFrames,
    share_frames,
    student_frames,
    teacher_frames,
    visible_frames,
)
from student.losses.iusp import IUSPLoss
from student.losses.sp import SPLoss, similarities
from student.models.interface import StudentOutput
from student.stream.batch import Batch

both_rates = pytest.mark.parametrize("grid", [COARSER, FINER], ids=["coarser", "finer"])
both_resizes = pytest.mark.parametrize("resize", ["mean", "linear"])
hidden_or_not = pytest.mark.parametrize("hide", [False, True])


def rows(features: Any) -> Any:
    """Gram matrix with rows of length 1, zero rows as they are."""
    return unit_rows(features @ features.T)


def unit_rows(gram: Any) -> Any:
    """A matrix with rows of length 1, zero rows as they are."""
    lengths = np.sqrt((gram**2).sum(1, keepdims=True))
    return np.divide(gram, lengths, out=np.zeros_like(gram), where=lengths > 0)


def doubles(values: torch.Tensor) -> Any:
    return values.double().numpy()


# SP


def test_sp_by_hand() -> None:
    # Student means (1, 0) and (0, 1): rows (1, 0) and (0, 1). Teacher (1, 0) and (1, 0): all rows
    # (a, a), a = 0.70711. Squares: 2 (1 - a)^2 + 2 a^2 = 0.17157 + 1, over 2^2.
    output = output_of([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 6.0]]])
    batch = batch_of({"clip_embedding": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}, {})
    assert SPLoss(loss_setup())(output, batch).item() == pytest.approx(0.29289, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_sp_equals_the_oracle(seed: int) -> None:
    output, batch = ragged(seed)
    means = [doubles(output.context_BTD[i, :n]).mean(0) for i, n in enumerate(STUDENT_FRAMES)]
    teacher = rows(doubles(batch.signals["clip_embedding"]))
    expected = np.sum((teacher - rows(np.array(means))) ** 2) / 9
    assert SPLoss(loss_setup())(output, batch).item() == pytest.approx(expected, abs=1e-6)


def test_sp_ignores_padding() -> None:
    values = [SPLoss(loss_setup())(*ragged(padding=padding)).item() for padding in (0, 1, 13)]
    assert values == pytest.approx([values[0]] * 3, abs=1e-6)


def sp_with(student: torch.Tensor, teacher: torch.Tensor) -> tuple[float, torch.Tensor]:
    output, batch = output_of(student[:, None].clone()), batch_of({"clip_embedding": teacher}, {})
    output.context_BTD.requires_grad_()
    value = SPLoss(loss_setup())(output, batch)
    value.backward()
    assert output.context_BTD.grad is not None
    return value.item(), output.context_BTD.grad[:, 0]


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
def test_sp_ends_at_the_same_directions_at_any_scale(scale: float) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(6, 4)
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    value, gradient = sp_with(teacher @ turn * scale, teacher)
    assert value == pytest.approx(0, abs=1e-12)
    assert (gradient * scale).abs().max() < 1e-6


def test_sp_takes_rows_of_zeros() -> None:
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    for teacher in (torch.tensor([[1.0], [2.0], [-1.0]]), torch.zeros(3, 1)):
        value, gradient = sp_with(student, teacher)
        assert np.isfinite(value)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() < 10
        assert (gradient[1:] != 0).any()


def test_one_clip_has_nothing_to_be_similar_to() -> None:
    value, gradient = sp_with(torch.ones(1, 3), torch.ones(1, 2))
    assert value == 0
    assert gradient.abs().max() < 1e-6


def test_sp_gradient_reaches_the_context_alone() -> None:
    output, batch = ragged()
    output.context_BTD.requires_grad_()
    loss = SPLoss(loss_setup())
    loss(output, batch).backward()
    gradient = output.context_BTD.grad
    assert gradient is not None
    assert (gradient[0, :5] != 0).all()
    assert (gradient[0, 5:] == 0).all()
    assert batch.signals["clip_embedding"].grad is None
    assert not list(loss.parameters())


def test_the_gradient_of_similarities_is_the_numerical_one() -> None:
    features = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(similarities, features)


# IUSP


def iusp_oracle(output: StudentOutput, batch: Batch, grid: Grid, resize: str) -> float:
    values = []
    for clip, (frames, own_frames) in enumerate(zip(STUDENT_FRAMES, grid[1], strict=True)):
        student_KT, teacher_KU, kept = oracle_shared(batch, clip, grid, resize)
        student = student_KT @ doubles(output.context_BTD[clip, :frames])
        teacher = teacher_KU @ doubles(batch.signals["frame_embedding"][clip, :own_frames])
        squares = np.sum((rows(teacher[kept]) - rows(student[kept])) ** 2)
        values.append(squares / max(kept.sum(), 1) ** 2)
    return float(np.mean(values))


@both_rates
@both_resizes
@hidden_or_not
@pytest.mark.parametrize("seed", range(3))
def test_iusp_equals_the_oracle(grid: Grid, resize: Any, hide: bool, seed: int) -> None:
    output, batch = ragged(seed, grid=grid, hide=hide)
    value = IUSPLoss(grid_setup(grid[0]), resize=resize)(output, batch).item()
    assert value == pytest.approx(iusp_oracle(output, batch, grid, resize), abs=1e-6)


@both_rates
@both_resizes
@hidden_or_not
def test_iusp_ignores_padding_and_neighbours(grid: Grid, resize: Any, hide: bool) -> None:
    loss = IUSPLoss(grid_setup(grid[0]), resize=resize)
    values = [loss(*ragged(padding=p, grid=grid, hide=hide)).item() for p in (0, 1, 13)]
    assert values == pytest.approx([values[0]] * 3, abs=1e-6)
    output, batch = ragged(grid=grid, hide=hide)
    alone = [loss(*one_clip(output, batch, clip)).item() for clip in range(3)]
    assert np.mean(alone) == pytest.approx(values[0], abs=1e-6)


def iusp_inputs(
    student: Any, student_grid: FrameGrid, teacher: Any, teacher_grid: FrameGrid
) -> tuple[IUSPLoss, StudentOutput, Batch]:
    embedding = torch.as_tensor(teacher, dtype=torch.float32)[None]
    batch = batch_of(
        {"frame_embedding": embedding}, {"frame_embedding": torch.tensor([len(teacher)])}
    )
    return IUSPLoss(grid_setup(teacher_grid)), output_of(np.array([student]), student_grid), batch


def test_iusp_by_hand() -> None:
    # Student frames every 20 ms, teacher every 40 ms, both from 0: the first teacher frame covers
    # -20 to 20 ms and so student frame 0 alone, the second frames 1 and 2, the third frame 3.
    # Student means (1, 0), (0, 1), (0, 1): rows (1, 0, 0), (0, a, a), (0, a, a). Teacher rows
    # from (1, 0), (1, 0), (0, 1): (a, a, 0), (a, a, 0), (0, 0, 1), a = 0.70711. Differences:
    # (1-a, -a, 0), (-a, 0, a), (0, a, a-1): 2 (1-a)^2 + 4 a^2 = 0.17157 + 2, over 3^2.
    student = [[1.0, 0.0], [1.0, 1.0], [-1.0, 1.0], [0.0, 1.0]]
    teacher = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    loss, output, batch = iusp_inputs(student, FrameGrid(0.02, 0.0), teacher, FrameGrid(0.04, 0.0))
    assert loss(output, batch).item() == pytest.approx(0.24129, abs=1e-5)


def test_what_one_side_alone_has_is_left_out() -> None:
    # The teacher covers 0.1 to 0.3 s, the student from 0.2 to 0.4 s: 0.2 and 0.3 s are shared.
    shared = [[1.0, 2.0], [-1.0, 1.0]]
    student, teacher = [*shared, [9.0, 9.0]], [[7.0, -7.0], *shared]
    loss, output, batch = iusp_inputs(student, FrameGrid(0.1, 0.2), teacher, FrameGrid(0.1, 0.1))
    output.context_BTD.requires_grad_()
    value = loss(output, batch)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert output.context_BTD.grad is not None
    assert (output.context_BTD.grad[0, 2] == 0).all()


def test_no_frame_in_common_adds_nothing() -> None:
    loss, output, batch = iusp_inputs(
        np.ones((2, 2)), FrameGrid(0.1, 5.0), np.ones((2, 3)), FrameGrid(0.1, 0.0)
    )
    output.context_BTD.requires_grad_()
    value = loss(output, batch)
    value.backward()
    assert value.item() == 0
    assert output.context_BTD.grad is not None
    assert (output.context_BTD.grad == 0).all()


@both_resizes
def test_iusp_ends_at_the_same_directions(resize: Any) -> None:
    output, batch = ragged(grid=FINER)
    turn = torch.linalg.qr(torch.randn(FEATURES, FEATURES)).Q[:5]
    student = replace(
        output,
        context_BTD=(batch.signals["frame_embedding"] @ turn * 3).requires_grad_(),
        context_lengths_B=batch.signal_lengths["frame_embedding"],
        hop_s=FINER[0].hop_s,
        first_frame_s_B=torch.full((3,), FINER[0].first_frame_s),
    )
    leaf = student.context_BTD
    value = IUSPLoss(grid_setup(FINER[0]), resize=resize)(student, batch)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value.item() == pytest.approx(0, abs=1e-10)
    assert gradient.abs().max() < 1e-6


@both_rates
def test_iusp_gradient_reaches_the_visible_context_alone(grid: Grid) -> None:
    output, batch = ragged(grid=grid, hide=True)
    output.context_BTD.requires_grad_()
    loss = IUSPLoss(grid_setup(grid[0]))
    loss(output, batch).backward()
    assert output.context_BTD.grad is not None
    visible_BT = visible_frames(output, batch)
    assert (output.context_BTD.grad[~visible_BT] == 0).all()
    assert (output.context_BTD.grad[visible_BT] != 0).any()
    assert batch.signals["frame_embedding"].grad is None
    assert not list(loss.parameters())


@both_rates
@both_resizes
@hidden_or_not
def test_resizing_features_is_resizing_the_gram_matrix_on_both_axes(
    grid: Grid, resize: Any, hide: bool
) -> None:
    output, batch = ragged(grid=grid, hide=hide)
    taught = teacher_frames(batch, "frame_embedding", grid[0])
    shared = share_frames(student_frames(output, batch), taught, resize)
    ours = similarities(shared.of_student(output.context_BTD))
    theirs = similarities(shared.of_teacher(batch.signals["frame_embedding"]))
    for clip, frames in enumerate(STUDENT_FRAMES):
        student_KT, teacher_KU, _ = oracle_shared(batch, clip, grid, resize)
        pairs = (
            (ours, student_KT, output.context_BTD[clip, :frames]),
            (theirs, teacher_KU, batch.signals["frame_embedding"][clip, : grid[1][clip]]),
        )
        for found, weights, values in pairs:
            gram = doubles(values) @ doubles(values).T
            resized, coarse = unit_rows(weights @ gram @ weights.T), len(weights)
            np.testing.assert_allclose(found[clip, :coarse, :coarse], resized, atol=1e-5)


def test_iusp_needs_to_know_where_frames_lie() -> None:
    with pytest.raises(UsageError, match=r"needs the hop of frame_embedding.*--signal frame_emb"):
        IUSPLoss(loss_setup(grids={}))


# Frames


def test_a_centre_between_two_coarse_frames_belongs_to_the_later() -> None:
    # Coarse centres 0.02, 0.06, 0.10: borders at 0.04 and 0.08, where fine centres lie.
    fine = Frames(0.02, torch.tensor([0.02]), torch.ones(1, 5, dtype=torch.bool))
    coarse = Frames(0.04, torch.tensor([0.02]), torch.ones(1, 3, dtype=torch.bool))
    shared = share_frames(fine, coarse)
    expected = [[1.0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0.5, 0.5]]
    assert shared.student_is_finer
    assert shared.weights_BKN.tolist() == [expected]
    other = share_frames(coarse, fine)
    assert not other.student_is_finer
    assert torch.equal(other.weights_BKN, shared.weights_BKN)


def test_linear_reads_between_the_two_nearest() -> None:
    fine = Frames(0.02, torch.tensor([0.0]), torch.ones(1, 5, dtype=torch.bool))
    coarse = Frames(0.04, torch.tensor([0.005]), torch.ones(1, 3, dtype=torch.bool))
    shared = share_frames(fine, coarse, "linear")
    expected = torch.tensor([[[0.75, 0.25, 0, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 0, 0, 0, 1.0]]])
    torch.testing.assert_close(shared.weights_BKN, expected)


@given(
    hops=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    firsts=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    frames=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    resize=st.sampled_from(["mean", "linear"]),
)
def test_frames_of_any_two_grids_meet(hops: Any, firsts: Any, frames: Any, resize: Any) -> None:
    """Grids in steps of 5 ms, up to 12 s long."""
    student, teacher = (
        Frames(h * 0.005, torch.tensor([f * 0.005]), torch.ones(1, n, dtype=torch.bool))
        for h, f, n in zip(hops, firsts, frames, strict=True)
    )
    shared = share_frames(student, teacher, resize)
    torch.testing.assert_close(shared.weights_BKN.sum(2), shared.kept().float())
    if resize == "mean":
        belongs_BKN = shared.weights_BKN > 0
        assert (belongs_BKN.sum(1) <= 1).all(), "a fine frame belongs to one coarse frame"
    # Inside the finer side's span no coarse frame goes without.
    coarse, fine = (0, 1) if hops[0] > hops[1] else (1, 0)
    first, last = firsts[fine], firsts[fine] + hops[fine] * (frames[fine] - 1)
    centres = firsts[coarse] + hops[coarse] * np.arange(frames[coarse])
    within = torch.from_numpy((centres >= first) & (centres <= last))
    assert shared.kept()[0][within].all()


def test_what_is_left_out_may_hold_anything() -> None:
    fine = torch.tensor([[[1.0], [3.0], [float("nan")]]])
    coarse = torch.tensor([[[7.0], [float("nan")]]])
    weights = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    shared = SharedFrames(weights, student_is_finer=True)
    assert shared.of_student(fine).tolist() == [[[2.0], [0.0]]]
    assert shared.of_teacher(coarse).tolist() == [[[7.0], [0.0]]]
