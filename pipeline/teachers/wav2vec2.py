"""The wav2vec 2.0 family as teachers: also XLS-R, HuBERT, WavLM, data2vec-audio, UniSpeech-SAT.

Whether padding changes an output depends on the model. Group norm in the convolutional front end
averages over time, padding included, which shifts outputs by a quarter of their scale even under a
mask; the positional convolutions of data2vec-audio spread padding into the last frames. These see
batches of exactly equal length. With layer norm, the mask of wav2vec 2.0, HuBERT and
UniSpeech-SAT is exact, and clips of near length share a batch.

Shape suffixes: B clips in batch, S samples, T frames, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.frame_grid import FrameGrid
from pipeline.teachers.checkpoints.checkpoint import Checkpoint
from pipeline.teachers.hugging_face import Waveforms, stated_pooling
from pipeline.teachers.interface import Batching, Task
from pipeline.teachers.outputs import TokenLayout, frame_layout
from pipeline.teachers.transformer import TransformerTeacher

_MASK_IS_EXACT = frozenset({"wav2vec2", "hubert", "unispeech-sat"})


class Wav2Vec2Teacher(TransformerTeacher):
    """A waveform transformer with the head of ``Wav2Vec2ForSequenceClassification`` and its kin.

    Gives every signal; without a classification head, all but the logits.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of model type ``wav2vec2``, ``hubert``, ``wavlm``, ``data2vec-audio`` or ``unispeech-sat``.
    residual : bool
        Rollout with the residual connection.
    task : {"single", "multi"}, optional
        Overrides what the configuration has.
    """

    family = "wav2vec2"
    poolings = ("first", "mean")

    def __init__(
        self, checkpoint: Checkpoint, *, residual: bool = True, task: Task | None = None
    ) -> None:
        config = checkpoint.config
        self._convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.batching: Batching = "near" if _masks_exactly(config) else "exact"
        if config.model_type == "wavlm":  # it bypasses the attention interface
            self.attention_implementation = "eager"
        self.min_samples, hop_samples = _receptive_field(self._convolutions)
        rate_hz = checkpoint.extractor.sampling_rate
        grid = FrameGrid(
            hop_s=hop_samples / rate_hz, first_frame_s=0.5 * self.min_samples / rate_hz
        )
        super().__init__(
            checkpoint,
            grid,
            pooling=stated_pooling(checkpoint, self.poolings),
            task=task,
            options={"residual": residual},
        )

    def frames(self, samples: int) -> int:
        """Count frames: each unpadded convolution takes its share."""
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1
        return samples

    def layout(self, samples: Sequence[int]) -> TokenLayout:
        """Lay out frames; the classifier pools those of the clip itself."""
        frames = [self.frames(n) for n in samples]
        return frame_layout(frames, frames, pooling=self.pooling, device=self.device)

    def hidden(self, waveforms: Waveforms) -> Tensor:
        """Run front end and transformer, masked where lengths differ: (B, T, D)."""
        samples = [len(waveform) for waveform in waveforms]
        values_BS = np.zeros((len(samples), max(samples)), dtype=np.float32)
        for row, waveform in zip(values_BS, waveforms, strict=True):
            row[: len(waveform)] = self._normalised(waveform)
        mask_BS = None
        if min(samples) < max(samples):
            lengths_B = torch.tensor(samples, device=self.device)
            mask_BS = (torch.arange(max(samples), device=self.device) < lengths_B[:, None]).long()
        outputs = self._encoder(torch.from_numpy(values_BS).to(self.device), attention_mask=mask_BS)
        hidden_BTD: Tensor = outputs.last_hidden_state
        return hidden_BTD

    def self_test_samples(self) -> tuple[int, int]:
        """Choose different lengths where a mask has to prove itself."""
        longer = max(self.min_samples, self.sample_rate_hz)
        shorter = max(self.min_samples, self.sample_rate_hz * 3 // 4)
        return (longer, shorter if self.batching == "near" else longer)

    def front_end(self) -> list[nn.Module]:
        """Name the convolutions over the waveform."""
        return [self._encoder.feature_extractor]

    def layers(self) -> list[nn.Module]:
        """Name the transformer's layers, lowest first."""
        return list(self._encoder.encoder.layers)

    @property
    def _encoder(self) -> Any:
        return getattr(self.model, self.model.base_model_prefix)

    def _normalised(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale one clip as its feature extractor requires (``do_normalize``)."""
        values: NDArray[np.float32] = self.checkpoint.extractor(
            waveform, sampling_rate=self.sample_rate_hz, padding=False, return_tensors="np"
        )["input_values"][0]
        return values


def _masks_exactly(config: Any) -> bool:
    return (
        config.model_type in _MASK_IS_EXACT
        and config.feat_extract_norm == "layer"
        and not getattr(config, "conv_pos_batch_norm", False)
    )


def _receptive_field(convolutions: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Give the samples that one frame sees and the samples from frame to frame."""
    field, hop = 1, 1
    for kernel, stride in convolutions:
        field += (kernel - 1) * hop
        hop *= stride
    return field, hop
