"""Whisper's encoder as a teacher, on inputs as short as they are.

OpenAI's Whisper takes 30 s, whatever the clip. For sinusoidal positions it is exact to give the
encoder only the frames there are and to slice `embed_positions`; ``input=native`` pads to 30 s as
stock transformers does.

Shape suffixes: B clips in batch, T frames (20 ms), D features, M mel bands, F mel frames (10 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from cache_schema.frame_grid import FrameGrid
from pipeline.teachers.checkpoints.checkpoint import Checkpoint
from pipeline.teachers.hugging_face import Waveforms, stated_pooling
from pipeline.teachers.interface import Task
from pipeline.teachers.outputs import TokenLayout, frame_layout
from pipeline.teachers.transformer import TransformerTeacher

_CONV_STRIDE = 2  # of conv2; conv1 keeps the rate


class WhisperTeacher(TransformerTeacher):
    """An encoder of the Whisper family with the head of ``WhisperForAudioClassification``.

    Gives every signal; without a classification head, all but the logits.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of model type ``whisper``.
    residual : bool
        Rollout with the residual connection.
    input : {"short", "native"}
        As long as the clip, or padded to the model's 30 s. Mean pooling of a padded input includes
        its padding, as in the stock class.
    task : {"single", "multi"}, optional
        Overrides what the configuration has.
    """

    family = "whisper"
    poolings = ("first", "mean")

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        residual: bool = True,
        input: Literal["short", "native"] = "short",  # noqa: A002  the option's name
        task: Task | None = None,
    ) -> None:
        extractor = checkpoint.extractor
        self._hop_samples = int(extractor.hop_length)
        self._positions = int(checkpoint.config.max_source_positions)
        self._native = input == "native"
        self.min_samples = int(extractor.n_fft)
        self.max_samples = self._positions * _CONV_STRIDE * self._hop_samples
        hop_s = _CONV_STRIDE * self._hop_samples / extractor.sampling_rate
        super().__init__(
            checkpoint,
            FrameGrid(hop_s=hop_s, first_frame_s=0.0),  # the STFT is centred
            pooling=stated_pooling(checkpoint, self.poolings),
            task=task,
            options={"residual": residual, "input": input},
        )

    def frames(self, samples: int) -> int:
        """Count encoder frames: half the mel frames, rounded up as the padded convolution does."""
        return -(-(samples // self._hop_samples) // _CONV_STRIDE)

    def layout(self, samples: Sequence[int]) -> TokenLayout:
        """Lay out frames; in native mode the classifier pools all 30 s."""
        frames = [self.frames(n) for n in samples]
        pooled = [self._positions] * len(frames) if self._native else frames
        return frame_layout(frames, pooled, pooling=self.pooling, device=self.device)

    def hidden(self, waveforms: Waveforms) -> Tensor:
        """Run convolutions, sliced positions, layers and the last norm: (B, T, D)."""
        encoder = self.model.encoder
        hidden_BDF = nn.functional.gelu(encoder.conv1(self._features(waveforms)))
        hidden_BTD = nn.functional.gelu(encoder.conv2(hidden_BDF)).permute(0, 2, 1)
        hidden_BTD = hidden_BTD + encoder.embed_positions.weight[: hidden_BTD.shape[1]]
        hidden_BTD = nn.functional.dropout(hidden_BTD, p=encoder.dropout, training=encoder.training)
        for layer in encoder.layers:
            hidden_BTD = layer(hidden_BTD, None)
        normed_BTD: Tensor = encoder.layer_norm(hidden_BTD)
        return normed_BTD

    def stock_hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the stock forward, set for a moment as if the model were only as long as the input."""
        encoder = self.model.encoder
        features_BMF = self._features(waveforms)
        positions = encoder.embed_positions
        try:
            frames = features_BMF.shape[2] // _CONV_STRIDE
            sliced = nn.Embedding(
                frames, positions.embedding_dim, _weight=positions.weight[:frames]
            )
            encoder.embed_positions = sliced
            encoder.config.max_source_positions = frames
            hidden_BTD: Tensor = encoder(features_BMF).last_hidden_state
        finally:
            encoder.embed_positions = positions
            encoder.config.max_source_positions = self._positions
        return hidden_BTD

    def front_end(self) -> list[nn.Module]:
        """Name the two convolutions and the positions, fixed sinusoids as the model was trained."""
        encoder = self.model.encoder
        return [encoder.conv1, encoder.conv2, encoder.embed_positions]

    def layers(self) -> list[nn.Module]:
        """Name the encoder's layers, lowest first."""
        return list(self.model.encoder.layers)

    def _features(self, waveforms: Waveforms) -> Tensor:
        """Extract log-mel features of each clip by itself: (B, M, F)."""
        padding = {"padding": "max_length"} if self._native else {"padding": "longest"}
        features = [
            self.checkpoint.extractor(
                waveform,
                sampling_rate=self.sample_rate_hz,
                max_length=self.max_samples,
                return_attention_mask=False,
                return_tensors="np",
                **padding,
            )["input_features"][0]
            for waveform in waveforms
        ]
        return torch.from_numpy(np.stack(features)).to(self.device)
