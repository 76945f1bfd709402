"""Views: seeded variants of a clip that teacher and student both get.

A recipe is a chain of named steps, ``NAME[:option=value,...]`` each. Its random numbers come from
(seed, recipe, clip id, view) through a counter-based generator, so that a view is the same on every
machine, in any order and whichever other clips exist; only the partner of a ``mixup`` depends on them.

Shape suffixes: S samples, C classes, P drawn numbers, N clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import RunError
from cache_schema.metadata import CorpusFacts
from cache_schema.plugins import (
    load_plugin,
    options_of_type,
    parse_named_options,
    plugin_origin,
    typed_options,
)
from cache_schema.store.address import CachePath
from cache_schema.store.files import canonical_json
from cache_schema.text import one_line
from cache_schema.view_recipe import draw_names
from pipeline.audio.decode import UnusableAudio
from pipeline.views.interface import UNKNOWN, AudioView, Drawn, ViewContext, ViewStep

VIEWS = {
    "crop": "pipeline.views.crop:Crop",
    "gain": "pipeline.views.gain:Gain",
    "mixup": "pipeline.views.mixup:Mixup",
    "noise": "pipeline.views.noise:Noise",
    "placement": "pipeline.views.placement:Placement",
    "shift": "pipeline.views.shift:Shift",
    "speed": "pipeline.views.speed:Speed",
}


def view_context(
    root: CachePath, sample_rate_hz: int, facts: CorpusFacts, clip: Callable[[int], Clip]
) -> ViewContext:
    """What a recipe is prepared with for a corpus whose clips lie in the order of a cache."""
    train = next((split for split in facts.splits if split.name == "train"), None)
    place = {name: i for i, name in enumerate(facts.classes)}

    def labels(of: Clip) -> NDArray[np.float32]:
        labels_C = np.full(len(place), 0 if of.labelled else UNKNOWN, np.float32)
        labels_C[[place[label] for label in of.labels]] = 1
        return labels_C

    first = train.first_clip if train else 0
    clips = range(first, first + (train.clips if train else 0))
    return ViewContext(root, sample_rate_hz, clips, clip, labels)


@dataclass(frozen=True, slots=True)
class View:
    """One view of a clip: its waveform, what is true of it, and what was drawn to make it."""

    waveform_S: NDArray[np.float32]
    labels_C: NDArray[np.float32]
    drawn_P: NDArray[np.float32]


class ViewRecipe:
    """A chain of view steps made ready for one corpus.

    Parameters
    ----------
    steps : sequence of str
        Each ``NAME[:option=value,...]``; none leaves every clip as it is.
    context : ViewContext
        The corpus and the rate of its waveforms.
    seed : int
        Of the run.

    Attributes
    ----------
    facts : list of dict
        What identifies each step: its name, options, the names of its draws, and what it loaded.
    draw_names : tuple of str
        Names of `View.drawn_P`, as `cache_schema.view_recipe.draw_names` reads them from the facts;
        none without steps.
    mixes_labels : bool
        Whether the labels of a view may be other than its clip's.
    length_steps : list of str
        Names of the steps whose views may be longer or shorter than their clips.
    draws_length : bool
        Whether two views of a clip may differ in length.
    notes : list of str
        What a user should know of what the steps found.

    Raises
    ------
    UsageError
        For an unknown step or option; names the known ones and the nearest.
    """

    def __init__(self, steps: Sequence[str], context: ViewContext, *, seed: int) -> None:
        self._steps: list[ViewStep] = []
        self.facts: list[dict[str, Any]] = []
        for text in steps:
            name, options = parse_named_options(text)
            cls = load_plugin(VIEWS, name, "view")
            step: ViewStep = cls(**typed_options(cls, options, f"view {name}"))
            # A path is known by what `prepare` finds there: it differs between machines.
            paths = options_of_type(cls, Path)
            named = {key: value for key, value in options.items() if key not in paths}
            facts = {"step": name, "options": named, "draws": list(step.draws)}
            if origin := plugin_origin(VIEWS, name, "view"):
                facts["plugin"] = origin
            self.facts.append(facts | step.prepare(context))
            self._steps.append(step)
        self.draw_names = draw_names(self.texts) if steps else ()
        self.mixes_labels = any(step.mixes_labels for step in self._steps)
        self.notes = [note for step in self._steps for note in getattr(step, "notes", ())]
        pairs = zip(self.facts, self._steps, strict=True)
        self.length_steps = [facts["step"] for facts, step in pairs if step.changes_length]
        self.draws_length = any(step.draws_length for step in self._steps)
        self._rate_hz = context.sample_rate_hz
        self._labels = context.labels
        self._key = "\0".join([str(seed), *self.texts])

    @property
    def texts(self) -> list[str]:
        """The facts of each step as canonical JSON, as a cache records them."""
        return [canonical_json(facts).decode() for facts in self.facts]

    def lengths(
        self, clips: Sequence[Clip], samples_N: NDArray[np.int64], view: int
    ) -> NDArray[np.int64]:
        """Return how long views are whose clips have `samples_N` samples; 0 stays 0."""
        if not self.length_steps:
            return samples_N
        if not self.draws_length:
            lengths, inverse = np.unique(samples_N, return_inverse=True)
            varied = [self._length(int(samples)) if samples else 0 for samples in lengths]
            return np.array(varied, np.int64)[inverse]
        pairs = zip(clips, samples_N.tolist(), strict=True)
        drawn = [self._drawn(clip, samples, view)[1] if samples else 0 for clip, samples in pairs]
        return np.array(drawn, np.int64)

    def idle_notes(self, samples_N: NDArray[np.int64]) -> list[str]:
        """Note the steps of a fixed length that leave all clips, of so many samples, as they are."""
        notes: list[str] = []
        lengths = {int(samples) for samples in np.unique(samples_N) if samples}
        for facts, step in zip(self.facts, self._steps, strict=True):
            if step.draws_length:  # what comes after it meets clips of many lengths
                break
            after = {samples: step.length(samples, ()) for samples in lengths}
            unchanged = bool(after) and all(samples == made for samples, made in after.items())
            if step.changes_length and unchanged:
                notes.append(
                    f"view {facts['step']} changes no clip: of its length_s all stay as they are"
                )
            lengths = set(after.values())
        return notes

    def make(self, waveform_S: NDArray[np.float32], clip: Clip, view: int | str) -> View:
        """Make a view of a clip; cached views are numbered, others go by a name of their own.

        Raises
        ------
        UnusableAudio
            If a step makes no view of it.
        RunError
            If a step draws or makes numbers that are not finite, of more than silence.
        """
        draws, _ = self._drawn(clip, len(waveform_S), view)
        labels_C = self._labels(clip)
        audio = AudioView(waveform_S, 0, len(waveform_S), labels_C, clip.split)
        for facts, step, drawn in zip(self.facts, self._steps, draws, strict=True):
            audio = step.apply(audio, drawn)
            if not (np.isfinite(audio.waveform_S).all() and np.isfinite(drawn).all()):
                _refuse(facts["step"], clip, waveform_S)
        place = (audio.start / self._rate_hz, audio.stop / self._rate_hz) if draws else ()
        flat = [*place, *(number for drawn in draws for number in drawn)]
        return View(audio.waveform_S, audio.labels_C, np.array(flat, np.float32))

    def _length(self, samples: int) -> int:
        for step in self._steps:
            samples = step.length(samples, ())
        return samples

    def _drawn(self, clip: Clip, samples: int, view: int | str) -> tuple[list[Drawn], int]:
        """Draw for every step in turn; returns the draws and the length of the view."""
        digest = hashlib.sha256(f"{self._key}\0{clip.id}\0{view}".encode()).digest()
        random = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        draws: list[Drawn] = []
        for step in self._steps:
            draws.append(step.draw(samples, clip.split, random))
            samples = step.length(samples, draws[-1])
        return draws, samples


def _refuse(step: str, clip: Clip, waveform_S: NDArray[np.float32]) -> NoReturn:
    """Reject numbers that are not finite: of silence the clip is at fault, of sound the step."""
    what = f"view {step} drew or made numbers that are not finite"
    if not waveform_S.any():
        raise UnusableAudio(f"{what}, of silence")
    raise RunError(
        f"{what}, of clip {one_line(clip.id)}. No clip was left out for it. Correct the step, then "
        "repeat the command with another --out.",
        kind="plugin",
    )
