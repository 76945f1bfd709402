"""Ragged input for losses, and the frame arithmetic again in NumPy float64, one clip at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cache_schema.frame_grid import FrameGrid
from student.losses.interface import LossSetup
from student.models.interface import StudentOutput
from student.stream.batch import Batch

FEATURES, EMBEDDING, HEADS = 6, 5, 3
CLASSES = ("a", "b", "c")
STUDENT_FRAMES = [5, 1, 8]
STUDENT_GRID = FrameGrid(0.04, 0.03)
FEATURE_GRID = FrameGrid(0.02, 0.02)
TEACHER_GRID = FrameGrid(0.02, 0.0125)
TEACHER_FRAMES = [11, 3, 15]
POOLED_GRID = FrameGrid(0.1, 0.0525)
POOLED_FRAMES = [2, 1, 4]
FINER, COARSER = (TEACHER_GRID, TEACHER_FRAMES), (POOLED_GRID, POOLED_FRAMES)
CLASSIFIER_CD = torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(5))
Grid = tuple[FrameGrid, list[int]]


def evidence(output: StudentOutput) -> torch.Tensor:
    """Terms of the winning logit, as of a student that takes a mean over frames."""
    weight_BD = CLASSIFIER_CD[output.logits_BC.argmax(1)]
    return torch.einsum("btd,bd->bt", output.context_BTD, weight_BD)


def loss_setup(**changes: Any) -> LossSetup:
    """Facts of the student and cache that `ragged` pretends to come from."""
    facts: dict[str, Any] = {
        "student": "small",
        "context_dim": FEATURES,
        "native_attention": True,
        "task": "single",
        "classes": CLASSES,
        "covered": (0, 1, 2),
        "grids": {
            "temporal_attention": TEACHER_GRID,
            "frame_embedding": POOLED_GRID,
            "attention_map": POOLED_GRID,
        },
        "evidence": evidence,
    }
    return LossSetup(**facts | changes)


def grid_setup(grid: FrameGrid) -> LossSetup:
    """The same with another grid of the pooled signals."""
    return loss_setup(grids={"frame_embedding": grid, "attention_map": grid})


def ragged(
    seed: int = 0, *, padding: int = 0, grid: Grid = COARSER, hide: bool = False
) -> tuple[StudentOutput, Batch]:
    """Three clips of differing lengths; all padding holds rubbish.

    `grid` is that of the embeddings and the map; `hide` hides stretches of feature frames.
    """
    draw = np.random.default_rng(seed)
    _, pooled_frames = grid
    context = [draw.normal(size=(n, FEATURES)) for n in STUDENT_FRAMES]
    scores = [draw.normal(size=(n, HEADS)) for n in STUDENT_FRAMES]
    attention = [draw.dirichlet(np.ones(n)) for n in TEACHER_FRAMES]
    embeddings = [draw.normal(size=(n, EMBEDDING)) for n in pooled_frames]
    maps = [draw.dirichlet(np.ones(n), size=n) for n in pooled_frames]
    output = StudentOutput(
        logits_BC=tensor(draw.normal(size=(3, 3)) * 3),
        context_BTD=padded(context, padding, 9.0),
        context_lengths_B=torch.tensor(STUDENT_FRAMES),
        hop_s=STUDENT_GRID.hop_s,
        first_frame_s_B=torch.full((3,), STUDENT_GRID.first_frame_s),
        attention_BHT=padded(scores, padding, -np.inf).mT,
    )
    hidden = torch.from_numpy(draw.random((3, 16)) < 0.4) if hide else None
    fixed = {
        "logits": tensor(draw.normal(size=(3, 3)) * 3),
        "clip_embedding": tensor(draw.normal(size=(3, EMBEDDING))),
    }
    framed = {
        "temporal_attention": padded(attention, padding, 7.0),
        "frame_embedding": padded(embeddings, padding, 7.0),
        "attention_map": padded_maps(maps, padding, 7.0),
    }
    lengths = {
        "temporal_attention": torch.tensor(TEACHER_FRAMES),
        "frame_embedding": torch.tensor(pooled_frames),
        "attention_map": torch.tensor(pooled_frames),
    }
    return output, batch_of({**fixed, **framed}, lengths, hidden)


def batch_of(
    signals: dict[str, torch.Tensor],
    lengths: dict[str, torch.Tensor],
    hidden_BT: torch.Tensor | None = None,
) -> Batch:
    """A batch around signals; what no loss looks at is empty."""
    clips = len(next(iter(signals.values())))
    widths = {name: torch.full((clips,), signal.shape[-1]) for name, signal in signals.items()}
    return Batch(
        features_BTM=torch.zeros(clips, 1, 1),
        lengths_B=torch.ones(clips, dtype=torch.int64),
        labels_BC=torch.eye(clips),
        labelled_B=torch.ones(clips, dtype=torch.bool),
        signals=signals,
        signal_lengths={**widths, **lengths},
        clips=np.arange(clips),
        feature_grid=FEATURE_GRID,
        hidden_BT=hidden_BT,
    )


def output_of(context: Any, grid: FrameGrid = STUDENT_GRID, **changes: Any) -> StudentOutput:
    """An output around a context (clips, frames, features) without padding."""
    context_BTD = torch.as_tensor(context, dtype=torch.float32)
    clips, frames = context_BTD.shape[:2]
    return replace(
        StudentOutput(
            logits_BC=torch.zeros(clips, 3),
            context_BTD=context_BTD,
            context_lengths_B=torch.full((clips,), frames),
            hop_s=grid.hop_s,
            first_frame_s_B=torch.full((clips,), grid.first_frame_s),
        ),
        **changes,
    )


def one_clip(output: StudentOutput, batch: Batch, clip: int) -> tuple[StudentOutput, Batch]:
    """A clip of a batch by itself, with the same padding."""
    row = slice(clip, clip + 1)
    attention, hidden = output.attention_BHT, batch.hidden_BT
    return replace(
        output,
        logits_BC=output.logits_BC[row],
        context_BTD=output.context_BTD[row],
        context_lengths_B=output.context_lengths_B[row],
        first_frame_s_B=output.first_frame_s_B[row],
        attention_BHT=None if attention is None else attention[row],
    ), replace(
        batch,
        signals={name: signal[row] for name, signal in batch.signals.items()},
        signal_lengths={name: lengths[row] for name, lengths in batch.signal_lengths.items()},
        hidden_BT=None if hidden is None else hidden[row],
    )


def tensor(values: Any) -> torch.Tensor:
    """Float32."""
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def padded(rows: list[Any], padding: int, rubbish: float) -> torch.Tensor:
    """Rows of (frames, ...) in one tensor, `padding` frames longer than the longest."""
    longest = max(len(row) for row in rows) + padding
    whole = np.full((len(rows), longest, *rows[0].shape[1:]), rubbish)
    for place, row in zip(whole, rows, strict=True):
        place[: len(row)] = row
    return tensor(whole)


def padded_maps(rows: list[Any], padding: int, rubbish: float) -> torch.Tensor:
    """Square rows in one tensor."""
    longest = max(len(row) for row in rows) + padding
    whole = np.full((len(rows), longest, longest), rubbish)
    for place, row in zip(whole, rows, strict=True):
        place[: len(row), : len(row)] = row
    return tensor(whole)


def times(grid: FrameGrid, frames: int) -> Any:
    """Centres of frames in seconds."""
    return grid.first_frame_s + grid.hop_s * np.arange(frames)


def oracle_visible(batch: Batch, clip: int, frames: int) -> Any:
    """Which of a clip's context frames the student could see."""
    if batch.hidden_BT is None:
        return np.ones(frames, bool)
    hidden = batch.hidden_BT[clip].numpy()
    at = (times(STUDENT_GRID, frames) - FEATURE_GRID.first_frame_s) / FEATURE_GRID.hop_s
    nearest = np.floor(at + 0.5 + 1e-6).astype(int)
    return np.array([not (0 <= i < len(hidden) and hidden[i]) for i in nearest])


def oracle_weights(
    coarse_s: Any, coarse_hop_s: float, fine_s: Any, fine_hop_s: float, counted: Any, resize: str
) -> Any:
    """Weights of fine frames in each coarse one; rows of zeros are left out."""
    weights = np.zeros((len(coarse_s), len(fine_s)))
    for k, centre_s in enumerate(coarse_s):
        for t, time_s in enumerate(fine_s):
            away = time_s - centre_s
            if resize == "mean":
                inside = -coarse_hop_s / 2 - 1e-9 <= away < coarse_hop_s / 2 - 1e-9
                weights[k, t] = float(inside) * counted[t]
            else:
                weights[k, t] = max(0.0, 1 - abs(away) / fine_hop_s) * counted[t]
        if weights[k].sum() > 0:
            weights[k] /= weights[k].sum()
    return weights


def oracle_shared(
    batch: Batch, clip: int, grid: Grid, resize: str = "mean"
) -> tuple[Any, Any, Any]:
    """Weights of a clip's student and teacher frames, and which coarse frames are kept."""
    frames, own_frames = STUDENT_FRAMES[clip], grid[1][clip]
    student_s, teacher_s = times(STUDENT_GRID, frames), times(grid[0], own_frames)
    visible = oracle_visible(batch, clip, frames)
    student_hop_s, teacher_hop_s = STUDENT_GRID.hop_s, grid[0].hop_s
    if student_hop_s > teacher_hop_s:
        teacher = oracle_weights(
            student_s, student_hop_s, teacher_s, teacher_hop_s, np.ones(own_frames), resize
        )
        teacher = teacher * visible[:, None]
        kept = teacher.sum(1) > 0
        return np.eye(frames) * kept, teacher, kept
    student = oracle_weights(teacher_s, teacher_hop_s, student_s, student_hop_s, visible, resize)
    kept = student.sum(1) > 0
    return student, np.eye(own_frames) * kept, kept
