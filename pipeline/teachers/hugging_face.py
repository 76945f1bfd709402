"""What the adapters of transformers models share: loading, provenance, what fine-tuning needs.

Shape suffixes: B clips in batch, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import RunError, UsageError
from cache_schema.frame_grid import FrameGrid
from cache_schema.signal_names import LOGITS
from pipeline.teachers.checkpoints.checkpoint import Checkpoint, load_model, translate_errors
from pipeline.teachers.interface import Batching, Task

Pooling = Literal["first", "mean", "attention"]
Waveforms = Sequence[NDArray[np.float32]]


class HuggingFaceTeacher(ABC):
    """A transformers classifier of sounds as a `pipeline.teachers.interface.Teacher`.

    Attributes are those of the protocol and these.

    Attributes
    ----------
    poolings : tuple of str
        What `finetune-teacher` may have the head classify, the default first; empty where the
        architecture leaves no choice.
    attention_implementation : str
        The name under which transformers finds how this family computes attention.
    """

    family: str
    poolings: ClassVar[tuple[str, ...]] = ()
    batching: Batching = "exact"
    max_samples: int | None = None
    min_samples: int
    attention_implementation = "eager"

    def __init__(
        self,
        checkpoint: Checkpoint,
        signals: Mapping[str, FrameGrid | None],
        *,
        pooling: str,
        task: Task | None,
        options: Mapping[str, Any],
    ) -> None:
        self.checkpoint = checkpoint
        self.sample_rate_hz = int(checkpoint.extractor.sampling_rate)
        self.classes = _class_names(checkpoint.config) if checkpoint.has_head else ()
        self.task: Task = task or _task(checkpoint.config)
        self.pooling = pooling
        self.signals: Mapping[str, FrameGrid | None] = {
            name: grid for name, grid in signals.items() if name != LOGITS or self.classes
        }
        self.provenance = _provenance(self, options)
        self._model: Any = None
        self._device = torch.device("cpu")

    # What a family declares about itself.

    @abstractmethod
    def row_shape(self, signal: str, samples: int) -> tuple[int, ...]:
        """Give the exact shape of `signal` for an input of `samples` samples."""

    @abstractmethod
    def infer(
        self, waveforms: Waveforms, signals: Sequence[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Compute the signals of each waveform; see `Teacher.infer`."""

    @abstractmethod
    def logits(self, waveforms: Waveforms) -> Tensor:
        """Compute logits (B, C) with gradients, in whichever mode the model is."""

    @abstractmethod
    def self_test(self) -> None:
        """Compare an output with that of the stock model.

        Raises
        ------
        RunError
            If they differ by more than 1e-5 of their scale.
        """

    @abstractmethod
    def front_end(self) -> list[nn.Module]:
        """Name the modules before the layers, as fine-tuning may freeze them."""

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Name the layers, lowest first."""

    def stored_model(self) -> nn.Module:
        """Load the model as the folder holds it."""
        model: nn.Module = load_model(self.checkpoint, attention=self.attention_implementation)
        return model

    def new_model(self, *, attention: str) -> nn.Module:
        """Load the model with a fresh classification head, drawn from torch's generator.

        Parameters
        ----------
        attention : str
            Name of the attention implementation; a CNN has no use for it.
        """
        model: nn.Module = load_model(self.checkpoint, attention=attention, new_head=True)
        return model

    def save(self, folder: Path) -> None:
        """Write model and feature extractor as a Hugging Face folder."""
        self.model.save_pretrained(folder)
        self.checkpoint.extractor.save_pretrained(folder)

    def self_test_samples(self) -> tuple[int, int]:
        """Choose the lengths of the self-test's two clips."""
        samples = max(self.min_samples, self.sample_rate_hz)
        return (
            (samples, samples)
            if self.max_samples is None
            else (min(samples, self.max_samples),) * 2
        )

    # Loading.

    def load(self, device: str) -> None:
        """Load the weights in float32 and compare one batch with the stock model.

        Raises
        ------
        RunError
            If weights are missing or outputs differ by more than 1e-5 of their scale.
        """
        self.attach_model(self.stored_model().eval(), device)
        translate_errors(self.self_test, self.checkpoint.id)

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

    def attach_model(self, model: Any, device: str) -> None:
        """Take a model that is loaded already."""
        self._device = torch.device(device)
        self._model = model.to(self._device)


def exact_convolutions() -> AbstractContextManager[None]:
    """Keep cuDNN from rounding float32 to TF32 and from choosing algorithms by timing."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags


def stated_pooling(checkpoint: Checkpoint, poolings: Sequence[str]) -> str:
    """Read what the classifier pools: our own key, else the stock classes' mean."""
    pooling = str(getattr(checkpoint.config, "aftersound_pooling", "mean"))
    if pooling not in poolings:
        raise UsageError(
            f"{checkpoint.id}: aftersound_pooling in config.json is {pooling!r}; expected "
            f"{' or '.join(poolings)}",
            kind="config",
        )
    return pooling


def _provenance(teacher: HuggingFaceTeacher, options: Mapping[str, Any]) -> dict[str, Any]:
    checkpoint = teacher.checkpoint
    recipe = getattr(checkpoint.config, "aftersound_fine_tuning_sha256", None)
    return {
        **({} if recipe is None else {"fine_tuning_sha256": str(recipe)}),
        "id": checkpoint.id,
        "family": teacher.family,
        "model_type": checkpoint.model_type,
        "revision": checkpoint.revision,
        "weights_sha256": checkpoint.weights_sha256(),
        "config_sha256": checkpoint.config_sha256(),
        "dtype": "float32",
        "pooling": teacher.pooling,
        "options": dict(options),
        "classes": list(teacher.classes),
        "task": teacher.task,
        "sample_rate_hz": teacher.sample_rate_hz,
        "libraries": {name: _version(name) for name in ("torch", "transformers", "numpy")},
    }


def _class_names(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[index]) for index in range(len(config.id2label)))


def _task(config: Any) -> Task:
    stated = getattr(config, "aftersound_task", None)
    if stated in ("single", "multi"):
        return "single" if stated == "single" else "multi"
    multi = getattr(config, "problem_type", None) == "multi_label_classification"
    return "multi" if multi else "single"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
