"""A batch: padded features, targets and the teacher's signals of the same rows.

Shape suffixes: B clips in batch, C classes, T frames, M mel bands or coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.frame_grid import FrameGrid


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of the cache as the trainer sees them.

    Attributes
    ----------
    features_BTM : Tensor, float32, shape (B, T, M)
        Front-end features, zero beyond a row's length.
    lengths_B : Tensor, int64, shape (B,)
        Valid feature frames of each row.
    labels_BC : Tensor, float32, shape (B, C)
        Multi-hot labels, or shares of two clips' labels where a view mixes them.
    labelled_B : Tensor, bool, shape (B,)
        Whether the row has labels.
    signals : mapping of str to Tensor
        Teacher signals in float32, zero-padded along every ragged axis.
    signal_lengths : mapping of str to Tensor
        Valid entries, int64 of shape (B,), along the first axis after B; fixed signals have theirs too.
    clips : int64, shape (B,)
        Positions in the cache's clip table.
    feature_grid : FrameGrid
        Where feature frames lie in time.
    hidden_BT : Tensor or None, bool, shape (B, T)
        Frames that augmentation hid from the student; losses on frames leave them out.
    """

    features_BTM: Tensor
    lengths_B: Tensor
    labels_BC: Tensor
    labelled_B: Tensor
    signals: Mapping[str, Tensor]
    signal_lengths: Mapping[str, Tensor]
    clips: NDArray[np.int64]
    feature_grid: FrameGrid
    hidden_BT: Tensor | None = None

    @property
    def ragged_lengths(self) -> Tensor | None:
        """Lengths as a student takes them: None where no row is padded, which spares it every mask."""
        is_ragged = bool((self.lengths_B < self.features_BTM.shape[1]).any())
        return self.lengths_B if is_ragged else None

    def to(self, device: torch.device) -> Batch:
        """Copy all tensors to a device."""
        return replace(
            self,
            features_BTM=self.features_BTM.to(device),
            lengths_B=self.lengths_B.to(device),
            labels_BC=self.labels_BC.to(device),
            labelled_B=self.labelled_B.to(device),
            signals={name: tensor.to(device) for name, tensor in self.signals.items()},
            signal_lengths={name: t.to(device) for name, t in self.signal_lengths.items()},
            hidden_BT=None if self.hidden_BT is None else self.hidden_BT.to(device),
        )


def pad_rows(rows: Sequence[NDArray[Any]]) -> tuple[Tensor, Tensor]:
    """Stack rows of differing shape, zero-padded to the longest along each axis.

    Rows are gathered as they are stored and converted together: torch does that eight times as fast
    as NumPy converts from float16.

    Returns
    -------
    padded : Tensor, float32, shape (B, ...)
    lengths_B : Tensor, int64, shape (B,)
        Entries of each row along its first axis (1 for scalars).
    """
    shapes = {row.shape for row in rows}
    longest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    padded = np.empty((len(rows), *longest), rows[0].dtype)
    if len(shapes) == 1:
        np.stack(rows, out=padded)
    else:
        padded[...] = 0
        for target, row in zip(padded, rows, strict=True):
            target[tuple(slice(size) for size in row.shape)] = row
    lengths = [row.shape[0] if row.ndim else 1 for row in rows]
    return torch.from_numpy(padded).float(), torch.tensor(lengths, dtype=torch.int64)
