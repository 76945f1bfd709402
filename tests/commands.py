"""Run the real commands as a user does, and make a small corpus of tones to run them on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
CLASSES = {"low": 300.0, "middle": 900.0, "high": 2700.0}


def command(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment to its end."""
    return subprocess.run(
        [script(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=plain_environment() | environment,
    )


def script(name: str) -> str:
    """Path of a console script beside the running Python."""
    return str(Path(sys.executable).with_name(name))


def plain_environment() -> dict[str, str]:
    """The environment of a log, not of a terminal."""
    return os.environ | {"COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def succeeded(run: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must have succeeded."""
    assert run.returncode == 0, f"{run.args}\n{run.stdout}\n{run.stderr}"
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout


def tone(name: str, seconds: float, seed: int) -> np.ndarray:
    """A tone of a class, somewhere in noise."""
    generator = np.random.default_rng(seed)
    samples = int(seconds * RATE_HZ)
    wave = 0.05 * generator.standard_normal(samples)
    start = int(generator.integers(0, samples // 2))
    length = min(samples - start, RATE_HZ // 4)
    phase = 2 * np.pi * CLASSES[name] * np.arange(length) / RATE_HZ
    wave[start : start + length] += 0.5 * np.sin(phase + generator.uniform(0, 6))
    return wave.astype(np.float32)


def write_tones(root: Path, per_class: int = 10, *, ragged: bool = True) -> Path:
    """A corpus ROOT/SPLIT/CLASS/*.flac; lengths from 0.5 s to 1.4 s, or 1 s."""
    seed = 0
    for split, count in {"train": per_class, "validation": 3, "test": 3}.items():
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed += 1
                seconds = 0.5 + 0.1 * (seed % 10) if ragged else 1.0
                soundfile.write(folder / f"{i}.flac", tone(name, seconds, seed), RATE_HZ)
    return root
