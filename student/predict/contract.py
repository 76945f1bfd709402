"""What an exported student declares: how it is called, through which front end, and what it names.

The contract lies in an ONNX file's metadata under `METADATA_KEY`, and in a device card. Files come
from strangers: sizes are bounded, and every field is checked against the others here, against the
graph itself in :mod:`student.predict.onnx_session`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cache_schema.documents import Digest, Document, Positive, problems_of
from cache_schema.errors import MAX_LISTED, RunError, bullet_list
from cache_schema.front_ends import FrontEnd, frame_count
from cache_schema.truncation import MAX_RATE_HZ, MIN_RATE_HZ

METADATA_KEY = "aftersound.contract"
EXPORT_A_RUN = "export-student RUN --to onnx --length-s SECONDS --out DIR"
FEATURES, WAVEFORM, LOGITS, ATTENTION = "features", "waveform", "logits", "attention"
STATE, NEXT_STATE = "state_", "next_state_"

# Far above any student: beyond them a small file would request all memory there is.
MAX_CONTRACT_BYTES = 4 << 20
MAX_CLASSES = 100_000
MAX_LENGTH_SAMPLES = 1 << 22
MAX_DFT_SAMPLES = 1 << 15
MAX_DFT_HOPS = 16
MAX_BANDS = 512
MAX_STATES = 64
MAX_ENTRIES = 1 << 24

ClassName = Annotated[str, Field(max_length=1000)]
Size = Annotated[int, Field(gt=0, le=MAX_ENTRIES)]
_Expected = tuple[str, Sequence[int | None]]
Rate = Annotated[int, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)]


class FrontEndSpec(Document):
    """A front end in full, as :class:`cache_schema.front_ends.FrontEnd` has it."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sample_rate_hz: Rate
    window_samples: Annotated[int, Field(gt=0, le=MAX_DFT_SAMPLES)]
    hop_samples: Annotated[int, Field(gt=0, le=MAX_DFT_SAMPLES)]
    dft_samples: Annotated[int, Field(gt=0, le=MAX_DFT_SAMPLES)]
    mel_bands: Annotated[int, Field(gt=0, le=MAX_BANDS)]
    low_hz: Annotated[float, Field(ge=0)]
    high_hz: Annotated[float, Field(gt=0)]
    coefficients: Annotated[int, Field(gt=0, le=MAX_BANDS)] | None
    log_floor: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _computable(self) -> Self:
        if self.dft_samples < self.window_samples:
            raise ValueError(
                f"a DFT of {self.dft_samples} samples cannot hold a window of {self.window_samples}"
            )
        if self.dft_samples > MAX_DFT_HOPS * self.hop_samples:
            raise ValueError(
                f"a DFT of {self.dft_samples} samples every {self.hop_samples}, at most "
                f"{MAX_DFT_HOPS} hops"
            )
        if not self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"bands from {self.low_hz:g} to {self.high_hz:g} Hz do not lie below half of "
                f"{self.sample_rate_hz} Hz"
            )
        if self.coefficients is not None and self.coefficients > self.mel_bands:
            raise ValueError(f"{self.coefficients} coefficients of {self.mel_bands} bands")
        return self

    def front_end(self) -> FrontEnd:
        """Give what :func:`cache_schema.front_ends.front_end_features` takes."""
        return FrontEnd(**self.model_dump())


class TensorSpec(Document):
    """An input or output; a size of None is free when the graph runs. The clips come first."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    shape: Annotated[list[Size | None], Field(min_length=1, max_length=8)]
    dtype: Literal["float32", "int8"] = "float32"

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.entries > MAX_ENTRIES:
            raise ValueError(f"{self.name} has {self.entries} entries, at most {MAX_ENTRIES}")
        return self

    @property
    def entries(self) -> int:
        """Entries of one clip's."""
        return math.prod(size or 1 for size in self.shape)


class Contract(Document):
    """How an exported student is called and what it gives.

    Attributes
    ----------
    form : {"static", "dynamic", "step"}
        Clips of one length, clips of any length, or one frame after the other.
    takes : {"features", "waveform"}
        The only input, or the first one of a step: `features` of shape (clips, frames, feature_bins),
        of a step (clips, feature_bins); `waveform` of shape (clips, samples), of a step the samples of
        one window of the front end.
    sample_rate_hz : int
        Of the waveform.
    classes : list of str
        Names of the logits.
    task : {"single", "multi"}
        A softmax over the classes, or a sigmoid of each.
    length_samples, frames : int or None
        Length of a static form's clips, in samples and in frames of the front end.
    feature_bins : int
        Features of a frame.
    front_end : FrontEndSpec
        From the waveform to the features.
    hop_s : float
        Seconds from one frame of `attention` to the next; of a step, from one call to the next.
    first_frame_s : float or None
        Centre of frame 0 of `attention`; None is the front end's.
    shortest_frames : int
        Frames that a dynamic form needs at least.
    inputs, outputs : list of TensorSpec
        In the graph's order. Outputs are `logits` (clips, classes) and, where the student has one,
        `attention` (clips, frames), which sums to 1; of a step, `logits` and `next_state_0` and so on,
        each as the input `state_0` and so on. A state begins at zero.
    student, student_options
        As in the run's settings.
    weights_sha256 : str
        Digest of the run's file of weights.
    """

    format_version: Literal[1] = 1
    form: Literal["static", "dynamic", "step"]
    takes: Literal["features", "waveform"]
    sample_rate_hz: Rate
    classes: Annotated[list[ClassName], Field(min_length=1, max_length=MAX_CLASSES)]
    task: Literal["single", "multi"]
    length_samples: Annotated[int, Field(gt=0, le=MAX_LENGTH_SAMPLES)] | None = None
    frames: Positive | None = None
    feature_bins: Annotated[int, Field(gt=0, le=MAX_BANDS)]
    front_end: FrontEndSpec
    hop_s: Annotated[float, Field(gt=0, le=3600)]
    first_frame_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    shortest_frames: Annotated[int, Field(gt=0, le=MAX_LENGTH_SAMPLES)] = 1
    inputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=1 + MAX_STATES)]
    outputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=1 + MAX_STATES)]
    student: Annotated[str, Field(min_length=1, max_length=200)]
    student_options: dict[str, str]
    weights_sha256: Digest

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        problems = [*self._front_end_problems(), *self._length_problems(), *self._tensor_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _front_end_problems(self) -> list[str]:
        spec = self.front_end
        bins = spec.front_end().features
        problems = []
        if spec.sample_rate_hz != self.sample_rate_hz:
            problems.append(f"{self.sample_rate_hz} Hz, its front end {spec.sample_rate_hz} Hz")
        if bins != self.feature_bins:
            problems.append(f"{self.feature_bins} feature_bins, its front end gives {bins}")
        if len(set(self.classes)) < len(self.classes):
            problems.append("a class is named twice")
        return problems

    def _length_problems(self) -> list[str]:
        if self.form != "static":
            given = (self.length_samples, self.frames)
            return [] if given == (None, None) else [f"a {self.form} form of one length: {given}"]
        if self.length_samples is None or self.frames is None:
            return ["a static form without its length_samples and frames"]
        frames = frame_count(self.length_samples, self.front_end.front_end())
        if frames == self.frames:
            return []
        return [f"{self.length_samples} samples are {frames} frames, not {self.frames}"]

    def _tensor_problems(self) -> list[str]:
        expected_in: list[_Expected] = [(self.takes, self._input_shape())]
        expected_out: list[_Expected] = [(LOGITS, [None, len(self.classes)])]
        states = self.inputs[1:] if self.form == "step" else []
        for number, state in enumerate(states):
            expected_in.append((f"{STATE}{number}", state.shape))
            expected_out.append((f"{NEXT_STATE}{number}", state.shape))
        if self.has_attention and self.form != "step":
            expected_out.append((ATTENTION, [None, None]))
        return [
            *_differences("input", self.inputs, expected_in),
            *_differences("output", self.outputs, expected_out),
            *(f"{s.name} has a free size: {s.shape}" for s in states if None in s.shape[1:]),
            *self._state_problems(states),
        ]

    def _state_problems(self, states: Sequence[TensorSpec]) -> list[str]:
        entries = sum(state.entries for state in states)
        problem = f"states of {entries} entries together, at most {MAX_ENTRIES}"
        return [problem] if entries > MAX_ENTRIES else []

    def _input_shape(self) -> Sequence[int | None]:
        step = self.form == "step"
        if self.takes == "waveform":
            return [None, self.front_end.window_samples if step else self.length_samples]
        return [None, self.feature_bins] if step else [None, self.frames, self.feature_bins]

    @property
    def has_attention(self) -> bool:
        """Whether it gives its attention over time."""
        return any(output.name == ATTENTION for output in self.outputs)

    @property
    def shortest_samples(self) -> int:
        """Samples that a clip has at least; a shorter one is filled up with silence."""
        if self.length_samples is not None:
            return self.length_samples
        return (
            self.front_end.window_samples + (self.shortest_frames - 1) * self.front_end.hop_samples
        )


def _differences(
    what: str, found: Sequence[TensorSpec], expected: Sequence[_Expected]
) -> list[str]:
    """Name where tensors differ from name and shape; their first size is free or 1.

    An attention has frames of its own, however many.
    """
    names, wanted = [tensor.name for tensor in found], [name for name, _ in expected]
    if names != wanted:
        return [f"{what}s {', '.join(names)}, expected {', '.join(wanted)}"]
    problems = []
    for tensor, (name, shape) in zip(found, expected, strict=True):
        sizes = zip(tensor.shape[1:], shape[1:], strict=False)
        fits = name == ATTENTION or all(size == want for size, want in sizes)
        if len(tensor.shape) != len(shape) or tensor.shape[0] not in (None, 1) or not fits:
            sizes_shown = ", ".join("free" if size is None else str(size) for size in shape)
            problems.append(f"{what} {name} has shape {tensor.shape}, expected ({sizes_shown})")
    return problems


def front_end_spec(front_end: FrontEnd) -> FrontEndSpec:
    """Give a front end as a contract records it."""
    return FrontEndSpec(**asdict(front_end))


def parse_contract(data: bytes, where: str) -> Contract:
    """Read a contract.

    Parameters
    ----------
    data : bytes
        JSON.
    where : str
        The file it was found in, for messages.

    Raises
    ------
    RunError
        Kind ``"contract"``: every problem of it.
    """
    if len(data) > MAX_CONTRACT_BYTES:
        problems = [f"{len(data)} bytes, at most {MAX_CONTRACT_BYTES} are read"]
    elif not (problems := problems_of(Contract, data)):
        return Contract.model_validate_json(data)
    raise RunError(
        f"{where} has a contract that does not hold; {len(problems)} problem(s)\n"
        f"{bullet_list(problems, MAX_LISTED)}\nExport the run again: "
        f"{EXPORT_A_RUN}",
        kind="contract",
    )
