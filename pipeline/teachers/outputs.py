"""From a teacher's hidden states and attention maps to the signals of each clip.

Shape suffixes: B clips in batch, C classes, N positions (special tokens, frames or patches,
padding), T frames, L layers, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.signal_names import (
    ATTENTION_MAP,
    CLIP_EMBEDDING,
    DROPPED_MASS,
    FRAME_EMBEDDING,
    LAYER_ATTENTION,
    LOGITS,
    TEMPORAL_ATTENTION,
)
from pipeline.teachers.rollout import (
    TokenGrid,
    keep_frames,
    received_attention,
    roll_out,
    roll_out_maps,
)
from pipeline.teachers.signals import pool_frames, pool_map

ATTENTION_SIGNALS = frozenset({TEMPORAL_ATTENTION, DROPPED_MASS, LAYER_ATTENTION, ATTENTION_MAP})


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Where the frames of a batch lie and with which weights its classifier pools positions.

    Attributes
    ----------
    grid : TokenGrid
        How positions lie in time.
    frames : Tensor, int, (B,)
        Frames of each clip; what comes after them is padding.
    pooling : Tensor, float, (B, N)
        Weights p of `pipeline.teachers.rollout`.
    """

    grid: TokenGrid
    frames: Tensor
    pooling: Tensor


def frame_layout(
    frames: Sequence[int], pooled: Sequence[int], *, pooling: str, device: torch.device
) -> TokenLayout:
    """Lay out sequences of frames without special tokens.

    Parameters
    ----------
    frames : sequence of int
        Frames of each clip.
    pooled : sequence of int
        Frames that mean pooling averages; more than `frames` where a model pools its padding.
    pooling : {"first", "mean"}
        What the classifier pools.
    device : torch.device
        Of the layout.
    """
    length = max(max(frames), *pooled)
    pooled_B = torch.tensor(pooled, device=device)
    index_N = torch.arange(length, device=device)
    if pooling == "first":
        pooling_BN = (index_N == 0).float().repeat(len(frames), 1)
    else:
        pooling_BN = (index_N < pooled_B[:, None]) / pooled_B[:, None]
    frames_B = torch.tensor(frames, device=device)
    return TokenLayout(TokenGrid(special=0, rows=1, frames=length), frames_B, pooling_BN)


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """One forward pass of a batch: everything that signals are made from.

    Attributes
    ----------
    layout : TokenLayout
        Where positions lie in time.
    hidden : Tensor, (B, N, D)
        Last hidden states.
    pooled : Tensor, (B, D)
        What the classification head saw.
    logits : Tensor, (B, C)
        What it computed.
    maps : sequence of Tensor, each (B, N, N)
        Head-mean attention of each layer, lowest first; empty when no signal needs it.
    residual : bool
        Rollout with the residual connection.
    map_pooling : int
        Frames that maps and embeddings are pooled by.
    """

    layout: TokenLayout
    hidden: Tensor
    pooled: Tensor
    logits: Tensor
    maps: Sequence[Tensor]
    residual: bool
    map_pooling: int

    def signals(self, signals: Collection[str]) -> list[dict[str, NDArray[np.float32]]]:
        """Give each clip's signals, cut to its own frames."""
        parts = [_MAKERS[name](self) for name in signals]
        return [
            {
                name: np.array(part[clip], dtype=np.float32)
                for name, part in zip(signals, parts, strict=True)
            }
            for clip in range(len(self.hidden))
        ]

    def _cut(self, values_BT: Tensor) -> list[NDArray[np.float32]]:
        """Leave each clip its own frames along the second axis."""
        frames = self.layout.frames.tolist()
        return [v[:n].numpy() for v, n in zip(values_BT.cpu(), frames, strict=True)]

    def _rolled(self) -> Tensor:
        return roll_out(self.maps, self.layout.pooling, residual=self.residual)

    def _temporal_attention(self) -> list[NDArray[np.float32]]:
        time_BT = self.layout.grid.fold_keys(self._rolled())
        return self._cut(keep_frames(time_BT, self.layout.frames))

    def _dropped_mass(self) -> list[NDArray[np.float32]]:
        dropped_BN = ~self.layout.grid.mask(self.layout.frames)
        return list((self._rolled() * dropped_BN).sum(1).cpu().numpy())

    def _layer_attention(self) -> list[NDArray[np.float32]]:
        """Average over the queries of a clip's frames, renormalised: each layer sums to 1."""
        grid, frames_B = self.layout.grid, self.layout.frames
        received_BNL = received_attention(self.maps, grid.mask(frames_B))
        received_BLT = grid.fold_keys(received_BNL.transpose(1, 2))
        return self._cut(keep_frames(received_BLT, frames_B).transpose(1, 2))

    def _attention_map(self) -> list[NDArray[np.float64]]:
        grid, frames_B = self.layout.grid, self.layout.frames
        keys_BNT = grid.fold_keys(roll_out_maps(self.maps, residual=self.residual))
        map_BTT = grid.fold_queries(keys_BNT.transpose(1, 2)).transpose(1, 2)
        cut = self._cut(keep_frames(map_BTT, frames_B))
        return [pool_map(rows[:, : len(rows)], self.map_pooling) for rows in cut]

    def _frame_embedding(self) -> list[NDArray[np.float64]]:
        frames_BTD = self.layout.grid.fold_queries(self.hidden.transpose(1, 2)).transpose(1, 2)
        return [pool_frames(rows, self.map_pooling) for rows in self._cut(frames_BTD)]

    def _logits(self) -> list[NDArray[np.float32]]:
        return list(self.logits.cpu().numpy())

    def _clip_embedding(self) -> list[NDArray[np.float32]]:
        return list(self.pooled.cpu().numpy())


_Maker = Callable[[ForwardPass], Sequence[NDArray[np.floating]]]
_MAKERS: dict[str, _Maker] = {
    LOGITS: ForwardPass._logits,
    TEMPORAL_ATTENTION: ForwardPass._temporal_attention,
    DROPPED_MASS: ForwardPass._dropped_mass,
    LAYER_ATTENTION: ForwardPass._layer_attention,
    ATTENTION_MAP: ForwardPass._attention_map,
    FRAME_EMBEDDING: ForwardPass._frame_embedding,
    CLIP_EMBEDDING: ForwardPass._clip_embedding,
}
