"""What attention costs the teacher's pass, and what the pass as a whole gains.

Every ratio is of two ways through one model in one process with one torch thread. A clip of T frames
has about 50 a second; AST lays its patches on a grid of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from figures import Figure, interleaved, median
from teacher_models import (
    ANSWERS,
    FAMILIES,
    Clips,
    described,
    loaded,
    model_folder,
    noise,
    with_features_at_hand,
)
from teacher_waits import waiting_shares

from pipeline.precompute.plan import BATCH_SECONDS
from pipeline.precompute.unit_outputs import batches
from pipeline.teachers.attention_capture import HEAD_MEAN_ATTENTION
from pipeline.teachers.transformer import TransformerTeacher

RATE_HZ = 16_000
ONE_CLIP_FRAMES = 500
BOUNDS = {True: "<= 1.10", False: "<= 1.25"}  # by whether there are at most 500 frames
MEMORY_FACTOR = 1.10
# The C library maps what is larger apart and gives it back when it is freed: holes in its heap, which
# come and go by chance, are not counted.
MAPPED_BYTES = "1000000"


@dataclass(frozen=True, slots=True)
class Case:
    """Clips of one length, and the options that the family needs for them."""

    seconds: float
    clips: int
    rounds: int
    options: Mapping[str, str]


SHORT = {"input": "short"}
CASES = {
    "whisper": [Case(1, 16, 5, {}), Case(10, 2, 5, {}), Case(30, 1, 5, {})],
    "wav2vec2": [Case(1, 4, 3, {}), Case(10, 1, 3, {}), Case(30, 1, 2, {})],
    "ast": [Case(1, 4, 3, SHORT), Case(4, 1, 3, SHORT), Case(10, 1, 3, {})],
}
QUICK_CASES = {family: [Case(1, 1, 1, {})] for family in FAMILIES}

# Expected lengths of eight clips drawn from 1 to 30 s, evenly on a logarithmic scale: 1.5 to 20.5 s.
RAGGED = {"whisper": 30.0, "wav2vec2": 30.0, "ast": 10.0}
RAGGED_CLIPS = 8
QUICK_LONGEST_S = 1.2


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Time and memory against SDPA, the whole pass against the usual loop, and the waiting."""
    cases = QUICK_CASES if quick else CASES
    folders = {family: model_folder(family, scratch, quick=quick) for family in FAMILIES}
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for family, folder in folders.items():
            for case in cases[family]:
                yield _time(family, folder, case, device, described(family, quick=quick))
    plain = [
        (family, case)
        for family in folders
        for case in cases[family][1:] or cases[family]
        if not case.options
    ]
    extra = _extra_bytes([(folders[family], case) for family, case in plain])
    for (family, case), found in zip(plain, extra, strict=True):
        yield _memory(family, folders[family], case, found, described(family, quick=quick))
    for family, folder in folders.items():
        longest_s = QUICK_LONGEST_S if quick else RAGGED[family]
        yield from _ragged(family, folder, longest_s, described(family, quick=quick))
    yield from waiting_shares(scratch, quick=quick)


# Against SDPA.


def _time(family: str, folder: Path, case: Case, device: str, note: str) -> Figure:
    teacher = with_features_at_hand(loaded(folder, case.options, device))
    waveforms = noise([int(case.seconds * RATE_HZ)] * case.clips)
    clock = time.process_time if device == "cpu" else _device_clock
    arms = {
        name: _asked(teacher, waveforms, attention, ANSWERS[name])
        for name, attention in {"sdpa": "sdpa", "ours": HEAD_MEAN_ATTENTION}.items()
    }
    seconds = interleaved(arms, case.rounds, clock)
    ratios = [ours / plain for ours, plain in zip(seconds["ours"], seconds["sdpa"], strict=True)]
    positions = _positions(teacher, waveforms)
    rate = f", {case.clips / median(seconds['ours']):.0f} clips/s" if device != "cpu" else ""
    return Figure(
        f"{family}, {case.clips} x {positions} positions, with rollout ({device})",
        median(ratios),
        "x",
        bound=BOUNDS[positions <= ONE_CLIP_FRAMES] if device == "cpu" else "",
        against="SDPA without maps",
        note=note + rate,
        details={"clock": "CPU" if device == "cpu" else "wall", "seconds": seconds},
    )


def _asked(
    teacher: TransformerTeacher, waveforms: Clips, attention: str, signals: Sequence[str]
) -> Callable[[], object]:
    def infer_all() -> object:
        teacher.model.set_attn_implementation(attention)
        return teacher.infer(waveforms, signals)

    return infer_all


def _device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _positions(teacher: TransformerTeacher, waveforms: Clips) -> int:
    return teacher.layout([len(waveform) for waveform in waveforms]).pooling.shape[1]


def _extra_bytes(cases: Sequence[tuple[Path, Case]]) -> list[dict[str, int]]:
    """Memory of each case by each way through its model, in processes of their own."""
    words = [
        word
        for folder, case in cases
        for name in ANSWERS
        for word in (str(folder), str(int(case.seconds * RATE_HZ)), str(case.clips), name)
    ]
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("teacher_memory.py"), *words],
        capture_output=True, text=True, check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": MAPPED_BYTES},
    )  # fmt: skip
    found = iter(map(int, run.stdout.split()))
    return [{name: next(found) for name in ANSWERS} for _ in cases]


def _memory(family: str, folder: Path, case: Case, extra: dict[str, int], note: str) -> Figure:
    samples = int(case.seconds * RATE_HZ)
    teacher = loaded(folder, case.options)
    positions, layers = _positions(teacher, noise([samples])), len(teacher.layers())
    maps = 4 * case.clips * layers * positions**2
    return Figure(
        f"{family}, {case.clips} x {positions} positions, extra memory",
        extra["ours"] / (MEMORY_FACTOR * extra["sdpa"] + maps),
        "x",
        bound="<= 1",
        against="1.10 x SDPA's + 4 B L T^2 bytes",
        note=note,
        details={"extra_bytes": extra, "map_bytes": maps},
    )


# Against the usual loop.


def _ragged(family: str, folder: Path, longest_s: float, note: str) -> Iterator[Figure]:
    """Eight clips of different lengths: as this project runs them, and as one padded batch."""
    waveforms = noise(_lengths(longest_s))
    plain = loaded(folder, {})
    usual_s = _seconds(_usual, plain, waveforms)
    options: list[Mapping[str, str]] = [{}, SHORT] if family == "ast" else [{}]
    for chosen in options:
        teacher = loaded(folder, chosen)
        ours_s = _seconds(_ours, teacher, waveforms)
        name = "".join(f", {key}={value}" for key, value in chosen.items())
        padded = "; both pad to 1024 frames" if family == "ast" and not chosen else ""
        yield Figure(
            f"{family}{name}, {len(waveforms)} clips of 1 to {longest_s:g} s",
            usual_s / ours_s,
            "x",
            bound=">= 2",
            against=f"one batch padded to {_padded_to(family)}, eager, output_attentions=True",
            note=note + padded,
            details={
                "clock": "CPU",
                "ours_s": ours_s,
                "usual_s": usual_s,
                "lengths_s": [len(waveform) / RATE_HZ for waveform in waveforms],
            },
        )


def _lengths(longest_s: float) -> list[int]:
    """Expected order statistics of clips drawn evenly on a logarithmic scale, in samples."""
    exponents = [i / (RAGGED_CLIPS + 1) for i in range(1, RAGGED_CLIPS + 1)]
    return [int(RATE_HZ * longest_s**exponent) for exponent in exponents]


def _padded_to(family: str) -> str:
    return "its longest clip" if family == "wav2vec2" else "the model's own length"


def _ours(teacher: TransformerTeacher, waveforms: Clips) -> None:
    """Batches of alike lengths, as a work unit makes them."""
    lengths = {i: len(waveform) for i, waveform in enumerate(waveforms)}
    near = teacher.batching == "near"
    for batch in batches(lengths, RAGGED_CLIPS, BATCH_SECONDS * RATE_HZ, near=near):
        teacher.infer([waveforms[i] for i in batch], ANSWERS["ours"])


def _usual(teacher: TransformerTeacher, waveforms: Clips) -> Any:
    """One call of the feature extractor and one of the model, as transformers' pages show it."""
    teacher.model.set_attn_implementation("eager")
    padding = {"padding": True} if teacher.family == "wav2vec2" else {}
    inputs = teacher.checkpoint.extractor(
        waveforms, sampling_rate=RATE_HZ, return_tensors="pt", **padding
    )
    with torch.inference_mode():
        answer = teacher.model(**inputs, output_attentions=True)
    if len(answer.attentions) != len(teacher.layers()):
        raise RuntimeError(f"{len(answer.attentions)} attention maps, expected one for each layer")
    return answer


def _seconds(
    forward: Callable[[TransformerTeacher, Clips], object],
    teacher: TransformerTeacher,
    clips: Clips,
) -> float:
    began = time.process_time()
    forward(teacher, clips)
    return time.process_time() - began
