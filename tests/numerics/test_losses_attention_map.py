"""The attention-map loss against hand values and an oracle in NumPy float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from loss_inputs import (
    COARSER,
    FEATURES,
    FINER,
    STUDENT_FRAMES,
    STUDENT_GRID,
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
from student.losses.attention_map import AttentionMapLoss, coarse_map, map_divergence
from student.losses.frames import SharedFrames, visible_frames
from student.models.interface import StudentOutput
from student.stream.batch import Batch

both_rates = pytest.mark.parametrize("grid", [COARSER, FINER], ids=["coarser", "finer"])
hidden_or_not = pytest.mark.parametrize("hide", [False, True])


def doubles(values: torch.Tensor) -> Any:
    return values.detach().double().numpy()


def oracle(loss: AttentionMapLoss, output: StudentOutput, batch: Batch, grid: Grid) -> float:
    """One clip and one row at a time."""
    values = []
    for clip, (frames, own_frames) in enumerate(zip(STUDENT_FRAMES, grid[1], strict=True)):
        student_KT, teacher_KU, kept = oracle_shared(batch, clip, grid)
        context = (student_KT @ doubles(output.context_BTD[clip, :frames]))[kept]
        query = context @ doubles(loss.query.weight).T
        key = context @ doubles(loss.key.weight).T
        whole = doubles(batch.signals["attention_map"][clip, :own_frames, :own_frames])
        target = (teacher_KU @ whole @ (teacher_KU > 0).T)[np.ix_(kept, kept)]
        clip_rows = []
        for row, scores in zip(target, query @ key.T / np.sqrt(query.shape[1]), strict=True):
            p, q = row / row.sum(), np.exp(scores) / np.exp(scores).sum()
            clip_rows.append(np.sum(p * np.log(p / q)))
        values.append(np.mean(clip_rows) if clip_rows else 0.0)
    return float(np.mean(values))


@both_rates
@hidden_or_not
@pytest.mark.parametrize("seed", range(3))
def test_attention_map_equals_the_oracle(grid: Grid, hide: bool, seed: int) -> None:
    torch.manual_seed(seed)
    loss = AttentionMapLoss(grid_setup(grid[0]), width=4)
    output, batch = ragged(seed, grid=grid, hide=hide)
    expected = oracle(loss, output, batch, grid)
    assert loss(output, batch).item() == pytest.approx(expected, abs=2e-6)


def test_attention_map_by_hand() -> None:
    # A context of zeros relates every frame to every other alike. Rows (1, 0) and (1/4, 3/4)
    # against (1/2, 1/2): ln 2 = 0.69315 and 0.13081, of which the mean.
    teacher = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    output = output_of(torch.zeros(1, 2, FEATURES), STUDENT_GRID)
    batch = batch_of({"attention_map": teacher}, {})
    value = AttentionMapLoss(grid_setup(STUDENT_GRID))(output, batch)
    assert value.item() == pytest.approx(0.41198, abs=1e-5)


def test_scores_are_scaled_products_of_projections_by_hand() -> None:
    # Contexts 1 and 2 with Q = (2, 0) and K = (3, 0), width 2: scores 6 t u / sqrt 2 for t, u in
    # (1, 2) are 4.2426, 8.4853; 8.4853, 16.9706. Rows (1, 0): softplus of the differences.
    loss = AttentionMapLoss(replace(grid_setup(STUDENT_GRID), context_dim=1), width=2)
    with torch.no_grad():
        loss.query.weight.copy_(torch.tensor([[2.0], [0.0]]))
        loss.key.weight.copy_(torch.tensor([[3.0], [0.0]]))
    batch = batch_of({"attention_map": torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])}, {})
    value = loss(output_of([[[1.0], [2.0]]], STUDENT_GRID), batch)
    assert value.item() == pytest.approx((4.25693 + 8.48549) / 2, abs=1e-4)


def test_a_finer_map_is_pooled_as_the_cache_does_by_hand() -> None:
    # Frames 0, 1 become one and 2, 3 the other: queries averaged, keys summed.
    fine = torch.tensor([[
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 0.5, 0.5, 0.0],
        [0.25, 0.25, 0.25, 0.25],
        [0.0, 0.0, 0.0, 1.0],
    ]])  # fmt: skip
    halves = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]])
    shared = SharedFrames(halves, student_is_finer=False)
    assert coarse_map(fine, shared).tolist() == [[[0.75, 0.25], [0.25, 0.75]]]


@both_rates
@hidden_or_not
def test_attention_map_ignores_padding_and_neighbours(grid: Grid, hide: bool) -> None:
    loss = AttentionMapLoss(grid_setup(grid[0]))
    values = [loss(*ragged(padding=p, grid=grid, hide=hide)).item() for p in (0, 1, 13)]
    assert values == pytest.approx([values[0]] * 3, abs=1e-6)
    output, batch = ragged(grid=grid, hide=hide)
    alone = [loss(*one_clip(output, batch, clip)).item() for clip in range(3)]
    assert np.mean(alone) == pytest.approx(values[0], abs=1e-6)


def test_attention_map_gradient_is_zero_where_maps_are_equal() -> None:
    target = torch.tensor([[[0.2, 0.8, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    keys = torch.tensor([[[True, True, False]]])
    scores = (target * 3).clamp_min(1e-9).log().requires_grad_()
    value = map_divergence(scores, target * 0.5, keys)
    (gradient,) = torch.autograd.grad(value, scores)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


def test_rows_without_weight_on_what_is_shared_do_not_count() -> None:
    # The second row looks at the key that is left out; the first is uniform against (1, 0).
    target = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    keys = torch.tensor([[[True, True, False]]])
    value = map_divergence(torch.zeros(1, 2, 3), target, keys)
    assert value.item() == pytest.approx(np.log(2), abs=1e-6)


def test_attention_map_gradient_reaches_student_and_projections_alone() -> None:
    output, batch = ragged(hide=True)
    output.context_BTD.requires_grad_()
    loss = AttentionMapLoss(loss_setup())
    loss(output, batch).backward()
    for weight in (loss.query.weight, loss.key.weight):
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0
    assert output.context_BTD.grad is not None
    visible_BT = visible_frames(output, batch)
    assert (output.context_BTD.grad[~visible_BT] == 0).all()
    assert (output.context_BTD.grad[visible_BT] != 0).any()
    assert batch.signals["attention_map"].grad is None


def test_nothing_visible_teaches_no_map() -> None:
    output, batch = ragged()
    batch = replace(batch, hidden_BT=torch.ones(3, 20, dtype=torch.bool))
    output.context_BTD.requires_grad_()
    value = AttentionMapLoss(loss_setup())(output, batch)
    value.backward()
    assert value.item() == 0
    assert output.context_BTD.grad is not None
    assert (output.context_BTD.grad == 0).all()


def test_attention_map_rejects_what_it_cannot_use() -> None:
    with pytest.raises(UsageError, match=r"width .* must be 1 to 4096, got 0"):
        AttentionMapLoss(loss_setup(), width=0)
    with pytest.raises(UsageError, match=r"needs the hop of attention_map.*--signal attention_map"):
        AttentionMapLoss(loss_setup(grids={"frame_embedding": FrameGrid(1.0, 0.5)}))
