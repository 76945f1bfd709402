"""Clips as fine-tuning sees them: decoded once, labelled, batched by length, unusable ones counted.

Shape suffixes: B clips in batch, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import RunError
from cache_schema.signal_names import FULL_SCALE
from cache_schema.text import one_line
from pipeline.audio.decode import UnusableAudio, to_int16
from pipeline.corpora.clip_audio import decode_clip
from pipeline.corpora.interface import Corpus
from pipeline.views import View, ViewRecipe

# Steps are cut from a shuffled window of this many steps sorted by length: little padding.
_WINDOW_STEPS = 16

# Decoded clips stay in memory up to this size: 19 hours at 16 kHz and 16 bits.
MEMORY_BYTES = 2 << 30

# Clips left out that are named; training.json has all.
MAX_REPORTED = 10


Waveform = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioBatch:
    """Some clips at once.

    Attributes
    ----------
    waveforms : list of ndarray, float32
        One a clip, of different lengths.
    labels : ndarray, float32, (B, C)
        Multi-hot.
    """

    waveforms: list[Waveform]
    labels: NDArray[np.float32]


@dataclass
class LabelledAudio:
    """Reads the labelled clips of a corpus at a teacher's rate and length limits.

    Parameters
    ----------
    corpus : Corpus
        Unlabelled clips are left out.
    sample_rate_hz, min_samples, max_samples
        What the teacher takes.
    report : callable
        Called with the first unusable clips, each once.
    recipe : ViewRecipe
        The views that every clip is drawn from: training clips in another view each epoch, of which
        none is a cached one, the others in the view that a cache of the same seed has of them.
    memory_bytes : int
        Decoded clips that are kept for the next epoch.
    """

    corpus: Corpus
    sample_rate_hz: int
    min_samples: int
    max_samples: int | None
    report: Callable[[str], None]
    recipe: ViewRecipe
    memory_bytes: int = MEMORY_BYTES
    unusable: dict[str, str] = field(default_factory=dict)
    _kept: dict[str, NDArray[np.int16] | Waveform] = field(default_factory=dict)
    _kept_bytes: int = 0
    _undecodable: set[str] = field(default_factory=set)

    def clips(self, split: str) -> list[Clip]:
        """List the labelled clips of a split in the corpus' order.

        Raises
        ------
        RunError
            If there is none, or only such as have none of the classes, which nothing can be learnt from.
        """
        return labelled_clips(self.corpus, split)

    def has(self, split: str) -> bool:
        """Return whether a split has labelled clips."""
        return any(clip.split == split and clip.labels for clip in self.corpus.clips)

    def steps(
        self,
        split: str,
        batch_size: int,
        *,
        accumulate: int = 1,
        balanced: bool = False,
        seed: tuple[int, ...],
    ) -> Iterator[list[AudioBatch]]:
        """Yield the batches of each step of an epoch, as `seed` alone decides.

        Parameters
        ----------
        split : str
            Each of its clips comes once, unless `balanced`.
        batch_size : int
            Clips a batch.
        accumulate : int
            Batches a step, fewer in a last one.
        balanced : bool
            Draw as many clips with replacement, each in proportion to the sum over its classes of
            1 / clips of the class, as PSLA does (Gong, Chung and Glass 2021,
            https://arxiv.org/abs/2102.01243, section III-B).
        seed : tuple of int
            Of the draw and the order.
        """
        clips, random = self.clips(split), np.random.default_rng(seed)
        if balanced:
            drawn = random.choice(len(clips), len(clips), p=_balancing_shares(clips))
        else:
            drawn = random.permutation(len(clips))
        order, size = [clips[i] for i in drawn], batch_size * accumulate
        steps: list[list[Clip]] = []
        for start in range(0, len(order), size * _WINDOW_STEPS):
            by_length = sorted(order[start : start + size * _WINDOW_STEPS], key=_duration_s)
            steps += [by_length[i : i + size] for i in range(0, len(by_length), size)]
        for index in random.permutation(len(steps)):
            views = [self._view(clip, f"fine-tuning {seed}") for clip in steps[index]]
            usable = [view for view in views if view is not None]
            if usable:
                cuts = range(0, len(usable), batch_size)
                yield [_batch(usable[i : i + batch_size]) for i in cuts]

    def step_count(self, split: str, clips_per_step: int) -> int:
        """Count the `steps` of an epoch; unusable clips may leave out a few."""
        full, rest = divmod(len(self.clips(split)), clips_per_step * _WINDOW_STEPS)
        return full * _WINDOW_STEPS - (-rest // clips_per_step)

    def batches_by_length(self, split: str, batch_size: int) -> Iterator[AudioBatch]:
        """Yield each clip once, in batches of views of exactly one length."""
        groups: dict[int, list[View]] = {}
        for clip in sorted(self.clips(split), key=_duration_s):
            view = self._view(clip, 0)
            if view is None:
                continue
            samples = len(view.waveform_S)
            group = groups.setdefault(samples, [])
            group.append(view)
            if len(group) == batch_size:
                yield _batch(groups.pop(samples))
        for group in groups.values():
            yield _batch(group)

    def _view(self, clip: Clip, name: int | str) -> View | None:
        """Make a view of one clip; None, and a note of why, if it is unusable."""
        waveform_S = self._decoded(clip)
        if waveform_S is None:
            return None
        try:
            view = self.recipe.make(waveform_S, clip, name)
        except UnusableAudio as error:
            self._skip(clip, error.reason)
            return None
        samples = len(view.waveform_S)
        if self.min_samples <= samples <= (self.max_samples or samples):
            return view
        limits = f"{self.min_samples} to {self.max_samples or 'any number of'} samples"
        self._skip(clip, f"{samples} samples, the model takes {limits}")
        return None

    def _decoded(self, clip: Clip) -> Waveform | None:
        """Decode one clip, or take it from memory; None, and a note of why, if it is unusable."""
        if clip.id in self._undecodable:
            return None
        if (kept := self._kept.get(clip.id)) is not None:
            return _as_float(kept)
        try:
            waveform = decode_clip(self.corpus.root, clip, self.sample_rate_hz).waveform
        except UnusableAudio as error:
            self._undecodable.add(clip.id)
            self._skip(clip, error.reason)
            return None
        self._keep(clip, waveform)
        return waveform

    def _keep(self, clip: Clip, waveform: Waveform) -> None:
        kept = _compact(waveform)
        if self._kept_bytes + kept.nbytes <= self.memory_bytes:
            self._kept[clip.id], self._kept_bytes = kept, self._kept_bytes + kept.nbytes

    def _skip(self, clip: Clip, reason: str) -> None:
        if clip.id not in self.unusable:
            self.unusable[clip.id] = reason
            if len(self.unusable) <= MAX_REPORTED:
                self.report(f"left out {one_line(clip.id)}: {one_line(reason)}")


def labelled_clips(corpus: Corpus, split: str) -> list[Clip]:
    """List the labelled clips of a split, as `LabelledAudio.clips` does."""
    found = [clip for clip in corpus.clips if clip.split == split and clip.labelled]
    if not any(clip.labels for clip in found):
        known = sorted({clip.split for clip in corpus.clips if clip.labels})
        raise RunError(
            f"the corpus has no labelled clip in split {split!r}, only in "
            f"{', '.join(known) or 'none'}; fine-tuning needs train and validation clips. Splits that "
            "are chosen get larger shares by ?validation=0.2 (validation_share=0.2 of audio-folder and "
            "hugging-face), alike for each class by stratify=true of csv, jsonl and folder",
            kind="corpus",
        )
    return found


def _batch(views: Sequence[View]) -> AudioBatch:
    return AudioBatch(
        [view.waveform_S for view in views], np.stack([view.labels_C for view in views])
    )


def _compact(waveform: Waveform) -> NDArray[np.int16] | Waveform:
    """Halve the size of a waveform whose samples are 16 bits, as a file's are."""
    steps = to_int16(waveform)
    return steps if np.array_equal(_as_float(steps), waveform) else waveform


def _as_float(kept: NDArray[np.int16] | Waveform) -> Waveform:
    waveform = kept.astype(np.float32)
    return waveform / np.float32(FULL_SCALE) if kept.dtype == np.int16 else waveform


def _balancing_shares(clips: Sequence[Clip]) -> NDArray[np.float64]:
    """Give each clip's probability of being drawn; clips with none of the classes count as one more."""
    classes = [clip.labels or (None,) for clip in clips]
    sizes = Counter(label for labels in classes for label in labels)
    weights = np.array([sum(1 / sizes[label] for label in labels) for labels in classes])
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _duration_s(clip: Clip) -> float:
    return clip.frames / max(1, clip.source_rate_hz)
