"""Speech Commands as its archive unpacks: words by eight speakers, lists, two noises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
WORDS = ("cat", "no", "yes")
SPEAKERS = [f"{number:08x}" for number in range(0x10, 0x18)]
LISTS = {"validation_list.txt": SPEAKERS[4:6], "testing_list.txt": SPEAKERS[6:]}
NOISES = {"white_noise.wav": 12, "running_tap.wav": 15}


def write(folder: Path, words: Sequence[str] = WORDS) -> str:
    """Write the corpus, a tone for each word, and return its name."""
    for word, hz in zip(words, np.linspace(300, 3_000, len(words)), strict=True):
        (folder / word).mkdir(parents=True)
        for i, speaker in enumerate(SPEAKERS):
            time_s = np.arange(RATE_HZ) / RATE_HZ
            tone = 0.3 * np.sin(2 * np.pi * (hz + 10 * i) * time_s) * np.hanning(RATE_HZ)
            soundfile.write(folder / word / f"{speaker}_nohash_0.wav", tone, RATE_HZ)
    noises = folder / "_background_noise_"
    noises.mkdir()
    (noises / "README.md").write_text("Noise.\n")
    for seed, (name, seconds) in enumerate(NOISES.items()):
        noise = np.random.default_rng(seed).uniform(-0.1, 0.1, seconds * RATE_HZ)
        soundfile.write(noises / name, noise, RATE_HZ)
    for name, speakers in LISTS.items():
        lines = [f"{word}/{speaker}_nohash_0.wav" for word in words for speaker in speakers]
        (folder / name).write_text("\n".join([*lines, "yes/00000099_nohash_0.wav"]) + "\n")
    return f"speech-commands:{folder}"
