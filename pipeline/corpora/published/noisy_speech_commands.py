"""Keywords somewhere in noise: Speech Commands at any total length (Choi et al. 2022, figure 2).

The clips are those of ``speech-commands``; what makes them noisy is a view recipe, ``placement`` and
``noise``, so that every view of a clip has a place, a stretch of noise and a level of its own, drawn
from its id, and validation and test one each. The paper gives neither the noise nor its level; here
noise covers the whole clip, and no split has the noise of another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from cache_schema.errors import UsageError
from cache_schema.store.address import path_below
from pipeline.corpora.interface import Corpus
from pipeline.corpora.published.speech_commands import NOISE_FOLDER, read_speech_commands
from pipeline.corpora.walk import limit_of


def read_noisy_speech_commands(
    path: Path,
    *,
    length_s: float,
    noise: str = NOISE_FOLDER,
    low_db: float = 0.0,
    high_db: float = 10.0,
    labels: Literal["12", "30", "35"] = "12",
    seed: int = 0,
    validation_folds: str | None = None,
    test_folds: str | None = None,
) -> Corpus:
    """Read Speech Commands to be mixed with noise.

    Parameters
    ----------
    path : Path
        As `pipeline.corpora.published.speech_commands.read_speech_commands` takes it.
    length_s : float
        Total length of a clip; the paper has 2, 4, 6 and 8.
    noise : str
        Folder of noise recordings, relative to `path` or absolute; how its recordings are dealt out to
        the splits is described in `pipeline.views.noise.Noise`.
    low_db, high_db : float
        Range of the signal-to-noise ratio, uniform in decibels.
    labels, seed, validation_folds, test_folds
        Of the keywords.

    Raises
    ------
    UsageError
        As `pipeline.corpora.published.speech_commands.read_speech_commands`.
    """
    if "," in noise:
        raise UsageError(
            f"corpus noisy-speech-commands: noise={noise!r} holds a comma, which separates the options "
            "of a view; name the folder by a path without one",
            kind="options",
        )
    quiet = read_speech_commands(
        path,
        labels=labels,
        seed=seed,
        validation_folds=validation_folds,
        test_folds=test_folds,
    )
    # Paths begin where links may lead to, if any may.
    folder = path_below(limit_of(quiet.root), quiet.root) / noise
    steps = (
        f"placement:length_s={length_s:.10g}",
        f"noise:folder={folder},low_db={low_db:.10g},high_db={high_db:.10g}",
    )
    return replace(quiet, view_steps=steps)
