"""What a teacher is: everything the batch stage needs to know about one, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cache_schema.frame_grid import FrameGrid

Task = Literal["single", "multi"]
Batching = Literal["exact", "near"]


@runtime_checkable
class Teacher(Protocol):
    """A model whose outputs are cached.

    Everything but `infer` works before `load`, from a configuration alone, so that a plan can be
    made on a machine without weights or accelerator.

    Attributes
    ----------
    family : str
        Its kind, as a cache records it.
    sample_rate_hz : int
        Rate of the waveforms it takes.
    classes : tuple of str
        Class names in the order of its logits.
    task : {"single", "multi"}
        Softmax over classes or a sigmoid for each.
    batching : {"exact", "near"}
        Whether the clips of a batch must be of exactly equal length or may be of near length.
        Either way a clip's signals do not depend on its neighbours.
    min_samples : int
        Shortest input it takes.
    max_samples : int or None
        Longest input it takes; None means any.
    signals : mapping of str to FrameGrid or None
        The signals it can give; framed ones with their grid.
    provenance : dict
        JSON that identifies what the outputs depend on; holds no path of this machine.
    example : str, optional
        The teacher as ``--teacher`` takes it; only for one by name that cannot do without options.
    """

    family: str
    sample_rate_hz: int
    classes: tuple[str, ...]
    task: Task
    batching: Batching
    min_samples: int
    max_samples: int | None
    signals: Mapping[str, FrameGrid | None]
    provenance: dict[str, Any]

    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""

    def load(self, device: str) -> None:
        """Make `infer` possible on a torch device such as ``"cpu"`` or ``"cuda:0"``."""

    def infer(
        self, waveforms: Sequence[NDArray[np.float32]], signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Process each mono waveform of shape (samples,) with the requested signals.

        Raises
        ------
        UsageError
            If a signal is not one of `signals` or a length is outside the allowed range.
        """
