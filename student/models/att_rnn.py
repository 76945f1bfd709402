"""Att-RNN as kws_streaming builds it for 12 labels: 496,519 parameters (Rybakov et al. 2020).

The context representation c′ is the output of the second bidirectional GRU, one frame every
20 ms. Keras' ``reset_after`` GRU is torch's.

Shape suffixes: B clips, T frames, M features, C classes, D context width, H heads.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.bidirectional import run_bidirectional
from student.models.gate_start import GateStart, start_gru
from student.models.interface import Student, StudentOutput
from student.models.layers import MaskedBatchNorm, init_as_keras, lengths_of, mask_of, masked
from student.recipes import Exponential, Recipe

GRU_WIDTH = 128
MOMENTUM = 0.99


class AttRNN(Student):
    """Two convolutions over time, two bidirectional GRUs, attention queried by the middle frame.

    Parameters
    ----------
    classes : int
        Number of classes.
    gates : {"chrono", "keras"}
        Start of the GRUs' update gates. What predicts here is a weighted sum over all frames, so
        nothing has to be carried to the end of the clip.

    Attributes
    ----------
    heads : int
        Attentions over the same frames, each with its own query layer; their summaries lie beside
        each other.
    dropped : float
        Share of the summary that dropout leaves out.
    """

    front_end = "mfcc"
    native_attention = True
    why_not_any_length = "its recurrences export for one length only"
    why_not_step = "it reads the clip backwards too"
    recipe = Recipe("adam", 1e-3, Exponential(0.02))
    heads: ClassVar[int] = 1
    dropped: ClassVar[float] = 0.1

    def __init__(self, classes: int, *, gates: GateStart = "keras") -> None:
        super().__init__()
        self.gates_start = gates
        self.context_width = 2 * GRU_WIDTH
        bands = FRONT_ENDS[self.front_end].features
        self.first_conv = nn.Conv2d(1, 10, (5, 1), padding=(2, 0))
        self.first_norm = MaskedBatchNorm(10, momentum=MOMENTUM)
        self.second_conv = nn.Conv2d(10, 1, (5, 1), padding=(2, 0))
        self.second_norm = MaskedBatchNorm(1, momentum=MOMENTUM)
        self.first_gru = nn.GRU(bands, GRU_WIDTH, batch_first=True, bidirectional=True)
        self.second_gru = nn.GRU(2 * GRU_WIDTH, GRU_WIDTH, batch_first=True, bidirectional=True)
        self.query = nn.Linear(self.context_width, self.heads * self.context_width)
        self.dropout = nn.Dropout(self.dropped)
        self.first_dense = nn.Linear(self.heads * self.context_width, 64)
        self.second_dense = nn.Linear(64, 32)
        self.classifier = nn.Linear(32, classes)
        init_as_keras(self)

    def start_memory(self, frames: int) -> None:
        """See :class:`student.models.interface.Student`."""
        if self.gates_start == "chrono":
            start_gru(self.first_gru, frames)
            start_gru(self.second_gru, frames)

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`Student`."""
        frames = features_BTM.shape[1]
        mask = mask_of(lengths_B, frames, "B1T1")
        image = masked(features_BTM[:, None], mask)
        image = self.first_norm(masked(torch.relu(self.first_conv(image)), mask), mask)
        image = self.second_norm(masked(torch.relu(self.second_conv(image)), mask), mask)
        hidden_BTD = run_bidirectional(self.first_gru, image[:, 0], lengths_B)
        context_BTD = run_bidirectional(self.second_gru, hidden_BTD, lengths_B)
        query_BHD = self.query(_middle(context_BTD, lengths_B)).unflatten(
            1, (self.heads, self.context_width)
        )
        scores_BHT = torch.einsum("bhd,btd->bht", query_BHD, context_BTD)
        if (mask_B1T := mask_of(lengths_B, frames, "B1T")) is not None:
            scores_BHT = scores_BHT.masked_fill(~mask_B1T, -torch.inf)
        summary_BHD = torch.einsum("bht,btd->bhd", scores_BHT.softmax(2), context_BTD)
        hidden = torch.relu(self.first_dense(self.dropout(summary_BHD.flatten(1))))
        logits_BC = self.classifier(self.second_dense(hidden))
        preset = FRONT_ENDS[self.front_end]
        valid_B = lengths_of(lengths_B, features_BTM)
        first_s_B = torch.full_like(valid_B, preset.first_frame_s, dtype=features_BTM.dtype)
        return StudentOutput(logits_BC, context_BTD, valid_B, preset.hop_s, first_s_B, scores_BHT)

    def frame_attribution(self, output: StudentOutput) -> Tensor:
        """Give its own attention, the mean of its heads."""
        if output.attention_BHT is None:
            raise ValueError("this output has no attention scores; it is another student's")
        return output.attention_BHT.softmax(2).mean(1)


def _middle(context_BTD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Middle frame of each clip: (B, T, D) → (B, D)."""
    if lengths_B is None:
        return context_BTD[:, context_BTD.shape[1] // 2]
    clip_B = torch.arange(len(lengths_B), device=lengths_B.device)
    return context_BTD[clip_B, lengths_B // 2]
