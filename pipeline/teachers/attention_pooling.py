"""The attention pooling of PSLA: each class chooses its own moments.

PSLA (Gong, Chung and Glass 2021, https://arxiv.org/abs/2102.01243, section II; the class
``MHeadAttention`` of its code) averages the last feature map over frequency. For each head h and
class c, one linear map gives how much frame t counts, a_htc, and another its activation, z_htc; the
clip's output is ``Σ_h w_h Σ_t (a_htc / Σ_t' a_ht'c) z_htc`` with a sigmoid on a and learned w_h.

PSLA also puts a sigmoid on z, which makes the output a mixture of probabilities. Here z stays linear,
as in the EfficientAT models' head: the output is a logit, for softmax and sigmoid alike.

Shape suffixes: B clips in batch, T frames, D features, H heads, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Keeps the weights of a clip that no frame attends to from being 0 / 0; PSLA's value.
_MIN_ATTENTION = 1e-7


class AttentionPooling(nn.Module):
    """Pool and classify frames.

    Parameters
    ----------
    features, classes, heads : int
        Sizes.
    """

    def __init__(self, features: int, classes: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Linear(features, heads * classes)
        self.classification = nn.Linear(features, heads * classes)
        self.head_weight = nn.Parameter(torch.full((heads,), 1 / heads))

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """Give the logits: (B, C)."""
        by_head = (*frames_BTD.shape[:2], len(self.head_weight), -1)
        weights_BTHC = torch.sigmoid(self.attention(frames_BTD)).reshape(by_head)
        weights_BTHC = weights_BTHC.clamp(min=_MIN_ATTENTION)
        activation_BTHC = self.classification(frames_BTD).reshape(by_head)
        activation_BHC = (weights_BTHC * activation_BTHC).sum(1) / weights_BTHC.sum(1)
        return torch.einsum("bhc,h->bc", activation_BHC, self.head_weight)
