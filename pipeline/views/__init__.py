"""Views: seeded variants of a clip that teacher and student both hear.

A recipe is a chain of named steps, ``NAME[:option=value,...]`` each. Its random numbers come from
(seed, recipe, clip id, view index) through a counter-based generator, so that a view is the same
on every machine, in any order and whichever other clips exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cache_schema.plugins import load_plugin, parse_named_options, typed_options

VIEWS = {
    "gain": "pipeline.views.gain:Gain",
    "shift": "pipeline.views.shift:Shift",
    "noise": "pipeline.views.noise:Noise",
}


class ViewStep(Protocol):
    """One step of a recipe; keeps the length of the clip."""

    def prepare(self, corpus_root: Path, sample_rate_hz: int) -> dict[str, Any]:
        """Load what the step needs; returns the facts that identify it (JSON, no machine path)."""

    def apply(
        self, waveform_S: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Vary a waveform."""


class ViewRecipe:
    """A chain of view steps made ready for one corpus.

    Parameters
    ----------
    steps : sequence of str
        Each ``NAME[:option=value,...]``; none leaves every clip as it is.
    corpus_root : Path
        Where a step finds files that belong to the corpus, such as noise recordings.
    sample_rate_hz : int
        Rate of the waveforms.
    seed : int
        Of the run.

    Raises
    ------
    UsageError
        For an unknown step or option; names the known ones and the nearest.
    """

    def __init__(
        self, steps: Sequence[str], *, corpus_root: Path, sample_rate_hz: int, seed: int
    ) -> None:
        self._steps: list[ViewStep] = []
        self.facts: list[dict[str, Any]] = []
        for text in steps:
            name, options = parse_named_options(text)
            cls = load_plugin(VIEWS, name, "view")
            step: ViewStep = cls(**typed_options(cls, options, f"view {name}"))
            named = {key: value for key, value in options.items() if key != "folder"}
            self.facts.append(
                {"step": name, "options": named} | step.prepare(corpus_root, sample_rate_hz)
            )
            self._steps.append(step)
        self._key = f"{seed}\0{self.facts!r}"

    def apply(
        self, waveform_S: NDArray[np.float32], clip_id: str, view: int
    ) -> NDArray[np.float32]:
        """Make view `view` of a clip."""
        digest = hashlib.sha256(f"{self._key}\0{clip_id}\0{view}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        for step in self._steps:
            waveform_S = step.apply(waveform_S, generator)
        return waveform_S
