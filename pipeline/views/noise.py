"""View step ``noise``: mix in a cut of a noise recording at a random signal-to-noise ratio."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from pipeline.audio import UnusableAudio, decode
from pipeline.corpora.interface import leads_out
from pipeline.views.interface import check_range


class Noise:
    """Mix noise at an SNR uniform in [`low_db`, `high_db`].

    Parameters
    ----------
    folder : str
        Folder of noise recordings, relative to the corpus root or absolute; known to the cache by
        the recordings' digests, not by its name.
    """

    def __init__(self, *, folder: str, low_db: float = 0.0, high_db: float = 15.0) -> None:
        check_range("noise", low_db, high_db)
        self._folder = folder
        self._range_db = (low_db, high_db)
        self._noises: list[NDArray[np.float32]] = []

    def prepare(self, corpus_root: Path, sample_rate_hz: int) -> dict[str, Any]:
        """Decode the recordings.

        Raises
        ------
        UsageError
            If the folder holds nothing to decode. A link that leads out of it is not followed.
        """
        folder = (corpus_root / self._folder).resolve()
        digest = hashlib.sha256()
        if folder.is_dir():
            for path in sorted(p for p in folder.iterdir() if p.is_file()):
                if leads_out(folder, path.name):
                    continue
                try:
                    clip = decode(path, sample_rate_hz=sample_rate_hz)
                except UnusableAudio:
                    continue
                self._noises.append(clip.waveform)
                digest.update(f"{path.name}\0{clip.sha256}\n".encode())
        if not self._noises:
            raise UsageError(
                f"view noise: folder={self._folder!r} holds no audio (looked in {folder}); name a "
                "folder of recordings, relative to the corpus root or absolute.",
                kind="options",
            )
        return {"recordings": len(self._noises), "sha256": digest.hexdigest()}

    def apply(
        self, waveform_S: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Add a looped cut of one recording, scaled to the drawn ratio of mean powers."""
        noise = self._noises[int(generator.integers(len(self._noises)))]
        start = int(generator.integers(len(noise)))
        cut_S = np.take(noise, np.arange(start, start + len(waveform_S)), mode="wrap")
        ratio = 10 ** (generator.uniform(*self._range_db) / 10)
        noise_power = float(np.mean(cut_S.astype(np.float64) ** 2))
        power = float(np.mean(waveform_S.astype(np.float64) ** 2))
        if noise_power == 0 or power == 0:
            return waveform_S
        return waveform_S + np.float32(np.sqrt(power / ratio / noise_power)) * cut_S
