"""Several teachers as one: their logits averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError, bullet_list
from cache_schema.frame_grid import FrameGrid
from cache_schema.signal_names import DROPPED_MASS, LOGITS, TEMPORAL_ATTENTION
from pipeline.teachers import open_teacher
from pipeline.teachers.interface import Batching, Task, Teacher
from pipeline.teachers.signals import check_request

_ATTENTION = (TEMPORAL_ATTENTION, DROPPED_MASS)


class EnsembleTeacher:
    """Several teachers as one: the mean of their signals.

    Gives the mean of the members' logits, in the first member's order of classes. Gives the mean of
    their temporal attention and dropped mass only where all members have it on the same frames;
    ``provenance["attention"]`` records whether. It gives no other signal: layers and embeddings of
    different models have no mean.

    Parameters
    ----------
    members : sequence of Teacher
        Two or more that agree in classes (in any order), task and sample rate.

    Raises
    ------
    UsageError
        If members disagree; lists all differences.
    """

    family = "ensemble"
    example = "ensemble:members=toy;toy"

    def __init__(self, members: Sequence[Teacher]) -> None:
        _check_members_alike(members)
        self._members = tuple(members)
        first = members[0]
        self.sample_rate_hz, self.classes = first.sample_rate_hz, first.classes
        self.task: Task = first.task
        exact = any(member.batching == "exact" for member in members)
        self.batching: Batching = "exact" if exact else "near"
        self.min_samples = max(member.min_samples for member in members)
        self.max_samples = _shortest_limit(members)
        shared = _share_frames(members, self.min_samples, self.max_samples)
        names = (LOGITS, *_ATTENTION) if shared else (LOGITS,)
        self.signals: Mapping[str, FrameGrid | None] = {n: first.signals[n] for n in names}
        self._columns = [[m.classes.index(name) for name in self.classes] for m in members]
        self.provenance = self._provenance("mean" if shared else "left out: frames differ")

    @classmethod
    def from_options(
        cls, *, members: str = "", classes: str = "", task: Task = "single"
    ) -> EnsembleTeacher:
        """Open each of `members`, joined by semicolons, as ``--teacher`` names a teacher."""
        named = [name for name in classes.split(";") if name]
        texts = [text for text in members.split(";") if text]
        return cls([open_teacher(text, classes=named, task=task) for text in texts])

    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""
        return self._members[0].row_shape(signal, samples)

    def load(self, device: str) -> None:
        """Load every member."""
        for member in self._members:
            member.load(device)

    def infer(
        self, waveforms: Sequence[NDArray[np.float32]], signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Average the members' outputs for each waveform; see `Teacher.infer`."""
        check_request(self, [len(waveform) for waveform in waveforms], signals)
        outputs = [member.infer(waveforms, signals) for member in self._members]
        return [
            {name: self._mean(name, [output[clip] for output in outputs]) for name in signals}
            for clip in range(len(waveforms))
        ]

    def _mean(
        self, signal: str, answers: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> NDArray[np.float32]:
        values = [answer[signal] for answer in answers]
        if signal == LOGITS:
            pairs = zip(values, self._columns, strict=True)
            values = [row[columns] for row, columns in pairs]
        mean: NDArray[np.float64] = np.stack(values).mean(axis=0, dtype=np.float64)
        return np.asarray(mean, dtype=np.float32)

    def _provenance(self, attention: str) -> dict[str, Any]:
        names = [str(member.provenance["id"]) for member in self._members]
        return {
            "id": f"ensemble of {' and '.join(names)}",
            "family": self.family,
            # Without their ids: what a folder is called does not change an output.
            "members": [
                {key: fact for key, fact in member.provenance.items() if key != "id"}
                for member in self._members
            ],
            "attention": attention,
            "dtype": "float32",
            "options": {},
            "classes": list(self.classes),
            "task": self.task,
            "sample_rate_hz": self.sample_rate_hz,
        }


def _check_members_alike(members: Sequence[Teacher]) -> None:
    if len(members) < 2:
        raise UsageError(
            f"an ensemble needs two or more members, got {len(members)}; give "
            "--teacher 'ensemble:members=FOLDER1;FOLDER2'",
            kind="options",
        )
    problems = [line for member in members[1:] for line in _differences(members[0], member)]
    problems += [
        f"{m.provenance['id']} has no classification head" for m in members if not m.classes
    ]
    shortest = max(member.min_samples for member in members)
    if (longest := _shortest_limit(members)) is not None and longest < shortest:
        problems.append(f"one member takes {longest} samples at most, another {shortest} at least")
    if problems:
        raise UsageError(
            f"these teachers make no ensemble:\n{bullet_list(problems)}\nChoose members that were "
            "fine-tuned on the same classes (finetune-teacher CORPUS)",
            kind="ensemble",
        )


def _differences(first: Teacher, other: Teacher) -> Iterator[str]:
    """List what keeps two members from being averaged, both values side by side."""
    one, two = first.provenance["id"], other.provenance["id"]
    for name, alone in (
        (one, set(first.classes) - set(other.classes)),
        (two, set(other.classes) - set(first.classes)),
    ):
        if alone:
            yield f"classes: only {name} has {', '.join(sorted(alone))}"
    if first.task != other.task:
        yield f"task: {one} {first.task}, {two} {other.task}"
    if first.sample_rate_hz != other.sample_rate_hz:
        yield f"sample rate: {one} {first.sample_rate_hz} Hz, {two} {other.sample_rate_hz} Hz"


def _shortest_limit(members: Sequence[Teacher]) -> int | None:
    limits = [member.max_samples for member in members if member.max_samples is not None]
    return min(limits, default=None)


def _share_frames(members: Sequence[Teacher], shortest: int, longest: int | None) -> bool:
    """Return whether all members' frames lie at the same times and are as many for any input."""
    if any(name not in member.signals for member in members for name in _ATTENTION):
        return False
    grids = {member.signals[TEMPORAL_ATTENTION] for member in members}
    grid = grids.pop()
    if grids or grid is None:
        return False
    # Counts that agree over two whole hops agree for good.
    hop_samples = round(grid.hop_s * members[0].sample_rate_hz)
    last = min(longest or math.inf, shortest + 2 * hop_samples)
    return all(
        len({member.row_shape(TEMPORAL_ATTENTION, n) for member in members}) == 1
        for n in range(shortest, int(last) + 1)
    )
