"""What the adapters of transformers encoders share: signals, shapes, rollout, self-test.

Shape suffixes: B clips in batch, N positions, T frames, D features, C classes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import RunError, UsageError
from cache_schema.frame_grid import FrameGrid
from cache_schema.signal_names import (
    ATTENTION_MAP,
    CLIP_EMBEDDING,
    DROPPED_MASS,
    FRAME_EMBEDDING,
    LAYER_ATTENTION,
    LOGITS,
    TEMPORAL_ATTENTION,
)
from pipeline.teachers import self_test
from pipeline.teachers.attention_capture import (
    HEAD_MEAN_ATTENTION,
    collect_maps,
    collect_stock_maps,
    register,
)
from pipeline.teachers.checkpoints.checkpoint import Checkpoint
from pipeline.teachers.hugging_face import (
    HuggingFaceTeacher,
    Waveforms,
    exact_convolutions,
)
from pipeline.teachers.interface import Task
from pipeline.teachers.outputs import ATTENTION_SIGNALS, ForwardPass, TokenLayout
from pipeline.teachers.signals import check_request, pooled_length

# Maps and embeddings are pooled by the smallest whole factor that reaches this hop.
COARSE_HOP_S = 0.08


class TransformerTeacher(HuggingFaceTeacher):
    """A transformers audio encoder with a classification head.

    A subclass defines how samples become positions and where positions lie in time; everything else is
    here. It gives every signal there is; an encoder without a head gives all but the logits.
    """

    attention_implementation = HEAD_MEAN_ATTENTION

    def __init__(
        self,
        checkpoint: Checkpoint,
        grid: FrameGrid,
        *,
        pooling: str,
        task: Task | None,
        options: Mapping[str, Any],
    ) -> None:
        if getattr(checkpoint.config, "use_weighted_layer_sum", False):
            raise UsageError(
                f"{checkpoint.id} sums its layers with weights (use_weighted_layer_sum), for which "
                "no rollout is written; choose a checkpoint that classifies its last layer",
                kind="unsupported",
            )
        self._residual = bool(options["residual"])
        self._factor = max(1, math.ceil(COARSE_HOP_S / grid.hop_s - 1e-9))
        super().__init__(
            checkpoint,
            _signals(grid, grid.pooled(self._factor)),
            pooling=pooling,
            task=task,
            options=options,
        )

    # What a family declares about itself.

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Count the frames of an input of `samples` samples."""

    @abstractmethod
    def layout(self, samples: Sequence[int]) -> TokenLayout:
        """Describe where the positions of a batch lie, from the lengths of its clips alone."""

    @abstractmethod
    def hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the encoder: last hidden states (B, N, D)."""

    def stock_hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the encoder as transformers does, for the self-test; here there is no difference."""
        return self.hidden(waveforms)

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """Apply the classification head to pooled hidden states: (B, C)."""
        logits_BC: Tensor = self.model.classifier(self.model.projector(pooled_BD))
        return logits_BC

    # The protocol.

    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""
        frames, width = self.frames(samples), int(self.checkpoint.config.hidden_size)
        coarse = pooled_length(frames, self._factor)
        shapes: dict[str, tuple[int, ...]] = {
            LOGITS: (len(self.classes),),
            TEMPORAL_ATTENTION: (frames,),
            DROPPED_MASS: (),
            LAYER_ATTENTION: (frames, int(self.checkpoint.config.num_hidden_layers)),
            ATTENTION_MAP: (coarse, coarse),
            FRAME_EMBEDDING: (coarse, width),
            CLIP_EMBEDDING: (width,),
        }
        return shapes[signal]

    def stored_model(self) -> nn.Module:
        """Load the model with the attention that notes head means."""
        register()
        return super().stored_model()

    def infer(
        self, waveforms: Waveforms, signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Compute the signals of each waveform; see `Teacher.infer`."""
        check_request(self, [len(waveform) for waveform in waveforms], signals)
        wanted = not ATTENTION_SIGNALS.isdisjoint(signals)
        with torch.inference_mode(), exact_convolutions():
            with self._collected() if wanted else nullcontext([]) as maps:
                hidden_BND = self.hidden(waveforms)
            layout = self.layout([len(waveform) for waveform in waveforms])
            pooled_BD = _pool(hidden_BND, layout)
            forward_pass = ForwardPass(
                layout=layout,
                hidden=hidden_BND,
                pooled=pooled_BD,
                logits=self.classify(pooled_BD),
                maps=maps,
                residual=self._residual,
                map_pooling=self._factor,
            )
            return forward_pass.signals(signals)

    def logits(self, waveforms: Waveforms) -> Tensor:
        """Compute logits (B, C) with gradients, in whichever mode the model is."""
        layout = self.layout([len(waveform) for waveform in waveforms])
        return self.classify(_pool(self.hidden(waveforms), layout))

    # Details.

    def _collected(self) -> AbstractContextManager[list[Tensor]]:
        """Collect maps by the attention function, or by hooks from a family that bypasses it."""
        if self.attention_implementation == HEAD_MEAN_ATTENTION:
            return collect_maps()
        return collect_stock_maps(_attention_modules(self.model))

    def self_test(self) -> None:
        """Compare hidden states and maps of two noise clips with the eager model's own."""
        waveforms = self_test.noise_clips(self.self_test_samples())
        modules = _attention_modules(self.model)
        valid_BN = _valid(self.layout([len(w) for w in waveforms]))
        with torch.inference_mode(), exact_convolutions():
            with self._collected() as maps:
                hidden_BND = self.hidden(waveforms)
            self.model.set_attn_implementation("eager")
            with collect_stock_maps(modules) as stock_maps:
                stock_BND = self.stock_hidden(waveforms)
            self.model.set_attn_implementation(self.attention_implementation)
        if not len(maps) == len(stock_maps) == len(self.layers()):
            raise RunError(
                f"teacher {self.checkpoint.id}: {len(self.layers())} layers, but {len(maps)} "
                f"attention maps (eager model: {len(stock_maps)}). {self_test.ADVICE}",
                kind="self-test",
            )
        self_test.check_equal(
            self.checkpoint.id, "hidden states", hidden_BND[valid_BN], stock_BND[valid_BN]
        )
        for layer, (ours, stock) in enumerate(zip(maps, stock_maps, strict=True), start=1):
            self_test.check_equal(
                self.checkpoint.id, f"attention of layer {layer}", ours[valid_BN], stock[valid_BN]
            )


def _signals(grid: FrameGrid, coarse: FrameGrid) -> dict[str, FrameGrid | None]:
    return {
        LOGITS: None,
        TEMPORAL_ATTENTION: grid,
        DROPPED_MASS: None,
        LAYER_ATTENTION: grid,
        ATTENTION_MAP: coarse,
        FRAME_EMBEDDING: coarse,
        CLIP_EMBEDDING: None,
    }


def _attention_modules(model: nn.Module) -> list[nn.Module]:
    """Find the attention layers by transformers' naming, lowest first."""
    return [module for module in model.modules() if type(module).__name__.endswith("Attention")]


def _pool(hidden_BND: Tensor, layout: TokenLayout) -> Tensor:
    return torch.bmm(layout.pooling[:, None], hidden_BND)[:, 0]


def _valid(layout: TokenLayout) -> Tensor:
    """Mark all positions but a batch's own padding: (B, N)."""
    return layout.grid.mask(layout.frames) | (layout.pooling > 0)
