"""One clip of the demo corpus: a spoken word somewhere in noise.

Everything random comes from a generator keyed by the seed and the clip's id, so a clip does not
depend on which others are made. Shape suffix: S = samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode import resample
from pipeline.demo.speakers import (
    KEYWORD_TAKES,
    KEYWORDS,
    OTHER_WORDS,
    SENTENCES_EACH,
    Utterance,
    speech_of,
    utterances,
)

RATE_HZ = 16_000
UNKNOWN = "_unknown_"
CLASSES = (UNKNOWN, *sorted(KEYWORDS))
SNR_DB = (5.0, 20.0)
TEMPO = (0.9, 1.1)
TALKERS = (3, 6)
NOISE_SLOPE = (0.0, 2.0)
PEAK_DB = (-15.0, -1.0)
# Few voices make the babble of a split, so that a small corpus needs few voices at all.
BABBLE_VOICES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyKeyword:
    """A clip and what is in it.

    Attributes
    ----------
    waveform : ndarray of float32, shape (S,)
        At 16 kHz.
    speaker : str
        The espeak-ng voice of the word.
    start_s, end_s : float
        Where the word is.
    """

    waveform: NDArray[np.float32]
    speaker: str
    start_s: float
    end_s: float


def mix_clip(
    clip_id: str, label: str, *, seed: int, voices: Sequence[str], length_s: float
) -> NoisyKeyword:
    """Speak a word at a uniform place in babble and coloured noise.

    The ratio of the word's mean power over its own stretch to the noise's over the whole clip is
    uniform in dB.

    Parameters
    ----------
    clip_id : str
        Keys the generator, with the seed.
    label : str
        A keyword, or ``"_unknown_"`` for another word.
    seed : int
        Of the corpus.
    voices : sequence of str
        The speakers of the split.
    length_s : float
        Length of the clip, longer than any word.
    """
    generator = _generator(seed, clip_id)
    samples = round(length_s * RATE_HZ)
    speaker = voices[int(generator.integers(len(voices)))]
    word_S = _word(generator, speaker, label)[:samples]
    start = int(generator.integers(samples - len(word_S) + 1))
    noise_S = _noise(generator, [v for v in voices[:BABBLE_VOICES] if v != speaker], samples)
    gain = _rms(word_S) / _rms(noise_S) * 10 ** (-generator.uniform(*SNR_DB) / 20)
    mix_S = noise_S * gain
    mix_S[start : start + len(word_S)] += word_S
    mix_S *= 10 ** (generator.uniform(*PEAK_DB) / 20) / np.abs(mix_S).max()
    return NoisyKeyword(
        waveform=mix_S.astype(np.float32),
        speaker=speaker,
        start_s=start / RATE_HZ,
        end_s=(start + len(word_S)) / RATE_HZ,
    )


def _generator(seed: int, clip_id: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{clip_id}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def _word(generator: np.random.Generator, speaker: str, label: str) -> NDArray[np.float32]:
    """One take of the word, a little faster and higher or slower and lower."""
    if label == UNKNOWN:
        utterance = Utterance(OTHER_WORDS[int(generator.integers(len(OTHER_WORDS)))], 0)
    else:
        utterance = Utterance(label, int(generator.integers(KEYWORD_TAKES)))
    speech = speech_of(speaker)
    tempo = float(generator.uniform(*TEMPO))
    return resample(speech.samples[utterance], speech.rate_hz * tempo, RATE_HZ)


def _noise(
    generator: np.random.Generator, talkers: Sequence[str], samples: int
) -> NDArray[np.float64]:
    """Babble and coloured noise, in a random proportion of powers."""
    babble_S = np.zeros(samples)
    for talker in generator.choice(len(talkers), int(generator.integers(*TALKERS)), replace=False):
        speech_S = _babble(talkers[int(talker)])
        start = int(generator.integers(len(speech_S)))
        cut_S = np.take(speech_S, np.arange(start, start + samples), mode="wrap")
        babble_S += cut_S * 10 ** (generator.uniform(-6, 0) / 20)
    coloured_S = _coloured(generator, samples)
    share = generator.uniform()
    babble_S *= np.sqrt(share) / _rms(babble_S)
    noise_S: NDArray[np.float64] = babble_S + coloured_S * (np.sqrt(1 - share) / _rms(coloured_S))
    return noise_S


@cache
def _babble(voice: str) -> NDArray[np.float32]:
    """All sentences of a voice, one after the other at 16 kHz and equal level."""
    speech = speech_of(voice)
    sentences = [speech.samples[u] for u in utterances(voice)[-SENTENCES_EACH:]]
    speech_S = resample(np.concatenate(sentences), speech.rate_hz, RATE_HZ)
    return speech_S / np.float32(_rms(speech_S))


def _coloured(generator: np.random.Generator, samples: int) -> NDArray[np.float64]:
    """Gaussian noise, its power falling with a random power of frequency: white to brown."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    slope = generator.uniform(*NOISE_SLOPE)
    # Flat below 20 Hz, or brown noise would be all rumble.
    frequencies_hz = np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 20.0)
    return np.fft.irfft(spectrum * frequencies_hz ** (-slope / 2), samples)


def _rms(waveform_S: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform_S, dtype=np.float64))))
