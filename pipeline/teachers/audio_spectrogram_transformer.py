"""The Audio Spectrogram Transformer (AST) as a teacher: patches folded to time.

AST (Gong, Chung and Glass 2021, https://arxiv.org/abs/2104.01778, section 2.1) cuts a log-mel
spectrogram into overlapping patches of 16 x 16 (12 in frequency by 101 in time for 1024 frames)
and classifies the mean of two special tokens. The rollout from ½CLS + ½DIST is summed over
frequency; what fell on the tokens and on padding is the dropped mass.

Shape suffixes: B clips in batch, F mel frames (10 ms), M mel bands, N positions, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cache_schema.frame_grid import FrameGrid
from pipeline.teachers.checkpoints.checkpoint import Checkpoint
from pipeline.teachers.hugging_face import Waveforms
from pipeline.teachers.interface import Task
from pipeline.teachers.mel_frames import MelFrames
from pipeline.teachers.outputs import TokenLayout
from pipeline.teachers.rollout import TokenGrid
from pipeline.teachers.transformer import TransformerTeacher

_SPECIAL = 2  # CLS and DIST


class AudioSpectrogramTeacher(TransformerTeacher):
    """An ``ASTForAudioClassification``.

    Gives every signal; without a classification head, all but the logits.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of model type ``audio-spectrogram-transformer``.
    residual : bool
        Rollout with the residual connection.
    input : {"native", "short"}
        Padded to the model's own length (10.24 s for 1024 frames) as it was trained, or only as
        many columns of patches as the clip fills, with the first positions in time.
    task : {"single", "multi"}, optional
        Overrides what the configuration has; AudioSet checkpoints do not record that they are multi.
    """

    family = "ast"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        residual: bool = True,
        input: Literal["native", "short"] = "native",  # noqa: A002  the option's name
        task: Task | None = None,
    ) -> None:
        config = checkpoint.config
        self._mel = MelFrames(int(checkpoint.extractor.sampling_rate))
        self._native = input == "native"
        self._patch, self._stride = int(config.patch_size), int(config.time_stride)
        self._rows = int((config.num_mel_bins - self._patch) // config.frequency_stride + 1)
        self._columns = int((config.max_length - self._patch) // self._stride + 1)
        self.min_samples = self._mel.samples(1)
        self.max_samples = self._mel.samples(config.max_length + 1) - 1
        centre_s = self._mel.centre_s(0.5 * (self._patch - 1))
        super().__init__(
            checkpoint,
            FrameGrid(hop_s=self._stride * self._mel.hop_s, first_frame_s=centre_s),
            pooling="cls+dist",
            task=task,
            options={"residual": residual, "input": input},
        )

    def frames(self, samples: int) -> int:
        """Count the columns of patches that hold audio no earlier column holds."""
        mel_frames = self._mel.count(samples)
        return min(self._columns, 1 + -(-max(0, mel_frames - self._patch) // self._stride))

    def layout(self, samples: Sequence[int]) -> TokenLayout:
        """Lay out two tokens, then rows of patches by frequency."""
        columns = self._columns if self._native else self.frames(max(samples))
        grid = TokenGrid(special=_SPECIAL, rows=self._rows, frames=columns)
        frames_B = torch.tensor([self.frames(n) for n in samples], device=self.device)
        pooling_BN = torch.zeros(len(samples), _SPECIAL + self._rows * columns, device=self.device)
        pooling_BN[:, :_SPECIAL] = 1 / _SPECIAL
        return TokenLayout(grid, frames_B, pooling_BN)

    def hidden(self, waveforms: Waveforms) -> Tensor:
        """Embed patches and tokens with the positions they have, run layers and norm: (B, N, D)."""
        encoder = self._encoder
        features_BFM = self._features(waveforms)
        patches_BND = encoder.embeddings.patch_embeddings(features_BFM)
        tokens = (encoder.embeddings.cls_token, encoder.embeddings.distillation_token)
        tokens_BSD = torch.cat(tokens, dim=1).expand(len(features_BFM), -1, -1)
        hidden_BND = torch.cat([tokens_BSD, patches_BND], dim=1)
        columns = patches_BND.shape[1] // self._rows
        hidden_BND = encoder.embeddings.dropout(hidden_BND + self._position_embeddings(columns))
        for layer in encoder.layers:
            hidden_BND = layer(hidden_BND)
        normed_BND: Tensor = encoder.layernorm(hidden_BND)
        return normed_BND

    def stock_hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the stock forward, for a moment with the positions of the columns there are."""
        features_BFM = self._features(waveforms)
        columns = (features_BFM.shape[1] - self._patch) // self._stride + 1
        embeddings = self._encoder.embeddings
        stock = embeddings.position_embeddings
        try:
            embeddings.position_embeddings = nn.Parameter(
                self._position_embeddings(columns), requires_grad=False
            )
            hidden_BND: Tensor = self._encoder(features_BFM).last_hidden_state
        finally:
            embeddings.position_embeddings = stock
        return hidden_BND

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """Apply norm and linear layer: (B, C)."""
        logits_BC: Tensor = self.model.classifier(pooled_BD)
        return logits_BC

    def front_end(self) -> list[nn.Module]:
        """Name the embedding of patches, tokens and positions."""
        return [self._encoder.embeddings]

    def layers(self) -> list[nn.Module]:
        """Name the transformer's layers, lowest first."""
        return list(self._encoder.layers)

    @property
    def _encoder(self) -> Any:
        return self.model.audio_spectrogram_transformer

    def _features(self, waveforms: Waveforms) -> Tensor:
        """Extract each clip's features by itself, cut to whole columns in short mode: (B, F, M)."""
        features = [
            self.checkpoint.extractor(
                waveform, sampling_rate=self.sample_rate_hz, return_tensors="np"
            )["input_values"][0]
            for waveform in waveforms
        ]
        columns = self.frames(max(len(waveform) for waveform in waveforms))
        kept = None if self._native else self._patch + (columns - 1) * self._stride
        stacked_BFM = np.stack(features)[:, :kept].astype(np.float32)
        return torch.from_numpy(stacked_BFM).to(self.device)

    def _position_embeddings(self, columns: int) -> Tensor:
        """Keep the tokens' positions and the first `columns` in time: (1, N, D)."""
        positions_1ND: Tensor = self._encoder.embeddings.position_embeddings
        tokens_1SD, patches_1ND = positions_1ND[:, :_SPECIAL], positions_1ND[:, _SPECIAL:]
        cut_1RTD = patches_1ND.reshape(1, self._rows, self._columns, -1)[:, :, :columns]
        return torch.cat([tokens_1SD, cut_1RTD.flatten(1, 2)], dim=1)
