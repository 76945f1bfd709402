"""The clips that a written file is tried on and calibrated with.

Shape suffixes: S samples, T frames, M features, C classes, N clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS, FrontEnd, front_end_features, sample_count
from cache_schema.reader import Cache
from cache_schema.signal_names import FULL_SCALE, WAVEFORM
from student.export.forms import FormSpec
from student.predict.contract import FEATURES
from student.stream.lengths import TRAIN
from student.stream.unit_loader import UnitLoader, feature_sources

HELD_OUT = ("test", "validation")
GENERATED = 24
# Of a clip whose form has no length of its own: a step is called for each frame.
MAX_SEGMENT_S = 10.0


@dataclass(frozen=True, slots=True)
class TrialClip:
    """One clip.

    Attributes
    ----------
    features_TM : float32, shape (T, M)
        What the student was trained on.
    waveform_S : float32, shape (S,), or None
        In [-1, 1); None where the cache has no waveform.
    labels_C : float32, shape (C,), or None
        None where the clip has no labels.
    own_TM : float32, shape (T, M), or None
        Features of its own sound alone, where silence fills it up to a static form's length.
    """

    features_TM: NDArray[np.float32]
    waveform_S: NDArray[np.float32] | None
    labels_C: NDArray[np.float32] | None
    own_TM: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class TrialClips:
    """Clips to try a file on.

    Attributes
    ----------
    clips : sequence of TrialClip
        All of one length for a static form.
    source : str
        Where they come from, for the card.
    are_real : bool
        Whether they are recordings of a cache, not noise made here.
    held_out : int
        How many of them, the first ones, are of no training split.
    """

    clips: Sequence[TrialClip]
    source: str
    are_real: bool
    held_out: int = 0


def training_clips(
    cache: Cache, front_end_name: str, spec: FormSpec, count: int
) -> Sequence[TrialClip]:
    """Read the first `count` training clips; rows of a split lie in random order.

    Raises
    ------
    UsageError
        If there is no training split.
    """
    if TRAIN not in cache.splits:
        raise UsageError(
            f"{cache.root} has no split {TRAIN!r} to calibrate with, only: {', '.join(cache.splits)}",
            kind="clips",
        )
    return list(islice(_clips(cache, front_end_name, spec, TRAIN), count))


def held_out_clips(
    cache: Cache, front_end_name: str, spec: FormSpec, count: int, calibrated: int
) -> TrialClips:
    """Read up to `count` labelled clips that calibration has not seen.

    Those of the test split come first, then the validation split's, then other splits', then the
    training clips after the first `calibrated`.
    """
    splits = [name for name in HELD_OUT if name in cache.splits]
    splits += [name for name in cache.splits if name not in (*HELD_OUT, TRAIN)]
    splits += [TRAIN] if TRAIN in cache.splits else []
    found: list[TrialClip] = []
    parts, held_out = [], 0
    for split in splits:
        clips = _clips(cache, front_end_name, spec, split)
        fresh = islice(clips, calibrated if split == TRAIN else 0, None)
        labelled = (clip for clip in fresh if clip.labels_C is not None)
        before = len(found)
        found += islice(labelled, count - before)
        if len(found) > before:
            parts.append(f"{len(found) - before} of {split}")
        held_out = len(found) if split != TRAIN else held_out
    source = f"{len(found)} labelled clips: {', '.join(parts) or 'none'}"
    return TrialClips(found, source, True, held_out)


def generated_clips(front_end_name: str, spec: FormSpec, classes: int) -> TrialClips:
    """Make bursts of tones in noise, of differing loudness, and of differing length if they may."""
    front_end, random = FRONT_ENDS[front_end_name], np.random.default_rng(0)
    rate_hz, clips = front_end.sample_rate_hz, []
    for _ in range(GENERATED):
        samples = spec.samples or int(rate_hz * random.uniform(0.5, 1.5))
        time_S = np.arange(samples) / rate_hz
        tone_S = np.sin(2 * np.pi * random.uniform(100, 4000) * time_S)
        burst_S = np.exp(-(((time_S / time_S[-1] - random.uniform(0.2, 0.8)) / 0.15) ** 2))
        level = 10 ** random.uniform(-2, -0.2)
        noise_S = 0.03 * random.standard_normal(samples)
        waveform_S = (level * (tone_S * burst_S + noise_S)).astype(np.float32)
        clips.append(TrialClip(front_end_features(waveform_S, front_end), waveform_S, None))
    return TrialClips(clips, f"{GENERATED} generated clips of tones in noise, no recordings", False)


def given(clip: TrialClip, spec: FormSpec) -> NDArray[np.float32]:
    """What goes into a file that takes `spec.takes`."""
    if spec.takes == FEATURES:
        return clip.features_TM
    if clip.waveform_S is None:
        raise ValueError("a clip without a waveform for a form that takes one")
    return clip.waveform_S


def check_source(cache: Cache, front_end: FrontEnd, spec: FormSpec) -> None:
    """Reject a cache whose clips the form cannot take.

    Raises
    ------
    UsageError, CacheError
        If it has no waveform and the form takes one, or nothing to make features of.
    """
    if WAVEFORM not in feature_sources(cache, front_end) and spec.takes == WAVEFORM:
        raise UsageError(
            f"--waveform: {cache.root} keeps no waveform at {front_end.sample_rate_hz} Hz to try the "
            "file on. Make a cache with: precompute-teacher ... --signal waveform",
            kind="clips",
        )


def _clips(cache: Cache, name: str, spec: FormSpec, split: str) -> Iterator[TrialClip]:
    front_end = FRONT_ENDS[name]
    if WAVEFORM in feature_sources(cache, front_end):
        yield from _heard(cache, front_end, spec, split)
    else:
        yield from _of_features(cache, name, spec, split)


def _heard(cache: Cache, front_end: FrontEnd, spec: FormSpec, split: str) -> Iterator[TrialClip]:
    """Clips of cached waveforms: cut, or filled up with silence, to a static form's length."""
    shortest = spec.samples or sample_count(spec.shortest_frames, front_end)
    longest = spec.samples or int(MAX_SEGMENT_S * front_end.sample_rate_hz)
    for unit in cache.units(split, 0):
        rows = cache.read_unit(unit, (WAVEFORM, *cache.target_signals))
        for row, labelled in enumerate(rows.labelled):
            stored = rows.signals[WAVEFORM][row][:longest]
            waveform_S = np.zeros(max(shortest, len(stored)), np.float32)
            waveform_S[: len(stored)] = stored / np.float32(FULL_SCALE)
            features_TM = front_end_features(waveform_S, front_end)
            labels_C = rows.targets[row] if labelled else None
            is_filled = front_end.window_samples <= len(stored) < (spec.samples or 0)
            own_TM = front_end_features(waveform_S[: len(stored)], front_end) if is_filled else None
            yield TrialClip(features_TM, waveform_S, labels_C, own_TM)


def _of_features(cache: Cache, name: str, spec: FormSpec, split: str) -> Iterator[TrialClip]:
    """Clips of cached features: cut to a static form's length, shorter ones left out."""
    frames = spec.frames(FRONT_ENDS[name])
    longest = frames or int(MAX_SEGMENT_S / FRONT_ENDS[name].hop_s)
    loader = UnitLoader(cache, name, (), budget_bytes=0)
    for unit in cache.units(split, 0):
        rows = loader.load(unit)
        for row, labelled in enumerate(rows.labelled):
            features: NDArray[Any] = rows.features[row][:longest]
            if len(features) >= (frames or spec.shortest_frames):
                features_TM = np.asarray(features, np.float32)
                yield TrialClip(features_TM, None, rows.labels[row] if labelled else None)


def cut_and_joined(
    clips: Sequence[TrialClip], spec: FormSpec, front_end: FrontEnd, frames: int, count: int
) -> Iterator[TrialClip]:
    """Yield clips of so many frames, cut from all clips one after another, again and again."""
    if spec.takes == FEATURES:
        long_TM = np.concatenate([clip.features_TM for clip in clips])
        for number in range(count):
            places_T = (number * frames + np.arange(frames)) % len(long_TM)
            yield TrialClip(long_TM[places_T], None, None)
        return
    long_S = np.concatenate([given(clip, spec) for clip in clips])
    samples = sample_count(frames, front_end)
    for number in range(count):
        places_S = (number * samples + np.arange(samples)) % len(long_S)
        waveform_S = long_S[places_S]
        yield TrialClip(front_end_features(waveform_S, front_end), waveform_S, None)
