"""Teachers to measure: the real Whisper-base where it is at hand, else random weights in its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from figures import SHARED
from numpy.typing import NDArray
from tiny_checkpoints import LABELS, MAKERS

from pipeline.teachers import open_teacher
from pipeline.teachers.transformer import TransformerTeacher

FAMILIES = ("whisper", "wav2vec2", "ast")
REAL_WHISPER = SHARED / "models" / "whisper-base-encoder"
# What is computed by the plain model and of ours; every encoder embeds clips, not every one has a head.
ANSWERS = {"sdpa": ["clip_embedding"], "ours": ["clip_embedding", "temporal_attention"]}
Clips = list[NDArray[np.float32]]


def model_folder(family: str, scratch: Path, *, quick: bool) -> Path:
    """Folder of a family's teacher, written to scratch if need be; tiny for a quick run."""
    if family == "whisper" and not quick and REAL_WHISPER.is_dir():
        return REAL_WHISPER
    folder = scratch / f"{family}-{'tiny' if quick else 'base'}"
    if not folder.is_dir():
        config, extractor = _tiny(family) if quick else _published(family)
        transformers.utils.logging.disable_progress_bar()
        torch.manual_seed(0)
        model = transformers.AutoModelForAudioClassification.from_config(config)
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
    return folder


def described(family: str, *, quick: bool) -> str:
    """A figure's note on a model."""
    if quick:
        return "tiny random weights"
    real = family == "whisper" and REAL_WHISPER.is_dir()
    return "Whisper-base's own weights" if real else "random weights of the published base size"


def _published(family: str) -> tuple[Any, Any]:
    """Settings of whisper-base, wav2vec2-base and the AST of its paper."""
    if family == "whisper":
        whisper = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
        config = transformers.WhisperConfig(**LABELS, **whisper, encoder_ffn_dim=2048)
        return config, transformers.WhisperFeatureExtractor()
    if family == "wav2vec2":
        return transformers.Wav2Vec2Config(**LABELS), transformers.Wav2Vec2FeatureExtractor()
    return transformers.ASTConfig(**LABELS), transformers.ASTFeatureExtractor()


def _tiny(family: str) -> tuple[Any, Any]:
    return MAKERS["wav2vec2_group_norm" if family == "wav2vec2" else family]()


def loaded(folder: Path, options: Mapping[str, str], device: str = "cpu") -> TransformerTeacher:
    """Open a teacher and load it."""
    teacher = open_teacher(str(folder), dict(options))
    if not isinstance(teacher, TransformerTeacher):
        raise TypeError(f"{folder} holds no transformer")
    teacher.load(device)
    return teacher


def with_features_at_hand(teacher: TransformerTeacher) -> TransformerTeacher:
    """Extract the features of each waveform only once, so that the model alone is timed."""
    extractor = _Remembering(teacher.checkpoint.extractor)
    teacher.checkpoint = replace(teacher.checkpoint, extractor=extractor)
    return teacher


class _Remembering:
    """A feature extractor that remembers what it gave for an array."""

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor
        self._given: dict[int, tuple[NDArray[np.float32], Any]] = {}

    def __call__(self, waveform: NDArray[np.float32], **options: Any) -> Any:
        if id(waveform) not in self._given:
            self._given[id(waveform)] = (waveform, self._extractor(waveform, **options))
        return self._given[id(waveform)][1]


def noise(samples: Sequence[int]) -> Clips:
    """Clips of noise: their content changes no time."""
    generator = np.random.default_rng(0)
    return [(0.1 * generator.standard_normal(n)).astype(np.float32) for n in samples]
