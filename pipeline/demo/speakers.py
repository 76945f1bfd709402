"""The speakers of the demo corpus: what each speaks, and the samples of it.

Shape suffix: S = samples.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError, UsageError
from cache_schema.signal_names import FULL_SCALE

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    "house", "water", "green", "table", "window", "summer", "paper", "doctor", "bird", "happy",
    "seven", "music", "garden", "learn", "cat", "follow", "river", "button", "zero", "tree",
)  # fmt: skip
SENTENCES = (
    "The old harbour was quiet that morning, and nobody spoke.",
    "Please bring some bread and cheese from the market.",
    "My sister plays the piano every second evening.",
    "A large dog slept under the kitchen table.",
    "We should have taken the earlier train to the city.",
    "Rain fell softly over the fields behind the school.",
    "They finished the book, then talked about the ending.",
    "His brother works as an engineer in a small company.",
)
KEYWORD_TAKES = 3
SENTENCES_EACH = 2
ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc", "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)  # fmt: skip
# A variant is the voice itself (formants, breath, pitch); no variant stands in two splits.
VARIANTS = {
    "train": (
        "m1", "m2", "m3", "m4", "m5", "f1", "f2", "f3", "Andrea", "Denis", "Gene", "Jacky", "Lee",
        "Michael", "steph", "linda",
    ),
    "validation": ("m6", "f4", "Alex", "Diogo"),
    "test": ("m7", "m8", "f5", "Annie", "Hugo", "Mike"),
}  # fmt: skip
ACCENTS_EACH = 3
SPEEDS_WPM = (130, 220)
PITCHES = (25, 75)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a speaker speaks in one breath."""

    text: str
    take: int


@dataclass(frozen=True, slots=True)
class Speech:
    """Everything one speaker speaks.

    Attributes
    ----------
    rate_hz : int
        Sample rate.
    samples : dict
        Float32 waveforms of shape (S,), without leading and trailing silence.
    """

    rate_hz: int
    samples: dict[Utterance, NDArray[np.float32]]


def speakers(split: str) -> tuple[str, ...]:
    """List the espeak-ng voices of a split: each of its variants in a few accents."""
    return tuple(
        f"{ACCENTS[(ACCENTS_EACH * number + turn) % len(ACCENTS)]}+{variant}"
        for number, variant in enumerate(VARIANTS[split])
        for turn in range(ACCENTS_EACH)
    )


def utterances(voice: str) -> tuple[Utterance, ...]:
    """List what a speaker speaks, in order."""
    first = _draw(voice, len(SENTENCES))
    sentences = [SENTENCES[(first + n) % len(SENTENCES)] for n in range(SENTENCES_EACH)]
    return (
        *(Utterance(word, take) for word in KEYWORDS for take in range(KEYWORD_TAKES)),
        *(Utterance(word, 0) for word in OTHER_WORDS),
        *(Utterance(sentence, 0) for sentence in sentences),
    )


def check_synthesiser() -> None:
    """Reject early where the synthesiser is not installed.

    Raises
    ------
    UsageError
        Naming the extra that brings it.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UsageError(
            "the demo corpus is spoken by espeak-ng, and espeakng-loader (GPL-3.0) is not "
            "installed: pip install 'aftersound[demo]'",
            kind="missing",
        )


@cache
def speech_of(voice: str) -> Speech:
    """Let a speaker speak everything, in a process of its own (see `pipeline.demo.espeak`).

    Raises
    ------
    UsageError
        If the synthesiser is not installed.
    RunError
        If it fails.
    """
    check_synthesiser()
    spoken = utterances(voice)
    wanted = {"voice": voice, "utterances": [_prosody(voice, u) for u in spoken]}
    script = Path(__file__).with_name("espeak.py")
    run = subprocess.run(  # -P: no module beside the script can pass for one of the library's
        [sys.executable, "-P", str(script)],
        input=json.dumps(wanted).encode(),
        capture_output=True,
        check=False,
    )
    if run.returncode != 0:
        raise RunError(f"espeak-ng failed: {run.stderr.decode().strip()[-500:]}", kind="synthesis")
    return _parsed(run.stdout, spoken)


def _prosody(voice: str, utterance: Utterance) -> list[Any]:
    """Choose speed and pitch of an utterance by its name."""
    name = f"{voice}/{utterance.text}/{utterance.take}"
    return [
        utterance.text,
        SPEEDS_WPM[0] + _draw(f"{name}/speed", SPEEDS_WPM[1] - SPEEDS_WPM[0] + 1),
        PITCHES[0] + _draw(f"{name}/pitch", PITCHES[1] - PITCHES[0] + 1),
    ]


def _draw(name: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % below


def _parsed(content: bytes, spoken: tuple[Utterance, ...]) -> Speech:
    """Take apart what the script wrote."""
    (rate_hz,) = struct.unpack_from("<I", content)
    position = 4
    samples = {}
    for utterance in spoken:
        (count,) = struct.unpack_from("<I", content, position)
        steps_S = np.frombuffer(content, np.int16, count, position + 4)
        samples[utterance] = _trimmed(steps_S.astype(np.float32) / np.float32(FULL_SCALE))
        position += 4 + 2 * count
    return Speech(rate_hz, samples)


def _trimmed(waveform_S: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut leading and trailing silence, everything 40 dB below the peak."""
    loud = np.flatnonzero(np.abs(waveform_S) > 0.01 * np.abs(waveform_S).max())
    return waveform_S[loud[0] : loud[-1] + 1]
