"""Clips as fine-tuning sees them: decoded, labelled, batched by length, unusable ones counted.

Shape suffixes: B clips in batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import RunError
from pipeline.audio import UnusableAudio, decode
from pipeline.corpora.interface import Corpus

# Batches are cut from a shuffled window of this many batches sorted by length: little padding.
_WINDOW_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Some clips at once.

    Attributes
    ----------
    waveforms : list of ndarray, float32
        One a clip, of different lengths.
    labels : ndarray, float32, (B, C)
        Multi-hot.
    """

    waveforms: list[NDArray[np.float32]]
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
        Told of each unusable clip once.
    """

    corpus: Corpus
    sample_rate_hz: int
    min_samples: int
    max_samples: int | None
    report: Callable[[str], None]
    unusable: dict[str, str] = field(default_factory=dict)

    def clips(self, split: str) -> list[Clip]:
        """List the labelled clips of a split in the corpus' order.

        Raises
        ------
        RunError
            If there is none.
        """
        found = [clip for clip in self.corpus.clips if clip.split == split and clip.labels]
        if not found:
            known = sorted({clip.split for clip in self.corpus.clips if clip.labels})
            raise RunError(
                f"the corpus has no labelled clip in split {split!r}, only in "
                f"{', '.join(known) or 'none'}; fine-tuning needs train and validation clips",
                kind="corpus",
            )
        return found

    def has(self, split: str) -> bool:
        """Say whether a split has labelled clips."""
        return any(clip.split == split and clip.labels for clip in self.corpus.clips)

    def shuffled(self, split: str, batch_size: int, seed: tuple[int, ...]) -> Iterator[Batch]:
        """Yield each clip of a split once, in an order that depends on `seed` alone."""
        clips, random = self.clips(split), np.random.default_rng(seed)
        order = [clips[i] for i in random.permutation(len(clips))]
        window = batch_size * _WINDOW_BATCHES
        batches: list[list[Clip]] = []
        for start in range(0, len(order), window):
            by_length = sorted(order[start : start + window], key=_duration_s)
            batches += [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        for index in random.permutation(len(batches)):
            batch = self._batch(batches[index])
            if batch.waveforms:
                yield batch

    def batch_count(self, split: str, batch_size: int) -> int:
        """Count the batches of `shuffled`; unusable clips may leave out a few."""
        full, rest = divmod(len(self.clips(split)), batch_size * _WINDOW_BATCHES)
        return full * _WINDOW_BATCHES - (-rest // batch_size)

    def of_equal_length(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Yield each clip once, in batches of clips of exactly one length."""
        groups: dict[int, list[tuple[NDArray[np.float32], Clip]]] = {}
        for clip in sorted(self.clips(split), key=_duration_s):
            waveform = self._decoded(clip)
            if waveform is None:
                continue
            group = groups.setdefault(len(waveform), [])
            group.append((waveform, clip))
            if len(group) == batch_size:
                yield self._labelled(groups.pop(len(waveform)))
        for group in groups.values():
            yield self._labelled(group)

    def _batch(self, clips: Sequence[Clip]) -> Batch:
        decoded = ((self._decoded(clip), clip) for clip in clips)
        return self._labelled([(w, clip) for w, clip in decoded if w is not None])

    def _labelled(self, members: Sequence[tuple[NDArray[np.float32], Clip]]) -> Batch:
        labels_BC = np.zeros((len(members), len(self.corpus.classes)), dtype=np.float32)
        for row, (_, clip) in zip(labels_BC, members, strict=True):
            row[[self.corpus.classes.index(label) for label in clip.labels]] = 1
        return Batch([waveform for waveform, _ in members], labels_BC)

    def _decoded(self, clip: Clip) -> NDArray[np.float32] | None:
        """Decode one clip, or note why it cannot be used."""
        if clip.id in self.unusable:
            return None
        try:
            waveform = decode(
                self.corpus.root / clip.path,
                start_s=clip.start_s,
                end_s=clip.end_s,
                sample_rate_hz=self.sample_rate_hz,
            ).waveform
        except UnusableAudio as error:
            self._skip(clip, error.reason)
            return None
        if len(waveform) < self.min_samples or len(waveform) > (self.max_samples or len(waveform)):
            limits = f"{self.min_samples} to {self.max_samples or 'any number of'} samples"
            self._skip(clip, f"{len(waveform)} samples, the model takes {limits}")
            return None
        return waveform

    def _skip(self, clip: Clip, reason: str) -> None:
        self.unusable[clip.id] = reason
        self.report(f"left out {clip.id}: {reason}")


def _duration_s(clip: Clip) -> float:
    return clip.frames / max(1, clip.source_rate_hz)
