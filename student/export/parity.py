"""Whether a written file gives its student's outputs: the file itself is run, in its own runtime.

Shape suffixes: N clips, T frames, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.front_ends import FRONT_ENDS, FrontEnd
from student.export.clips import TrialClip, TrialClips, cut_and_joined, given
from student.export.forms import FormSpec
from student.export.interface import Arrays, Runner
from student.metrics import MAIN_METRIC, measure
from student.metrics.interface import Predictions
from student.models.interface import Student
from student.predict.contract import ATTENTION, FEATURES, LOGITS, NEXT_STATE, STATE

# A step is compared at every frame on so many clips, at the last one on all.
EVERY_FRAME_CLIPS, EVERY_FRAME_FRAMES = 4, 40
UNSEEN_BATCHES = (1, 3, 5)
ROUNDING_CLIPS = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """A metric of a student and of its file on so many clips; None where it has no value."""

    clips: int
    student: float | None
    file: float | None


@dataclass(frozen=True, slots=True)
class Unfilled:
    """What the student knows of clips that a static form fills up with silence.

    Attributes
    ----------
    clips : int
        How many of the held-out labelled clips are filled up.
    student : float or None
        The score of all of them on their own sound, as `evaluate-student` gives it.
    """

    clips: int
    student: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """A file against its student.

    Attributes
    ----------
    clips : int
        Clips tried.
    largest_difference : float
        Of all outputs, divided by the student's largest value of that output where it is above 1.
    rounding : float
        The same of the student's own outputs in float32 from those in float64, on some of the clips.
    agreement : float
        Share of clips with the same likeliest class; of a float file also one that is as likely but for
        the difference.
    metric : str
        The task's main one.
    scores, held_out : Scores
        By it, on all clips with labels, which tells the two apart best; and on those alone that the
        student was not trained on, which is how good they are.
    unfilled : Unfilled
        Beside `held_out`, what filling clips up costs.
    shapes : list of list of int
        Sizes of the batches that a form of any length was also tried with: clips and frames.
    source : str
        Where the clips come from.
    """

    clips: int
    largest_difference: float
    rounding: float
    agreement: float
    metric: str
    scores: Scores
    held_out: Scores
    unfilled: Unfilled
    shapes: list[list[int]]
    source: str

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Trial:
    """What a student and its file are tried on, with the student's outputs.

    Attributes
    ----------
    student : Student
        As trained, in evaluation mode.
    spec : FormSpec
        The form of the file.
    clips : TrialClips
        On what.
    task, classes
        Of the run.
    expected : sequence of mapping
        The student's own output for each clip: its logits, and its attention where it has one.
    rounding : float
        See :class:`Parity`.
    """

    student: Student
    spec: FormSpec
    clips: TrialClips
    task: str
    classes: tuple[str, ...]
    expected: Sequence[Arrays]
    rounding: float

    @classmethod
    def of(
        cls, student: Student, spec: FormSpec, clips: TrialClips, task: str, classes: Sequence[str]
    ) -> Trial:
        """Run the student on each clip."""
        attends = spec.kind != "step"
        expected = [
            _student_answer(student, clip.features_TM[None], attends=attends)
            for clip in clips.clips
        ]
        exact = deepcopy(student).double()
        rounding = [
            _difference(answer, _student_answer(exact, clip.features_TM[None], attends=attends))
            for clip, answer in zip(clips.clips[:ROUNDING_CLIPS], expected, strict=False)
        ]
        return cls(student, spec, clips, task, tuple(classes), expected, float(np.max(rounding)))

    def compare(self, runner: Runner, *, exact: bool) -> Parity:
        """Run a file on all clips; `exact` also at lengths, batches and frames of its own."""
        front_end = FRONT_ENDS[self.student.front_end]
        found = [file_answer(runner, clip, self.spec, front_end) for clip in self.clips.clips]
        pairs = list(zip(found, self.expected, strict=True))
        differences = [_difference(*pair) for pair in pairs]
        shapes: list[list[int]] = []
        if exact and self.spec.kind == "dynamic":
            for shape, difference in self._unseen(runner):
                shapes.append(shape)
                differences.append(difference)
        if exact and self.spec.kind == "step":
            differences += self._every_frame(runner)
        largest = float(np.max(differences))  # NaN if one is
        same = [_same_class(*pair, tie=2 * largest if exact else 0.0) for pair in pairs]
        return Parity(
            clips=len(found),
            largest_difference=largest,
            rounding=self.rounding,
            agreement=float(np.mean(same)),
            metric=MAIN_METRIC[self.task],
            scores=self._scores(found, len(found)),
            held_out=self._scores(found, self.clips.held_out),
            unfilled=self.unfilled,
            shapes=shapes,
            source=self.clips.source,
        )

    def _scores(self, found: Sequence[Arrays], clips: int) -> Scores:
        """Score both on the first so many clips."""
        chosen = self.clips.clips[:clips]
        labels = {n: c.labels_C for n, c in enumerate(chosen) if c.labels_C is not None}
        if not labels:
            return Scores(0, None, None)
        labels_NC = torch.from_numpy(np.stack(list(labels.values())))
        values = []
        for answers in (self.expected, found):
            logits_NC = torch.from_numpy(np.concatenate([answers[n][LOGITS] for n in labels]))
            predictions = Predictions.of(logits_NC, labels_NC, task=self.task, classes=self.classes)
            score = measure(predictions)
            values.append(score.value if score.defined else None)
        return Scores(len(labels), *values)

    @cached_property
    def unfilled(self) -> Unfilled:
        """The student's score of the held-out clips where silence fills none of them up."""
        chosen = self.clips.clips[: self.clips.held_out]
        filled = {n: c.own_TM for n, c in enumerate(chosen) if c.own_TM is not None}
        own = list(self.expected)
        for n, own_TM in filled.items():
            if len(own_TM) >= self.student.shortest_frames:
                own[n] = _student_answer(self.student, own_TM[None], attends=False)
        clips = sum(chosen[n].labels_C is not None for n in filled)
        return Unfilled(clips, self._scores(own, len(chosen)).file if filled else None)

    def _unseen(self, runner: Runner) -> Iterator[tuple[list[int], float]]:
        """Three lengths, each in batches of three sizes, none of them the traced example's."""
        shortest, front_end = self.student.shortest_frames, FRONT_ENDS[self.student.front_end]
        for frames in (shortest, shortest + 29, shortest + 130):
            for count in UNSEEN_BATCHES:
                batch = list(cut_and_joined(self.clips.clips, self.spec, front_end, frames, count))
                features = np.stack([clip.features_TM for clip in batch])
                taken = np.stack([given(clip, self.spec) for clip in batch])
                expected = _student_answer(self.student, features, attends=True)
                yield (
                    [count, frames],
                    _difference(runner.run({str(self.spec.takes): taken}), expected),
                )

    def _every_frame(self, runner: Runner) -> list[float]:
        """Steps against the clip so far, at each of the first frames of some clips."""
        front_end, differences = FRONT_ENDS[self.student.front_end], []
        for clip in self.clips.clips[:EVERY_FRAME_CLIPS]:
            answers = islice(steps(runner, clip, self.spec, front_end), EVERY_FRAME_FRAMES)
            for number, (_, answer) in enumerate(answers, 1):
                features = clip.features_TM[None, :number]
                so_far = _student_answer(self.student, features, attends=False)
                differences.append(_difference(answer, so_far))
        return differences


def file_answer(runner: Runner, clip: TrialClip, spec: FormSpec, front_end: FrontEnd) -> Arrays:
    """Run a file on a clip: as a whole, or frame by frame to its end."""
    if spec.kind != "step":
        return runner.run({spec.takes: given(clip, spec)[None]})
    last: Arrays = {}
    for _, answer in steps(runner, clip, spec, front_end):
        last = answer
    return {LOGITS: last[LOGITS]}


def steps(
    runner: Runner, clip: TrialClip, spec: FormSpec, front_end: FrontEnd
) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield a step's inputs and outputs at each frame of a clip."""
    shapes = {facts.name: [int(size) for size in facts.shape] for facts in runner.inputs[1:]}
    state: dict[str, NDArray[Any]] = {n: np.zeros(s, np.float32) for n, s in shapes.items()}
    for frame in _frames(clip, spec, front_end):
        inputs = {spec.takes: frame[None], **state}
        answer = runner.run(inputs)
        yield inputs, answer
        state = {name: answer[NEXT_STATE + name.removeprefix(STATE)] for name in state}


def _frames(clip: TrialClip, spec: FormSpec, front_end: FrontEnd) -> NDArray[np.float32]:
    """What goes into each step: a frame of features, or the samples of a window."""
    found = given(clip, spec)
    if spec.takes == FEATURES:
        return found
    windows_NW = np.lib.stride_tricks.sliding_window_view(found, front_end.window_samples)
    return windows_NW[:: front_end.hop_samples]


def _student_answer(
    student: Student, features_BTM: NDArray[np.float32], *, attends: bool
) -> dict[str, NDArray[Any]]:
    """The student as it was trained, its lengths given and masks in place."""
    lengths_B = torch.full((len(features_BTM),), features_BTM.shape[1])
    with torch.no_grad():
        features = torch.from_numpy(np.ascontiguousarray(features_BTM))
        output = student(features.to(next(student.parameters()).dtype), lengths_B)
        answer = {LOGITS: output.logits_BC.numpy()}
        if attends and student.native_attention:
            answer[ATTENTION] = student.frame_attribution(output).numpy()
    return answer


# Infinity less infinity is no number, which meets no bar.
@np.errstate(invalid="ignore")
def _difference(found: Arrays, expected: Arrays) -> float:
    """Largest difference of any output, relative above 1; infinite where shapes differ."""
    worst = []
    for name, value in expected.items():
        if found[name].shape != value.shape:
            return float("inf")
        scale = max(1.0, float(np.abs(value).max()))
        worst.append(float(np.abs(found[name] - value).max()) / scale)
    return float(np.max(worst))


@np.errstate(invalid="ignore")
def _same_class(found: Arrays, expected: Arrays, tie: float) -> bool:
    """Whether the file's likeliest class is the student's, or one of equally likely ones."""
    logits_C = expected[LOGITS][0]
    predicted = found[LOGITS][0].argmax()
    closest = tie * max(1.0, float(np.abs(logits_C).max()))
    return bool(logits_C[predicted] >= logits_C.max() - closest)
