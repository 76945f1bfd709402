"""What the adapters of transformers models share: signals, shapes, loading, self-test, provenance.

Shape suffixes: B clips in batch, N positions, T frames, D features, C classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import RunError, UsageError
from pipeline.teachers.answers import ATTENTION_SIGNALS, Hearing, Layout
from pipeline.teachers.attention_capture import (
    HEAD_MEAN_ATTENTION,
    collect_maps,
    collect_stock_maps,
    register,
)
from pipeline.teachers.checkpoint import Checkpoint, load_model
from pipeline.teachers.interface import Batching, FrameGrid, Task
from pipeline.teachers.rollout import TokenGrid
from pipeline.teachers.signals import check_request, pooled_length

Pooling = Literal["first", "mean"]
Waveforms = Sequence[NDArray[np.float32]]

# Maps and embeddings are pooled by the smallest whole factor that reaches this hop.
COARSE_HOP_S = 0.08

# float32 sums in another order differ by about 1e-6 of scale; a wrong mask or layer by far more.
_SELF_TEST_TOLERANCE = 1e-5


class HuggingFaceTeacher(ABC):
    """A transformers audio classifier as a `pipeline.teachers.interface.Teacher`.

    A subclass says how samples become positions and where positions lie in time; everything else is
    here. Attributes are those of the protocol.
    """

    family: str
    batching: Batching = "exact"
    max_samples: int | None = None
    min_samples: int
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
        config = checkpoint.config
        if getattr(config, "use_weighted_layer_sum", False):
            raise UsageError(
                f"{checkpoint.id} sums its layers with weights (use_weighted_layer_sum), for which "
                "no rollout is written; choose a checkpoint that classifies its last layer",
                kind="unsupported",
            )
        self.checkpoint = checkpoint
        self.sample_rate_hz = int(checkpoint.extractor.sampling_rate)
        self.classes = _class_names(config) if checkpoint.has_head else ()
        self.task: Task = task or _task(config)
        self.pooling = pooling
        self._residual = bool(options["residual"])
        self._factor = max(1, math.ceil(COARSE_HOP_S / grid.hop_s - 1e-9))
        self.signals: Mapping[str, FrameGrid | None] = self._signals(grid)
        self.provenance = self._provenance(options)
        self._model: Any = None
        self._device = torch.device("cpu")

    # What a family says about itself.

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Count the frames of an input of `samples` samples."""

    @abstractmethod
    def layout(self, samples: Sequence[int]) -> Layout:
        """Say where the positions of a batch lie, from the lengths of its clips alone."""

    @abstractmethod
    def hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the encoder: last hidden states (B, N, D)."""

    @abstractmethod
    def front_end(self) -> list[nn.Module]:
        """Name the modules before the transformer layers, as fine-tuning may freeze them."""

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Name the transformer layers, lowest first."""

    def stock_hidden(self, waveforms: Waveforms) -> Tensor:
        """Run the encoder as transformers does, for the self-test; here there is no difference."""
        return self.hidden(waveforms)

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """Apply the classification head to pooled hidden states: (B, C)."""
        logits_BC: Tensor = self.model.classifier(self.model.projector(pooled_BD))
        return logits_BC

    def self_test_samples(self) -> tuple[int, int]:
        """Choose the lengths of the self-test's two clips."""
        samples = max(self.min_samples, self.sample_rate_hz)
        return (
            (samples, samples)
            if self.max_samples is None
            else (min(samples, self.max_samples),) * 2
        )

    # The protocol.

    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""
        frames, width = self.frames(samples), int(self.checkpoint.config.hidden_size)
        coarse = pooled_length(frames, self._factor)
        shapes: dict[str, tuple[int, ...]] = {
            "logits": (len(self.classes),),
            "temporal_attention": (frames,),
            "attention_dropped_mass": (),
            "layer_attention": (frames, int(self.checkpoint.config.num_hidden_layers)),
            "attention_map": (coarse, coarse),
            "frame_embedding": (coarse, width),
            "clip_embedding": (width,),
        }
        return shapes[signal]

    def load(self, device: str) -> None:
        """Load the weights in float32 and compare one batch with the plain eager model.

        Raises
        ------
        RunError
            If hidden states or attention maps differ by more than 1e-5 of their scale.
        """
        register()
        model = load_model(self.checkpoint, attention=self.attention_implementation)
        self.adopt(model.eval(), device)
        self._self_test()

    def infer(
        self, waveforms: Waveforms, signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Answer each waveform; see `Teacher.infer`."""
        check_request(self, [len(waveform) for waveform in waveforms], signals)
        wanted = not ATTENTION_SIGNALS.isdisjoint(signals)
        with torch.inference_mode(), _exact_convolutions():
            with self._collected() if wanted else nullcontext([]) as maps:
                hidden_BND = self.hidden(waveforms)
            layout = self.layout([len(waveform) for waveform in waveforms])
            pooled_BD = _pool(hidden_BND, layout)
            hearing = Hearing(
                layout=layout,
                hidden=hidden_BND,
                pooled=pooled_BD,
                logits=self.classify(pooled_BD),
                maps=maps,
                residual=self._residual,
                map_pooling=self._factor,
            )
            return hearing.answers(signals)

    # For fine-tuning.

    @property
    def model(self) -> Any:
        """The transformers model, once loaded."""
        if self._model is None:
            raise RunError(
                f"teacher {self.checkpoint.id} is not loaded; call load() first", kind="usage"
            )
        return self._model

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self._device

    def adopt(self, model: Any, device: str) -> None:
        """Take a model that is loaded already."""
        self._device = torch.device(device)
        self._model = model.to(self._device)

    def logits(self, waveforms: Waveforms) -> Tensor:
        """Compute logits (B, C) with gradients, in whichever mode the model is."""
        layout = self.layout([len(waveform) for waveform in waveforms])
        return self.classify(_pool(self.hidden(waveforms), layout))

    # Details.

    def frame_layout(self, frames: Sequence[int], pooled: Sequence[int]) -> Layout:
        """Lay out sequences of frames without special tokens.

        Parameters
        ----------
        frames : sequence of int
            Frames of each clip.
        pooled : sequence of int
            Frames that mean pooling averages; more than `frames` where a model pools its padding.
        """
        length = max(max(frames), *pooled)
        pooled_B = torch.tensor(pooled, device=self._device)
        index_N = torch.arange(length, device=self._device)
        if self.pooling == "first":
            pooling_BN = (index_N == 0).float().repeat(len(frames), 1)
        else:
            pooling_BN = (index_N < pooled_B[:, None]) / pooled_B[:, None]
        frames_B = torch.tensor(frames, device=self._device)
        return Layout(TokenGrid(special=0, rows=1, frames=length), frames_B, pooling_BN)

    def _collected(self) -> AbstractContextManager[list[Tensor]]:
        """Collect maps by the attention function, or by hooks from a family that bypasses it."""
        if self.attention_implementation == HEAD_MEAN_ATTENTION:
            return collect_maps()
        return collect_stock_maps(_attention_modules(self.model))

    def _signals(self, grid: FrameGrid) -> dict[str, FrameGrid | None]:
        coarse = grid.pooled(self._factor)
        signals: dict[str, FrameGrid | None] = {
            "logits": None,
            "temporal_attention": grid,
            "attention_dropped_mass": None,
            "layer_attention": grid,
            "attention_map": coarse,
            "frame_embedding": coarse,
            "clip_embedding": None,
        }
        if not self.classes:
            del signals["logits"]
        return signals

    def _provenance(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": self.checkpoint.id,
            "family": self.family,
            "model_type": self.checkpoint.model_type,
            "revision": self.checkpoint.revision,
            "weights_sha256": self.checkpoint.weights_sha256(),
            "config_sha256": self.checkpoint.config_sha256(),
            "dtype": "float32",
            "pooling": self.pooling,
            "options": dict(options),
            "classes": list(self.classes),
            "task": self.task,
            "sample_rate_hz": self.sample_rate_hz,
            "libraries": {name: _version(name) for name in ("torch", "transformers", "numpy")},
        }

    def _self_test(self) -> None:
        """Compare hidden states and maps of two noise clips with the eager model's own."""
        noise = np.random.Generator(np.random.Philox(0))
        waveforms = [
            (0.1 * noise.standard_normal(samples)).astype(np.float32)
            for samples in self.self_test_samples()
        ]
        modules = _attention_modules(self.model)
        valid_BN = _valid(self.layout([len(w) for w in waveforms]))
        with torch.inference_mode(), _exact_convolutions():
            with self._collected() as maps:
                hidden_BND = self.hidden(waveforms)
            self.model.set_attn_implementation("eager")
            with collect_stock_maps(modules) as stock_maps:
                stock_BND = self.stock_hidden(waveforms)
            self.model.set_attn_implementation(self.attention_implementation)
        if not len(maps) == len(stock_maps) == len(self.layers()):
            raise RunError(
                f"teacher {self.checkpoint.id}: {len(self.layers())} layers, but {len(maps)} "
                f"attention maps (eager model: {len(stock_maps)}). {_ADVICE}",
                kind="self-test",
            )
        self._compare("hidden states", hidden_BND[valid_BN], stock_BND[valid_BN])
        for layer, (ours, stock) in enumerate(zip(maps, stock_maps, strict=True), start=1):
            self._compare(f"attention of layer {layer}", ours[valid_BN], stock[valid_BN])

    def _compare(self, what: str, ours: Tensor, stock: Tensor) -> None:
        difference = (ours - stock).abs()
        at = int(difference.argmax())
        allowed = _SELF_TEST_TOLERANCE * float(stock.abs().max())
        if not float(difference.flatten()[at]) <= allowed:  # also catches NaN
            raise RunError(
                f"teacher {self.checkpoint.id} failed its self-test: {what} are "
                f"{float(ours.flatten()[at]):.7g} here and {float(stock.flatten()[at]):.7g} in the "
                f"plain eager model, {allowed:.1g} apart allowed. {_ADVICE}",
                kind="self-test",
            )


_ADVICE = (
    "This version of transformers may treat attention differently: install the tested one with "
    "pip install 'aftersound[pipeline]'"
)


def _attention_modules(model: nn.Module) -> list[nn.Module]:
    """Find the attention layers by transformers' naming, lowest first."""
    return [module for module in model.modules() if type(module).__name__.endswith("Attention")]


def _exact_convolutions() -> AbstractContextManager[None]:
    """Keep cuDNN from rounding float32 to TF32 and from choosing algorithms by timing."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags


def _pool(hidden_BND: Tensor, layout: Layout) -> Tensor:
    return torch.bmm(layout.pooling[:, None], hidden_BND)[:, 0]


def _valid(layout: Layout) -> Tensor:
    """Mark all positions but a batch's own padding: (B, N)."""
    return layout.grid.mask(layout.frames) | (layout.pooling > 0)


def _class_names(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[index]) for index in range(len(config.id2label)))


def _task(config: Any) -> Task:
    stated = getattr(config, "aftersound_task", None)
    if stated in ("single", "multi"):
        return "single" if stated == "single" else "multi"
    multi = getattr(config, "problem_type", None) == "multi_label_classification"
    return "multi" if multi else "single"


def stated_pooling(checkpoint: Checkpoint) -> Pooling:
    """Read how the classifier pools frames: our own key, else the stock classes' mean."""
    pooling = getattr(checkpoint.config, "aftersound_pooling", "mean")
    if pooling not in ("first", "mean"):
        raise UsageError(
            f"{checkpoint.id}: aftersound_pooling in config.json is {pooling!r}; expected first "
            "or mean",
            kind="config",
        )
    return "first" if pooling == "first" else "mean"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
