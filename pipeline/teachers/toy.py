"""A teacher without weights: cheap, deterministic, NumPy only. For tests, demos and first steps.

It attends to where the energy is. Its two layers of attention have rank one, so every signal has a
closed form: with e the frames' share of energy and f their share of squared energy, layer 1 is
``1 eᵀ``, layer 2 is ``1 fᵀ``, and the rollout (see pipeline/README.md) is
``(½I + ½·1fᵀ)(½I + ½·1eᵀ) = ¼I + 1(½e + ¼f)ᵀ``.

Shape suffixes: S samples, T frames, P pooled frames, M bands, C classes, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.frame_grid import FrameGrid
from cache_schema.signal_names import (
    ATTENTION_MAP,
    CLIP_EMBEDDING,
    DROPPED_MASS,
    FRAME_EMBEDDING,
    LAYER_ATTENTION,
    LOGITS,
    TEMPORAL_ATTENTION,
)
from pipeline.teachers.interface import Batching, Task
from pipeline.teachers.signals import check_request, pool_frames, pool_map

FloatArray = NDArray[np.float64]

_BANDS = 16
_LAYERS = 2
_POOLING = 4
_HOP_S = 0.02


class ToyTeacher:
    """A teacher without weights, for first steps: see the module.

    Parameters
    ----------
    classes : str
        Class names separated by semicolons.
    task : {"single", "multi"}
        Recorded; the logits are the same.
    sample_rate_hz : int
        A multiple of 50, so that the hop of 20 ms is whole samples.
    """

    family = "toy"
    batching: Batching = "near"
    max_samples: int | None = None

    def __init__(
        self, *, classes: str = "quiet;loud", task: Task = "single", sample_rate_hz: int = 16_000
    ) -> None:
        self.classes = tuple(filter(None, classes.split(";")))
        self.task: Task = task
        self.sample_rate_hz = sample_rate_hz
        self._hop_samples = sample_rate_hz // 50
        self.min_samples = self._hop_samples
        if not self.classes or sample_rate_hz % 50 or sample_rate_hz < 2_000:
            raise UsageError(
                "teacher toy needs at least one class and a sample rate that is a multiple of "
                f"50 Hz, 2000 Hz or more; got classes={classes!r}, sample_rate_hz={sample_rate_hz}",
                kind="options",
            )
        if twice := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            raise UsageError(
                f"teacher toy: classes={classes!r} names a class twice: {', '.join(twice)}",
                kind="options",
            )
        frames = FrameGrid(hop_s=_HOP_S, first_frame_s=_HOP_S / 2)
        self.signals: Mapping[str, FrameGrid | None] = {
            LOGITS: None,
            TEMPORAL_ATTENTION: frames,
            DROPPED_MASS: None,
            LAYER_ATTENTION: frames,
            ATTENTION_MAP: frames.pooled(_POOLING),
            FRAME_EMBEDDING: frames.pooled(_POOLING),
            CLIP_EMBEDDING: None,
        }
        self.provenance: dict[str, Any] = {
            "id": "toy",
            "family": "toy",
            "revision": "1",
            "classes": list(self.classes),
            "task": task,
            "sample_rate_hz": sample_rate_hz,
            "dtype": "float64",
            "options": {},
            "libraries": {"numpy": np.__version__},
        }

    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""
        frames = samples // self._hop_samples
        pooled = -(-frames // _POOLING)
        shapes: dict[str, tuple[int, ...]] = {
            LOGITS: (len(self.classes),),
            TEMPORAL_ATTENTION: (frames,),
            DROPPED_MASS: (),
            LAYER_ATTENTION: (frames, _LAYERS),
            ATTENTION_MAP: (pooled, pooled),
            FRAME_EMBEDDING: (pooled, _BANDS),
            CLIP_EMBEDDING: (_BANDS,),
        }
        return shapes[signal]

    def load(self, device: str) -> None:
        """Do nothing: there are no weights, and NumPy runs on the CPU whatever the device."""

    def infer(
        self, waveforms: Sequence[NDArray[np.float32]], signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Compute the signals of each waveform by itself; see `Teacher.infer`."""
        check_request(self, [len(waveform) for waveform in waveforms], signals)
        return [
            {name: value.astype(np.float32) for name, value in self._signals(w, signals).items()}
            for w in waveforms
        ]

    def _signals(
        self, waveform_S: NDArray[np.float32], signals: Sequence[str]
    ) -> dict[str, FloatArray]:
        bands_TM, energy_T = self._bands(waveform_S)
        first_T, second_T = energy_T / energy_T.sum(), energy_T**2 / (energy_T**2).sum()
        frames = len(energy_T)
        received_T = 0.5 * first_T + 0.25 * second_T
        clip_M = bands_TM.mean(axis=0)
        answers: dict[str, FloatArray] = {
            LOGITS: np.einsum("cm,m->c", _projection(len(self.classes)), clip_M),
            TEMPORAL_ATTENTION: 0.25 / frames + received_T,
            DROPPED_MASS: np.zeros(()),
            LAYER_ATTENTION: np.stack([first_T, second_T], axis=1),
            FRAME_EMBEDDING: pool_frames(bands_TM, _POOLING),
            CLIP_EMBEDDING: clip_M,
        }
        if ATTENTION_MAP in signals:
            rolled_TT = 0.25 * np.eye(frames) + received_T
            answers[ATTENTION_MAP] = pool_map(rolled_TT, _POOLING)
        return {name: answers[name] for name in signals}

    def _bands(self, waveform_S: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
        """Give the log energies of equal bands (T, M) and the energies of the frames (T,)."""
        frames = len(waveform_S) // self._hop_samples
        block_TS = waveform_S[: frames * self._hop_samples].reshape(frames, -1).astype(np.float64)
        power = np.abs(np.fft.rfft(block_TS, axis=1)[:, 1:]) ** 2 / self._hop_samples
        edges = np.linspace(0, power.shape[1], _BANDS + 1).astype(int)[:-1]
        bands_TM = np.log(np.add.reduceat(power, edges, axis=1) + 1e-6)
        return bands_TM, (block_TS**2).mean(axis=1) + 1e-6


def _projection(classes: int) -> FloatArray:
    """Give fixed weights (C, M): cosines of distinct frequencies, so that no two classes agree."""
    band, index = np.arange(_BANDS) + 0.5, np.arange(classes) + 1.0
    weights: FloatArray = np.cos(np.outer(index, band) * (np.pi / (_BANDS + 0.618))) / 4
    return weights
