"""A training step of each student: clips a second, and what lengths and bookkeeping add.

The trainer's own step (loss, gradient, clipping, Adam, checks) is compared with the bare network's
forward and backward pass and Adam on the same padded batch, every frame valid and nothing masked. On
batches of one length that is the cost of masks and bookkeeping; ragged batches also keep padding out of
every normalisation, which the bare network does not.

Shape suffixes: B clips, T frames, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time

import numpy as np
import torch
from figures import Figure, interleaved, median
from torch import nn
from watched import settings_of

from cache_schema.frame_grid import FrameGrid
from cache_schema.front_ends import FRONT_ENDS
from student.runs.settings import build_student
from student.stream.batch import Batch
from student.training.learner import GRADIENT_NORM
from student.training.objective import Objective

STUDENTS = (
    "tc-resnet", "ds-tc-resnet", "bc-resnet", "crnn", "lstm-p", "att-rnn", "mhatt-rnn", "mobilenet",
)  # fmt: skip
CLASSES = 12
BOUND = "<= 1.15"


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Every student on clips of 2 s; TC-ResNet by batch size and length too."""
    rounds = 1 if quick else 15
    for student in STUDENTS[:1] if quick else STUDENTS:
        yield from _student(student, 32, 2.0, rounds)
    sizes = (
        ((8, 0.5),) if quick else tuple((b, s) for s in (1.0, 2.0, 4.0) for b in (16, 32, 64, 128))
    )
    for clips, seconds in sizes:
        yield from list(_student("tc-resnet", clips, seconds, rounds))[:1]


def _student(name: str, clips: int, seconds: float, rounds: int) -> Iterator[Figure]:
    cases = {
        "bare": _bare_step(name, _batch(name, clips, seconds, ragged=False)),
        "equal lengths": _step(name, _batch(name, clips, seconds, ragged=False)),
        "ragged": _step(name, _batch(name, clips, seconds, ragged=True)),
    }
    seconds_of = interleaved(cases, rounds, process_time)
    what = f"{name}, {clips} clips of {seconds:g} s"
    details = {case: [1e3 * s / clips for s in several] for case, several in seconds_of.items()}
    yield Figure(
        what=what,
        value=clips / median(seconds_of["equal lengths"]),
        unit="clips/s",
        note="CPU time, one thread",
        details={"ms_a_clip": details},
    )
    for case, bound in {"equal lengths": BOUND, "ragged": ""}.items():
        yield Figure(
            what=f"{what}, {case}",
            value=median(np.divide(seconds_of[case], seconds_of["bare"]).tolist()),
            unit="x",
            bound=bound,
            against="the bare network on the same padded batch, CPU time",
        )


def _batch(name: str, clips: int, seconds: float, *, ragged: bool) -> Batch:
    student = build_student(name, {}, CLASSES)
    preset = FRONT_ENDS[student.front_end]
    frames = int(seconds / preset.hop_s) - 1
    random = torch.Generator().manual_seed(0)
    lengths_B = torch.full((clips,), frames)
    if ragged:
        lengths_B = torch.randint(frames // 2, frames + 1, (clips,), generator=random)
        lengths_B[0] = frames
    return Batch(
        features_BTM=torch.randn(clips, frames, preset.features, generator=random),
        lengths_B=lengths_B,
        labels_BC=torch.eye(CLASSES)[torch.arange(clips) % CLASSES],
        labelled_B=torch.ones(clips, dtype=torch.bool),
        signals={},
        signal_lengths={},
        clips=np.arange(clips),
        feature_grid=FrameGrid(preset.hop_s, preset.first_frame_s),
    )


def _bare_step(name: str, batch: Batch) -> Callable[[], None]:
    student = build_student(name, {}, CLASSES).train()
    optimizer = torch.optim.Adam(student.parameters(), fused=True)

    def step() -> None:
        logits_BC = student(batch.features_BTM, None).logits_BC
        loss = nn.functional.cross_entropy(logits_BC, batch.labels_BC)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _step(name: str, batch: Batch) -> Callable[[], None]:
    """What `student.training.learner.Learner` does with a batch."""
    student = build_student(name, {}, CLASSES)
    objective = Objective(student, {}, settings_of(name, ()), {}, "single").train()
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)

    def step() -> None:
        losses = objective(batch)
        assert bool(torch.isfinite(losses["total"]))
        optimizer.zero_grad()
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(objective.parameters(), GRADIENT_NORM)
        assert bool(torch.isfinite(norm))
        optimizer.step()

    return step
