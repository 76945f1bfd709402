"""A spectrogram transformer of tiny width: the transformer student of CMKD.

The Audio Spectrogram Transformer (Gong et al. 2021, https://arxiv.org/abs/2104.01778) in the shape of
its tiny model: patches of 16 frames by 16 bands, 192 wide, 3 heads, 12 layers, the class token before
a linear layer (Gong et al. 2022, https://arxiv.org/abs/2203.06760). Positions differ: learned per row
of frequency, as there, but sinusoidal in time, so that a clip of any length has its own and none is
interpolated.

Shape suffixes: B clips, T frames or columns of patches, M mel bands, F rows of patches, N tokens
(the class token, then patches column by column), H heads, D width, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.models.interface import Student, StudentOutput
from student.models.layers import MaskedBatchNorm, lengths_of, mask_of, masked
from student.recipes import Exponential, Recipe

PATCH = 16
WIDTH, HEADS = 192, 3
MAX_LAYERS = 100


class ASTTiny(Student):
    """Patches, transformer layers with the normalisation first, logits from the class token.

    A patch belongs to a clip if all its 16 frames do; a clip of fewer frames has one column of patches,
    of which the rest is zero. The context representation c′ is the mean over frequency of the last
    layer's patches: column t, `stride` feature frames after the one before, is centred between its
    8th and 9th frame. With a hop of 10 ms and stride 10 that is one frame every 100 ms.

    ``attention_BHT`` is the class token's row of the last layer's attention: for each head the logarithm
    of its probabilities summed over frequency, but for a constant. A softmax over time gives the share
    of each column in what the row puts on patches; what it puts on the class token itself is left out.

    Parameters
    ----------
    classes : int
        Number of classes.
    layers : int
        Transformer layers.
    stride : int
        Frames, and bands, from one patch to the next; 16 makes them lie side by side.

    Raises
    ------
    UsageError
        If there is no layer, or `stride` is not 1 to 16.
    """

    front_end = "log_mel128"
    native_attention = True
    why_not_step = "each of its frames attends to the whole clip"
    shortest_frames = PATCH
    recipe = Recipe("adam", 5e-4, Exponential(0.02), warm_up_steps=100)

    def __init__(self, classes: int, *, layers: int = 12, stride: int = 10) -> None:
        if not 1 <= layers <= MAX_LAYERS or not 1 <= stride <= PATCH:
            raise UsageError(
                f"ast-tiny: layers must be 1 to {MAX_LAYERS} and stride 1 to {PATCH}, got "
                f"layers={layers} and stride={stride}. Try --student ast-tiny:layers=4,stride=16",
                kind="options",
            )
        super().__init__()
        self.context_width = WIDTH
        self.stride = stride
        bands = FRONT_ENDS[self.front_end].features
        rows = (bands - PATCH) // stride + 1
        self.input_norm = MaskedBatchNorm(bands, momentum=0.99)
        self.patches = nn.Conv2d(1, WIDTH, PATCH, stride=stride)
        self.class_token = nn.Parameter(torch.zeros(WIDTH))
        self.row_positions_FD = nn.Parameter(torch.zeros(rows, WIDTH))
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, classes)
        self._start()

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`Student`."""
        image_BDTF = self._embedded(features_BTM, lengths_B)
        columns, rows = image_BDTF.shape[2:]
        if lengths_B is not None:
            lengths_B = (lengths_B - PATCH).clamp_min(0) // self.stride + 1
        mask_BT = mask_of(lengths_B, columns, "BT")
        patches_BND = image_BDTF.permute(0, 2, 3, 1).flatten(1, 2)
        class_B1D = self.class_token.expand(patches_BND.shape[0], 1, -1)
        tokens_BND = torch.cat([class_B1D, patches_BND], 1)
        tokens_BND, scores_BHN = self._attended(tokens_BND, _token_mask(mask_BT, rows))
        logits_BC = self.classifier(tokens_BND[:, 0])
        context_BTD = tokens_BND[:, 1:].reshape(-1, columns, rows, WIDTH).mean(2)
        attention_BHT = scores_BHN[:, :, 1:].reshape(-1, HEADS, columns, rows).logsumexp(3)
        if mask_BT is not None:
            context_BTD = context_BTD * mask_BT[:, :, None]
            attention_BHT = attention_BHT.masked_fill(~mask_BT[:, None], -torch.inf)
        valid_B = lengths_of(lengths_B, context_BTD)
        preset = FRONT_ENDS[self.front_end]
        first_s = preset.first_frame_s + (PATCH - 1) / 2 * preset.hop_s
        first_s_B = torch.full_like(valid_B, first_s, dtype=features_BTM.dtype)
        hop_s = preset.hop_s * self.stride
        return StudentOutput(logits_BC, context_BTD, valid_B, hop_s, first_s_B, attention_BHT)

    def frame_attribution(self, output: StudentOutput) -> Tensor:
        """Give its own attention: the mean over heads of each one's shares of time."""
        if output.attention_BHT is None:
            raise ValueError("a spectrogram transformer's output always has attention scores")
        return output.attention_BHT.softmax(2).mean(1)

    def _embedded(self, features_BTM: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Normalise, cut into patches and add positions: (B, D, T, F)."""
        mask_B1T = mask_of(lengths_B, features_BTM.shape[1], "B1T")
        bands_BMT = self.input_norm(masked(features_BTM.transpose(1, 2), mask_B1T), mask_B1T)
        bands_BMT = functional.pad(bands_BMT, (0, max(0, PATCH - bands_BMT.shape[2])))
        image_BDTF: Tensor = self.patches(bands_BMT.transpose(1, 2)[:, None])
        times_TD = sinusoids(image_BDTF.shape[2], WIDTH).to(image_BDTF)
        positions_TFD = times_TD[:, None] + self.row_positions_FD
        return image_BDTF + positions_TFD.permute(2, 0, 1)

    def _attended(self, tokens_BND: Tensor, mask_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give the last layer's tokens and its class token's scores (B, H, N) before their softmax."""
        for layer in self.layers:
            heads = layer.heads(tokens_BND)  # type: ignore[operator]
            tokens_BND = layer(tokens_BND, heads, mask_BN)
        query_BHD, key_BHND = heads[0][:, :, 0], heads[1]
        scores_BHN = torch.einsum("bhd,bhnd->bhn", query_BHD, key_BHND) * (WIDTH // HEADS) ** -0.5
        return self.norm(tokens_BND), scores_BHN

    def _start(self) -> None:
        """Start as a vision transformer does: narrow normal weights, zero biases."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.patches.weight.view(WIDTH, -1))
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.row_positions_FD, std=0.02)


class _Layer(nn.Module):
    """norm-attention-add, norm-MLP-add (Dosovitskiy et al. 2021, equations 2 and 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def heads(self, tokens_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries, keys and values, (B, H, N, D / H) each."""
        qkv_BND = self.qkv(self.norm1(tokens_BND))
        query, key, value = qkv_BND.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(
        self, tokens_BND: Tensor, heads: tuple[Tensor, Tensor, Tensor], mask_BN: Tensor | None
    ) -> Tensor:
        mask_B11N = None if mask_BN is None else mask_BN[:, None, None]
        mixed = functional.scaled_dot_product_attention(*heads, attn_mask=mask_B11N)
        tokens_BND = tokens_BND + self.proj(mixed.transpose(1, 2).flatten(2))
        hidden_BND: Tensor = self.mlp(self.norm2(tokens_BND))
        return tokens_BND + hidden_BND


def _token_mask(mask_BT: Tensor | None, rows: int) -> Tensor | None:
    """Valid tokens of valid columns, the class token always: (B, N)."""
    if mask_BT is None:
        return None
    return functional.pad(mask_BT.repeat_interleave(rows, 1), (1, 0), value=True)


def sinusoids(positions: int, width: int) -> Tensor:
    """Sines, then cosines, of periods from 2 pi to 20,000 pi positions, in float64: (T, D).

    Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), section 3.5.

    >>> [round(value, 4) for value in sinusoids(2, 4)[1].tolist()]
    [0.8415, 0.01, 0.5403, 1.0]
    """
    periods_D = 10_000 ** (np.arange(0, width, 2) / width)
    if type(positions) is int:  # a table, so that an exported file needs no float64
        table_TD = np.arange(positions)[:, None] / periods_D
        return torch.tensor(np.concatenate([np.sin(table_TD), np.cos(table_TD)], 1))
    angles_TD = torch.arange(positions)[:, None] / torch.tensor(periods_D)
    return torch.cat([angles_TD.sin(), angles_TD.cos()], 1)
