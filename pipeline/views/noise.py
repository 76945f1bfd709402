"""View step ``noise``: mix in a cut of a noise recording at a random signal-to-noise ratio."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cache_schema.errors import MAX_LISTED, UsageError, bullet_list
from cache_schema.text import one_line
from pipeline.audio.decode import AUDIO_SUFFIXES, MAX_CLIP_S, TooLong, UnusableAudio, decode
from pipeline.corpora.interface import SPLIT_NAMES
from pipeline.corpora.walk import escapes_root, files_below
from pipeline.views.interface import (
    AudioView,
    Drawn,
    PlainStep,
    ViewContext,
    Waveform,
    check_range,
)

# Where the stretch of a long recording begins and ends that a split may cut from.
TIME_SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
LONG_S = 10.0
# Power below which a recording is silent: what a resampler leaves of silence is not to be raised.
SILENCE = 1e-30


@dataclass(frozen=True, slots=True)
class Recording:
    """A noise recording, or the stretch of it that belongs to one split."""

    name: str
    waveform_S: Waveform
    sha256: str


class Noise(PlainStep):
    """Mix noise at an SNR uniform in [`low_db`, `high_db`], each split's own.

    Train, validation and test get none of each other's noise, a split of another name gets the test's.
    The ratio is that of the mean powers of the clip itself and of the noise, which covers the whole
    view. A clip without any power gets the noise at its own level. A cut that would be silent, for which
    no scale makes that ratio, begins at the next sound of its recording instead.

    Where the folder holds folders named like splits, each split has its own. Otherwise recordings of
    10 s and more give their first 80 % to train, then 10 % to validation, 10 % to test, and shorter ones
    go whole to one split, in the same shares, by a hash of their names. What is silent
    throughout is left out.

    Parameters
    ----------
    folder : Path
        Folder of noise recordings, relative to the corpus root or absolute; known to the cache by
        the recordings' names and digests, not by its own name.
    """

    draws = ("recording", "offset_s", "snr_db")
    example = "noise:folder=noise"

    def __init__(self, *, folder: Path, low_db: float = 0.0, high_db: float = 15.0) -> None:
        check_range("noise", low_db, high_db)
        self._folder = folder
        self._range_db = (low_db, high_db)
        self._rate_hz = 0
        self._recordings: dict[str, list[Recording]] = {}

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Decode the recordings and deal them out to the splits.

        Raises
        ------
        UsageError
            If there is no folder, a split gets none, or a recording is longer than is decoded at once.
        RunError
            If disk, network or memory fail, and go on failing. A recording that is silent or cannot be
            decoded, and a link that leads out of the folder, are left out, with a note.
        """
        self._rate_hz = context.sample_rate_hz
        root = context.corpus_root
        if not isinstance(root, Path) and not self._folder.is_absolute():
            raise UsageError(
                f"noise folder {str(self._folder)!r} would lie in the corpus, which is at {root}, "
                "and noise is read from local folders; name one by its absolute path",
                kind="options",
            )
        folder = (root / self._folder if isinstance(root, Path) else self._folder).resolve()
        if not folder.is_dir():
            raise UsageError(
                f"noise folder {str(self._folder)!r} is no folder (looked at {folder}); name one, "
                "relative to the corpus root or absolute",
                kind="options",
            )
        digest = hashlib.sha256()
        found, unusable = _decoded(folder, self._rate_hz)
        for recording in found:
            digest.update(f"{recording.name}\0{recording.sha256}\n".encode())
        if unusable:
            left_out = (
                f"{len(unusable)} of what {one_line(folder)} holds cannot be used and is left out"
            )
            self.notes = [f"noise: {left_out}:\n{bullet_list(unusable, MAX_LISTED)}"]
        self._recordings = _split_recordings(found, self._rate_hz)
        if lacking := [split for split, own in self._recordings.items() if not own]:
            raise UsageError(
                f"noise folder {str(self._folder)!r} holds no audio for {', '.join(lacking)} "
                f"(looked in {folder}, {len(found)} recordings there); name a folder, relative to the "
                "corpus root or absolute, with a recording of 10 s or more, three shorter ones, or a "
                "folder for each split." + "".join(f"\n{note}" for note in self.notes),
                kind="options",
            )
        names = {split: [r.name for r in own] for split, own in self._recordings.items()}
        return {"recordings": names, "sha256": digest.hexdigest()}

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw the recording among the split's own, the start of the cut in it, and the ratio."""
        own = self._own(split)
        recording = int(random.integers(len(own)))
        noise_S = own[recording].waveform_S
        offset = _sounding(noise_S, int(random.integers(len(noise_S))), samples)
        return (recording, offset / self._rate_hz, float(random.uniform(*self._range_db)))

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Add a looped cut of the recording, scaled to the drawn ratio."""
        recording, offset_s, snr_db = drawn
        noise_S = self._own(audio.split)[int(recording)].waveform_S
        cut_S = _cut(noise_S, round(offset_s * self._rate_hz), len(audio.waveform_S))
        noise_power = _power(cut_S)
        power = _power(audio.waveform_S[audio.start : audio.stop])
        sounds = power > 0 and noise_power > SILENCE
        scale = np.sqrt(power / 10 ** (snr_db / 10) / noise_power) if sounds else 1.0
        return replace(audio, waveform_S=audio.waveform_S + np.float32(scale) * cut_S)

    def _own(self, split: str) -> list[Recording]:
        """Noise of a split; one that the corpus has named itself gets that of the test."""
        return self._recordings.get(split, self._recordings["test"])


def _cut(noise_S: Waveform, start: int, samples: int) -> Waveform:
    """Cut from a recording, which begins anew at its end."""
    cut_S: Waveform = np.take(noise_S, np.arange(start, start + samples), mode="wrap")
    return cut_S


def _sounding(noise_S: Waveform, start: int, samples: int) -> int:
    """Where a cut begins that is not silent: at `start`, or at the next sample as loud as the mean."""
    ends = float(noise_S[start]), float(noise_S[(start + samples - 1) % len(noise_S)])
    if (
        max(map(abs, ends)) ** 2 > SILENCE * samples
        or _power(_cut(noise_S, start, samples)) > SILENCE
    ):
        return start
    loud = np.flatnonzero(noise_S.astype(np.float64) ** 2 >= _power(noise_S))
    return int(loud[np.searchsorted(loud, start) % len(loud)])


def _power(waveform_S: Waveform) -> float:
    return float(np.mean(waveform_S.astype(np.float64) ** 2)) if len(waveform_S) else 0.0


def _decoded(folder: Path, rate_hz: int) -> tuple[list[Recording], list[str]]:
    """Decode every recording below a folder, in the order of names, and list what cannot be used."""
    below = files_below(folder)
    found, unusable = [], list(below.problems)
    for name in sorted(below.files):
        if PurePosixPath(name).suffix.lower() not in AUDIO_SUFFIXES:
            continue
        if escapes_root(folder, name):
            unusable.append(f"{one_line(name)}: a link that leads out of the folder, not followed")
            continue
        try:
            clip = decode(folder / name, sample_rate_hz=rate_hz)
        except TooLong as problem:
            raise UsageError(
                f"noise: {one_line(folder / name)} is {problem}. Cut it into files of at most "
                f"{MAX_CLIP_S:g} s, or leave it out.",
                kind="options",
            ) from None
        except UnusableAudio as problem:
            unusable.append(f"{one_line(name)}: {problem}")
            continue
        if _power(clip.waveform) <= SILENCE:
            unusable.append(f"{one_line(name)}: silent, no scale makes noise of it")
            continue
        found.append(Recording(name, clip.waveform, clip.sha256))
    return found, unusable


def _split_recordings(found: list[Recording], rate_hz: int) -> dict[str, list[Recording]]:
    """Give each split its own noise."""
    dealt: dict[str, list[Recording]] = {split: [] for split in TIME_SHARES}
    tops = {PurePosixPath(recording.name).parts[0].lower() for recording in found}
    if tops & set(SPLIT_NAMES) and not tops <= set(SPLIT_NAMES):
        raise UsageError(
            f"noise: {', '.join(sorted(tops & set(SPLIT_NAMES)))} look like splits, "
            f"{', '.join(sorted(tops - set(SPLIT_NAMES))[:5])} like noise for all; move one kind "
            "elsewhere.",
            kind="options",
        )
    if tops and tops <= set(SPLIT_NAMES):
        for recording in found:
            dealt[SPLIT_NAMES[PurePosixPath(recording.name).parts[0].lower()]].append(recording)
        return dealt
    long = [r for r in found if len(r.waveform_S) >= LONG_S * rate_hz]
    for recording in long:
        for split, (first, last) in TIME_SHARES.items():
            samples = len(recording.waveform_S)
            stretch_S = recording.waveform_S[int(first * samples) : int(last * samples)]
            if _power(stretch_S) > SILENCE:
                dealt[split].append(replace(recording, waveform_S=stretch_S))
    short = sorted((r for r in found if len(r.waveform_S) < LONG_S * rate_hz), key=_hash)
    tenth = math.ceil(len(short) / 10)
    dealt["validation"] += short[:tenth]
    dealt["test"] += short[tenth : 2 * tenth]
    dealt["train"] += short[2 * tenth :]
    return dealt


def _hash(recording: Recording) -> bytes:
    return hashlib.sha256(recording.name.encode()).digest()
