"""Attention rollout: how much each frame of the input reached the teacher's output.

With head-mean attention maps ``A_l`` (a row is a query and sums to 1; l = 1 is the lowest layer)
and ``Â_l = ½A_l + ½I`` for the residual connection, the rollout is ``R = Â_L ··· Â_1`` (Abnar and
Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3,
https://arxiv.org/abs/2005.00928). What one position saw is its row of R. A
teacher whose output is made from ``pᵀ`` times its last hidden states saw ``r = pᵀR``: the first row
for a classifier on the first frame (Choi et al. 2022, figure 1, https://arxiv.org/abs/2110.14131),
the mean row for mean pooling, and so on.

Shape suffixes: B clips in batch, N positions (special tokens, frames or patches, padding), T frames
that the model lays out in time, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenGrid:
    """How the positions of a sequence lie in time.

    The sequence starts with `special` tokens that have no place in time, followed by `rows` runs
    of `frames` positions each: one run for a sequence of frames, one for each band of patches.
    """

    special: int
    rows: int
    frames: int

    def fold_keys(self, values: Tensor) -> Tensor:
        """Drop special tokens from the last axis and sum over rows: (..., N) to (..., T)."""
        in_time = values[..., self.special :]
        return in_time.reshape(*in_time.shape[:-1], self.rows, self.frames).sum(-2)

    def fold_queries(self, values: Tensor) -> Tensor:
        """Drop special tokens from the last axis and average over rows: (..., N) to (..., T)."""
        return self.fold_keys(values) / self.rows

    def mask(self, frames_B: Tensor) -> Tensor:
        """Mark the positions that hold one of a clip's first `frames_B` frames: (B, N), bool."""
        in_time_BT = torch.arange(self.frames, device=frames_B.device) < frames_B[:, None]
        special_BS = in_time_BT.new_zeros(len(frames_B), self.special)
        return torch.cat([special_BS, in_time_BT.repeat(1, self.rows)], dim=1)


def roll_out(maps: Sequence[Tensor], pooling_BN: Tensor, *, residual: bool) -> Tensor:
    """Compute ``r = pᵀ Â_L ··· Â_1`` with vectors from the top down, in O(L·N²).

    Parameters
    ----------
    maps : sequence of Tensor, each (B, N, N)
        Head-mean attention of each layer, lowest first.
    pooling_BN : Tensor, (B, N)
        Weights p with which the classifier pools the last hidden states; sums to 1.
    residual : bool
        With the identity mixed in (Â), or the plain product of the maps.

    Returns
    -------
    Tensor, (B, N)
        Sums to 1 over all positions, special tokens and padding included.

    Examples
    --------
    Two layers over two frames. In the upper one both frames attend to the second, in the lower one
    each frame attends to the other. A mean of both frames, [1/2, 1/2], therefore came through the
    second frame of the layer between, and that one from the first frame of the input:

    >>> lower, upper = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> mean = torch.tensor([[0.5, 0.5]])
    >>> roll_out([lower, upper], mean, residual=False).tolist()
    [[1.0, 0.0]]

    With the residual connections half of each step stays where it is: [1/2, 1/2] becomes
    [1/4, 3/4] above, and [1/4, 3/4] becomes [1/2, 1/2] below. It is one row of the full product:

    >>> roll_out([lower, upper], mean, residual=True).tolist()
    [[0.5, 0.5]]
    >>> (mean @ roll_out_maps([lower, upper], residual=True)[0]).tolist()
    [[0.5, 0.5]]
    """
    rolled_BN = pooling_BN
    for map_BNN in reversed(maps):
        attended_BN = torch.bmm(rolled_BN[:, None], map_BNN)[:, 0]
        rolled_BN = 0.5 * (attended_BN + rolled_BN) if residual else attended_BN
    return rolled_BN


def roll_out_maps(maps: Sequence[Tensor], *, residual: bool) -> Tensor:
    """Compute the full product ``R = Â_L ··· Â_1``: (B, N, N), in O(L·N³).

    Only `attention_map` needs it; `roll_out` gives any one row or mean of rows far cheaper.
    """
    positions = maps[0].shape[-1]
    identity_NN = torch.eye(positions, dtype=maps[0].dtype, device=maps[0].device)
    rolled_BNN = identity_NN.expand_as(maps[0])
    for map_BNN in maps:
        attended_BNN = torch.bmm(map_BNN, rolled_BNN)
        rolled_BNN = 0.5 * (attended_BNN + rolled_BNN) if residual else attended_BNN
    return rolled_BNN


def received_attention(maps: Sequence[Tensor], queries_BN: Tensor) -> Tensor:
    """Average what each position receives over the queries marked in `queries_BN`: (B, N, L).

    Parameters
    ----------
    maps : sequence of Tensor, each (B, N, N)
        Head-mean attention of each layer, lowest first.
    queries_BN : Tensor, bool, (B, N)
        Queries to average over; padding has queries too, which would otherwise enter the mean.
    """
    weights_BN = queries_BN / queries_BN.sum(dim=1, keepdim=True)
    received = [torch.bmm(weights_BN[:, None].to(a.dtype), a)[:, 0] for a in maps]
    return torch.stack(received, dim=-1)


def keep_frames(values_BT: Tensor, frames_B: Tensor) -> Tensor:
    """Set what fell on padding to zero and renormalise over the frames of each clip.

    Parameters
    ----------
    values_BT : Tensor, (B, ..., T)
        Non-negative shares, folded to time.
    frames_B : Tensor, int, (B,)
        Number of frames of each clip.

    Returns
    -------
    Tensor, (B, ..., T)
        Sums to 1 over each clip's frames and is 0 after them.
    """
    limits = frames_B.view(-1, *[1] * (values_BT.dim() - 1))
    inside = torch.arange(values_BT.shape[-1], device=values_BT.device) < limits
    kept = values_BT * inside
    return kept / kept.sum(-1, keepdim=True)
