"""Head-mean attention maps, taken inside the forward pass of a transformers model.

A stock model that returns its attention holds L·H·T² floats a clip. Here each block of
``softmax(QKᵀ)`` is used for the layer's output and averaged over heads at once, so that L·T²
remain. CPU milliseconds a layer on one thread, 8 heads of 64 dimensions, projections as a model lays
them out:

============== ======= ======= ======= ========
clips x frames 16 x 50 8 x 200 4 x 500 1 x 1500
============== ======= ======= ======= ========
SDPA, no maps      2.8    11.8    35.0     68.6
these blocks       3.7    13.5    42.5     92.7
SDPA and probe     5.1    21.0    59.3    134.3
eager              6.8    24.3    70.8    247.6
============== ======= ======= ======= ========

A probe computes the softmax a second time; the blocks beat it at every length. The two matrix
products alone cost what all of SDPA costs, and the softmax a quarter of it, which leaves little to
gain: hence weights in the place of the scores, one buffer for all blocks, no copy of the projections.
The same arithmetic runs whether maps are requested or not: no output depends on which other signals
are stored. It has no gradients.

Shape suffixes: B clips in batch, H heads, T frames (queries and keys), D features of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

HEAD_MEAN_ATTENTION = "aftersound_head_mean"

# A block of scores should stay in the last-level cache, but hold queries enough for fast products;
# an accelerator wants few large kernels.
_BLOCK_BYTES = {"cpu": 4 << 20}
_ACCELERATOR_BLOCK_BYTES = 256 << 20

_collected: ContextVar[list[Tensor] | None] = ContextVar("aftersound_attention_maps", default=None)


@contextmanager
def collect_maps() -> Iterator[list[Tensor]]:
    """Collect the head-mean map (B, T, T) of every attention layer run inside, lowest first.

    The list belongs to this thread and context only.
    """
    maps: list[Tensor] = []
    token = _collected.set(maps)
    try:
        yield maps
    finally:
        _collected.reset(token)


@contextmanager
def collect_stock_maps(attention_modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect head means of the weights that a model's own attention modules return, by hooks.

    Needs ``attn_implementation="eager"``; serves the self-test, and WavLM, whose attention bypasses
    the interface and returns weights that are averaged over heads already.
    """
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, outputs: Any) -> None:
        weights_BHTT = outputs[1]
        maps.append(weights_BHTT.mean(1))

    hooks = [module.register_forward_hook(keep) for module in attention_modules]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def head_mean_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_unused: Any,
) -> tuple[Tensor, None]:
    """Compute attention as transformers' attention interface requires, and note the head mean.

    Parameters
    ----------
    module : nn.Module
        The attention layer; not used.
    query, key, value : Tensor, (B, H, T, D)
        Projected inputs.
    attention_mask : Tensor or None, (B, 1, T, T) or broadcastable
        Boolean (True takes part), or a number to add to the scores.
    scaling : float, optional
        Factor of the scores; by default ``D ** -0.5``.

    Returns
    -------
    output : Tensor, (B, T, H, D)
        Attention output in the interface's order of axes.
    weights : None
        Never kept; see `collect_maps`.
    """
    clips, heads, frames, features = query.shape
    factor = features**-0.5 if scaling is None else scaling
    maps = _collected.get()
    map_BTT = query.new_empty(clips, frames, key.shape[2]) if maps is not None else None
    output_BTHD = query.new_empty(clips, frames, heads, features)
    memory = query.new_empty(0)
    for at in _blocks(clips, heads, frames, query.device.type):
        scores_BHTT = _scores(memory, query[at[0], :, at[1]], key[at[0]], factor)
        if attention_mask is not None:
            _apply_mask(scores_BHTT, attention_mask, at)
        weights_BHTT = torch.softmax(scores_BHTT, dim=-1, out=scores_BHTT)
        output_XTD = torch.bmm(weights_BHTT.flatten(0, 1), value[at[0]].flatten(0, 1))
        output_BTHD[at] = output_XTD.view(-1, heads, *output_XTD.shape[1:]).transpose(1, 2)
        if map_BTT is not None:
            torch.mean(weights_BHTT, dim=1, out=map_BTT[at])
    if maps is not None and map_BTT is not None:
        maps.append(map_BTT)
    return output_BTHD, None


def _scores(memory: Tensor, query: Tensor, key: Tensor, factor: float) -> Tensor:
    """Compute a block's scores (B, H, T, T) in memory that was made for an earlier block."""
    scores_BHTT = memory.resize_(*query.shape[:3], key.shape[2])
    scores_XTT = scores_BHTT.flatten(0, 1)
    q_XTD, k_XTD = query.flatten(0, 1), key.flatten(0, 1)
    torch.baddbmm(scores_XTT, q_XTD, k_XTD.mT, beta=0, alpha=factor, out=scores_XTT)
    return scores_BHTT


def _blocks(clips: int, heads: int, frames: int, device: str) -> Iterator[tuple[slice, slice]]:
    """Cut (clips, queries) into blocks whose scores fit the byte budget of the device.

    On a CPU a block is of one clip, whose queries are views; those of several would be copied.
    """
    budget = _BLOCK_BYTES.get(device, _ACCELERATOR_BLOCK_BYTES) // 4
    clips_at_once = 1 if device == "cpu" else max(1, budget // (heads * frames * frames))
    cuts = min(frames, -(-heads * frames * frames // budget))
    queries_at_once = -(-frames // cuts)
    for clip in range(0, clips, clips_at_once):
        for query in range(0, frames, queries_at_once):
            yield slice(clip, clip + clips_at_once), slice(query, query + queries_at_once)


def _apply_mask(scores_BHTT: Tensor, mask: Tensor, at: tuple[slice, slice]) -> None:
    """Apply in place a mask that may be of length 1 in its clips or queries."""
    part = mask[at[0] if mask.shape[0] > 1 else slice(None)]
    part = part[:, :, at[1]] if part.shape[2] > 1 else part
    if part.dtype == torch.bool:
        scores_BHTT.masked_fill_(~part, -torch.inf)
    else:
        scores_BHTT.add_(part)


def register() -> None:
    """Make the implementation known to transformers under `HEAD_MEAN_ATTENTION`.

    Without a mask function under the same name, padding is silently left unmasked.
    """
    AttentionInterface.register(HEAD_MEAN_ATTENTION, head_mean_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(HEAD_MEAN_ATTENTION, sdpa_mask)
