"""Layers that treat padding as absent, with Keras' conventions where kws_streaming relies on them.

Shape suffixes: B clips, C channels, T frames, F bands, N valid frames of a batch one after another.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KERAS_EPSILON = 1e-3


def frame_mask(lengths_B: Tensor, frames: int) -> Tensor:
    """Valid frames: (B,) → bool (B, T)."""
    return torch.arange(frames, device=lengths_B.device) < lengths_B[:, None]


def mask_of(lengths_B: Tensor | None, frames: int, axes: str) -> Tensor | None:
    """Valid frames as `axes` lays them out, or None where every frame is valid.

    Parameters
    ----------
    lengths_B : Tensor or None
        Valid frames of each clip.
    frames : int
        Frames of the batch.
    axes : str
        Shape in suffixes: ``"B1T1"`` gives (B, 1, T, 1).
    """
    if lengths_B is None:
        return None
    sizes = {"B": len(lengths_B), "T": frames, "1": 1}
    return frame_mask(lengths_B, frames).view([sizes[axis] for axis in axes])


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zero what a mask leaves out; None leaves nothing out."""
    return values if mask is None else values * mask


def lengths_of(lengths_B: Tensor | None, values_BT: Tensor) -> Tensor:
    """Valid frames of each clip as a tensor: all of them where nothing is masked."""
    if lengths_B is not None:
        return lengths_B
    clips, frames = values_BT.shape[:2]
    return torch.full((clips,), frames, dtype=torch.int64, device=values_BT.device)


def masked_mean(values_BCT: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Mean over valid frames: (B, C, T) → (B, C)."""
    if lengths_B is None:
        return values_BCT.mean(2)
    mask_B1T = frame_mask(lengths_B, values_BCT.shape[2])[:, None]
    return (values_BCT * mask_B1T).sum(2) / lengths_B[:, None]


class MaskedBatchNorm(nn.Module):
    """Batch normalisation whose statistics see valid frames only; padding comes out as 0.

    The running variance is the unbiased one, as in Keras' fused kernel and in torch. At batch n the
    momentum is ``min(momentum, (1 + n) / (10 + n))``, TensorFlow's warm-up of moving averages: with
    0.997 alone a training of 500 batches would be evaluated with a fifth of the initial zeros and
    ones.

    Parameters
    ----------
    channels : int
        Size of axis 1.
    momentum : float
        Keras' sense: the share of the old statistics that is kept.
    epsilon : float
        Added to the variance; Keras' 1e-3 where nothing else is given.
    """

    running_mean: Tensor
    running_variance: Tensor
    batches_seen: Tensor

    def __init__(self, channels: int, *, momentum: float, epsilon: float = KERAS_EPSILON) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))
        self.register_buffer("batches_seen", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Normalise (B, C, T) or (B, C, T, F) under a mask (B, 1, T) or (B, 1, T, 1), or none."""
        if self.training:
            return self._by_the_batch(values, mask)
        normalised = nn.functional.batch_norm(
            values,
            self.running_mean,
            self.running_variance,
            self.scale,
            self.shift,
            eps=self.epsilon,
        )
        return masked(normalised, mask)

    def _by_the_batch(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Put valid frames next to each other, so that torch's own kernel sees nothing else."""
        if mask is None:
            return self._normalised(values)
        valid_N = mask.flatten().nonzero()[:, 0]
        if len(valid_N) == mask.numel():
            return self._normalised(values)
        channels_last = values.movedim(1, -1)
        frames = channels_last.flatten(0, 1)
        chosen = frames.index_select(0, valid_N)
        normalised = self._normalised(chosen.flatten(0, -2)).view_as(chosen)
        padded = torch.zeros_like(frames).index_copy(0, valid_N, normalised)
        return padded.view_as(channels_last).movedim(-1, 1)

    def _normalised(self, values: Tensor) -> Tensor:
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_variance)
        # Not nn.functional's, which rejects a batch of one value.
        normalised = torch.batch_norm(
            values,
            self.scale,
            self.shift,
            mean,
            variance,
            training=True,
            momentum=1.0,  # leaves this batch's statistics alone in `mean` and `variance`
            eps=self.epsilon,
            cudnn_enabled=torch.backends.cudnn.enabled,
        )
        if values.numel() > len(mean):  # one value has no variance
            self._remember(mean, variance)
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        kept = torch.clamp((1 + self.batches_seen) / (10 + self.batches_seen), max=self.momentum)
        self.running_mean.lerp_(mean, 1 - kept)
        self.running_variance.lerp_(variance, 1 - kept)
        self.batches_seen += 1


def init_as_keras(module: nn.Module) -> None:
    """Glorot-uniform kernels and zero biases, as Keras starts dense and convolution layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.GRU):
            _init_gru(layer)


def _init_gru(layer: nn.GRU) -> None:
    """Keras draws one Glorot kernel and one orthogonal recurrent kernel over all three gates."""
    for name, weight in layer.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(weight)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(weight)
        else:
            nn.init.zeros_(weight)
