"""EfficientNet as a teacher: a CNN over log-mel features, for what a transformer learns from one.

The teacher of CMKD (Gong, Khurana, Rouditchenko and Glass 2022, https://arxiv.org/abs/2203.06760)
and PSLA (https://arxiv.org/abs/2102.01243): 128 mel bands of 25 ms every 10 ms, an EfficientNet
(Tan and Le 2019, https://arxiv.org/abs/1905.11946) and a mean over time and frequency, or attention
pooling. Features are as long as the clip; nothing is padded to a fixed length.

A folder with the mean is one of ``EfficientNetForImageClassification``. With attention pooling
(``aftersound_pooling`` in config.json) the head's tensors replace those of its linear classifier.

Shape suffixes: B clips in batch, F mel frames (10 ms), M mel bands, T frames (320 ms), D features,
C classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import RunError, UsageError
from cache_schema.frame_grid import FrameGrid
from cache_schema.signal_names import CLIP_EMBEDDING, FRAME_EMBEDDING, LOGITS
from cache_schema.text import shell_word
from pipeline.teachers import self_test
from pipeline.teachers.attention_pooling import AttentionPooling
from pipeline.teachers.checkpoints.checkpoint import Checkpoint, load_model
from pipeline.teachers.hugging_face import (
    HuggingFaceTeacher,
    Waveforms,
    exact_convolutions,
    stated_pooling,
)
from pipeline.teachers.interface import Task
from pipeline.teachers.mel_frames import MelFrames
from pipeline.teachers.signals import check_request

_HEADS = 4  # as in PSLA; config.json may change it by aftersound_pooling_heads

# What a batch adds to the running statistics. Checkpoints hold TensorFlow's 0.99, which there is the
# share of the old value; transformers hands it to torch, where it is the share of the new one.
_BATCH_NORM_MOMENTUM = 0.1


class EfficientNetTeacher(HuggingFaceTeacher):
    """An ``EfficientNetForImageClassification`` that takes features of one channel.

    Gives logits, frame embeddings (the last feature map averaged over frequency) and clip embeddings
    (their mean over time, whatever the pooling). It gives no attention: there is none but in
    attention pooling, whose weights differ by class and whose head weights may be negative, so that
    no distribution over time stands for the output.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of model type ``efficientnet``. An image classifier of three channels can be the base of a
        fine-tuning only.
    task : {"single", "multi"}, optional
        Overrides what the configuration has.
    """

    family = "efficientnet"
    poolings = ("mean", "attention")

    def __init__(self, checkpoint: Checkpoint, *, task: Task | None = None) -> None:
        config = checkpoint.config
        if config.pooling_type != "mean":
            raise UsageError(
                f"{checkpoint.id}: pooling_type in config.json is {config.pooling_type!r}; expected "
                "mean. Choose another checkpoint",
                kind="unsupported",
            )
        self._mel = MelFrames(int(checkpoint.extractor.sampling_rate))
        self._halvings = _halvings(config)
        self.min_samples = self._mel.samples(_fewest_inputs(self._halvings))
        grid = FrameGrid(
            hop_s=2 ** len(self._halvings) * self._mel.hop_s,
            first_frame_s=self._mel.centre_s(_first_centre(self._halvings)),
        )
        super().__init__(
            checkpoint,
            {LOGITS: None, FRAME_EMBEDDING: grid, CLIP_EMBEDDING: None},
            pooling=stated_pooling(checkpoint, self.poolings),
            task=task,
            options={},
        )

    @classmethod
    def from_options(
        cls, checkpoint: Checkpoint, *, task: Task | None = None
    ) -> EfficientNetTeacher:
        """Open a teacher that answers; of more than one channel it is but a base of a fine-tuning."""
        if (channels := checkpoint.config.num_channels) != 1:
            base = checkpoint.id if checkpoint.revision else str(checkpoint.folder)
            raise UsageError(
                f"{checkpoint.id} sees images of {channels} channels; sound has 1. Make a teacher of "
                f"it: finetune-teacher CORPUS --base {shell_word(base)} --out FOLDER",
                kind="unsupported",
            )
        return cls(checkpoint, task=task)

    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""
        frames = self._mel.count(samples)
        for even in self._halvings:
            frames = (frames + even) // 2
        width = int(self.checkpoint.config.hidden_dim)
        shapes: dict[str, tuple[int, ...]] = {
            LOGITS: (len(self.classes),),
            FRAME_EMBEDDING: (frames, width),
            CLIP_EMBEDDING: (width,),
        }
        return shapes[signal]

    def infer(
        self, waveforms: Waveforms, signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Compute the signals of each waveform; see `Teacher.infer`."""
        check_request(self, [len(waveform) for waveform in waveforms], signals)
        with torch.inference_mode(), exact_convolutions():
            frames_BTD = self.hidden(waveforms)
            parts = {
                LOGITS: self.classify(frames_BTD),
                FRAME_EMBEDDING: frames_BTD,
                CLIP_EMBEDDING: frames_BTD.mean(1),
            }
        answers = {name: parts[name].cpu().numpy() for name in signals}
        return [
            {name: rows[clip].copy() for name, rows in answers.items()}
            for clip in range(len(waveforms))
        ]

    def logits(self, waveforms: Waveforms) -> Tensor:
        """Compute logits (B, C) with gradients, in whichever mode the model is."""
        return self.classify(self.hidden(waveforms))

    def hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the network and average its last feature map over frequency: (B, T, D)."""
        network = self.model.efficientnet
        maps_BDMT = network.encoder(network.embeddings(self.features(waveforms))).last_hidden_state
        frames_BTD: Tensor = maps_BDMT.mean(2).transpose(1, 2)
        return frames_BTD

    def classify(self, frames_BTD: Tensor) -> Tensor:
        """Pool and classify: (B, C)."""
        if self.pooling == "mean":
            frames_BTD = self.model.dropout(frames_BTD.mean(1))
        logits_BC: Tensor = self.model.classifier(frames_BTD)
        return logits_BC

    def features(self, waveforms: Waveforms) -> Tensor:
        """Extract log-mel features of clips of equal length, each by itself: (B, 1, M, F)."""
        extractor = copy.copy(self.checkpoint.extractor)
        extractor.max_length = self._mel.count(len(waveforms[0]))  # else it pads to its own
        features = extractor(
            list(waveforms), sampling_rate=self.sample_rate_hz, return_tensors="np"
        )
        features_BFM = torch.from_numpy(features["input_values"].astype(np.float32))
        return features_BFM.transpose(1, 2)[:, None].to(self.device)

    def self_test(self) -> None:
        """Compare the pooled map, and with mean pooling the logits, with the stock class's own."""
        waveforms = self_test.noise_clips(self.self_test_samples())
        with torch.inference_mode(), exact_convolutions():
            features_B1MF, frames_BTD = self.features(waveforms), self.hidden(waveforms)
            stock_BD11 = self.model.efficientnet(features_B1MF).pooler_output
            self_test.check_equal(
                self.checkpoint.id, "pooled features", frames_BTD.mean(1), stock_BD11
            )
            if self.pooling == "mean":
                stock_BC = self.model(features_B1MF).logits
                self_test.check_equal(
                    self.checkpoint.id, LOGITS, self.classify(frames_BTD), stock_BC
                )

    # Models.

    def stored_model(self) -> nn.Module:
        """Load the model as the folder holds it, with the head that its pooling needs."""
        model = super().stored_model()
        if self.pooling == "attention":
            model.classifier = _stored_head(self.checkpoint)
        return model

    def new_model(self, *, attention: str) -> nn.Module:
        """Load the network with a fresh head; the three channels of a base are averaged into one."""
        fresh = self.checkpoint.changed(num_channels=1, batch_norm_momentum=_BATCH_NORM_MOMENTUM)
        model: nn.Module = load_model(fresh, attention=attention, new_head=True)
        stem = self.checkpoint.tensors("embeddings.convolution.")["weight"].mean(1, keepdim=True)
        with torch.no_grad():
            model.get_parameter("efficientnet.embeddings.convolution.weight").copy_(stem)
        if self.pooling == "attention":
            model.classifier = _new_head(self.checkpoint.config)
        return model

    def front_end(self) -> list[nn.Module]:
        """Name the stem."""
        return [self.model.efficientnet.embeddings]

    def layers(self) -> list[nn.Module]:
        """Name the blocks, lowest first."""
        return list(self.model.efficientnet.encoder.blocks)


def _stored_head(checkpoint: Checkpoint) -> AttentionPooling:
    head = _new_head(checkpoint.config)
    stored = checkpoint.tensors("classifier.")
    there = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    if there != expected:
        raise RunError(
            f"{checkpoint.id}: config.json describes attention pooling of {expected}, the "
            f"weights hold {there}; correct aftersound_pooling or aftersound_pooling_heads",
            kind="incomplete",
        )
    head.load_state_dict(stored)
    return head


def _new_head(config: Any) -> AttentionPooling:
    heads = int(getattr(config, "aftersound_pooling_heads", _HEADS))
    return AttentionPooling(int(config.hidden_dim), int(config.num_labels), heads)


# Time through the network. Each convolution of stride 2 halves the frames. Most pad as TensorFlow
# does, one frame more on the right than on the left: output i is centred on input 2i + 1, and an odd
# last frame is lost. Blocks named in `depthwise_padding` pad evenly: output i is centred on input 2i.


def _halvings(config: Any) -> list[bool]:
    """List the stem's and blocks' convolutions of stride 2; True where padding is even."""
    even, block = [False], 0
    for stride, repeats in zip(config.strides, config.num_block_repeats, strict=True):
        if stride == 2:
            even.append(block in config.depthwise_padding)
        block += math.ceil(config.depth_coefficient * repeats)
    return even


def _first_centre(halvings: Sequence[bool]) -> int:
    """Give the mel frame on which frame 0 is centred."""
    return sum(2**stage for stage, even in enumerate(halvings) if not even)


def _fewest_inputs(halvings: Sequence[bool]) -> int:
    """Count the mel frames that one frame takes."""
    inputs = 1
    for even in reversed(halvings):
        inputs = 2 * inputs - even
    return inputs
