"""Stored bytes of a teacher's answers as a share of the 16-bit audio that they are about.

10-s clips, 200 classes, wav2vec 2.0's 499 frames: a random-weight model of its architecture, narrow,
through the real command's code. Without compression the sizes do not depend on the content.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from figures import Figure
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)
from transformers.utils import logging

from cache_schema.reader import Cache, Unit, open_cache
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute

RATE_HZ, SECONDS, CLASSES, FRAMES = 16_000, 10, 200, 499
AUDIO_BYTES = 2 * RATE_HZ * SECONDS
SIGNALS = ("logits", "temporal_attention")
U8LOG, TOP_K = "temporal_attention:storage=u8log", "logits:top_k=8"
CASES = {
    "f16": ((), "<= 0.45"),
    "u8log attention": ((U8LOG,), "<= 0.30"),
    "top-8 logits": ((TOP_K,), ""),
    "u8log attention, top-8 logits": ((U8LOG, TOP_K), ""),
}


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Write a cache of each storage type and weigh it."""
    teacher, corpus, clips = scratch / "teacher", scratch / "corpus", 8 if quick else 256
    _write_teacher(teacher)
    _write_corpus(corpus, clips)
    for case, (signals, bound) in CASES.items():
        out = scratch / f"{case.replace(', ', '-').replace(' ', '-')}-{clips}.zarr"
        request = Request(
            corpora=(f"folder:{corpus}",), teacher=str(teacher), out=out, signals=signals
        )
        Precompute(request).run(lambda _plan, _units: None, lambda _plan, _record: None)
        yield from _shares(case, bound, out, clips)


def _shares(case: str, bound: str, out: Path, clips: int) -> Iterator[Figure]:
    """Chunks alone, as the bound has it, and all files but the audio's own."""
    cache = open_cache(out)
    frames = {n for unit in cache.units("train") for n in _frames(cache, unit)}
    if frames != {FRAMES}:
        raise ValueError(f"the clips have {sorted(frames)} frames, expected {FRAMES}")
    part = out / "parts/part-000"
    chunks = {name: _bytes(part / name / "c") for name in SIGNALS}
    everything = _bytes(out) - _bytes(part / "waveform/c")
    audio = clips * AUDIO_BYTES
    yield Figure(
        what=f"logits + temporal attention, {case}",
        value=100 * sum(chunks.values()) / audio,
        unit="%",
        bound=bound,
        against="16-bit audio",
        details={"clips": clips, **{f"{name}_bytes": size for name, size in chunks.items()}},
    )
    yield Figure(
        what=f"the same with index, records and metadata, {case}",
        value=100 * everything / audio,
        unit="%",
        against="16-bit audio",
        note=f"{clips} clips; what does not grow with them weighs less in a larger cache",
        details={"clips": clips, "bytes": everything},
    )


def _frames(cache: Cache, unit: Unit) -> list[int]:
    attention = cache.read_unit(unit, ["temporal_attention"]).signals["temporal_attention"]
    return attention.lengths.tolist()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write_teacher(folder: Path) -> None:
    """Write wav2vec 2.0 with its own strides and kernels, so its frames, and few channels."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        conv_dim=(16,) * 7, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, num_conv_pos_embedding_groups=2, num_labels=CLASSES,
        classifier_proj_size=32, vocab_size=32,
    )  # fmt: skip
    logging.disable_progress_bar()
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE_HZ).save_pretrained(folder)


def _write_corpus(root: Path, clips: int) -> None:
    """Write noise under one class; each clip once."""
    generator = np.random.default_rng(0)
    folder = root / "train" / "noise"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        samples = generator.normal(0, 0.1, SECONDS * RATE_HZ)
        soundfile.write(folder / f"{number}.wav", samples, RATE_HZ, subtype="PCM_16")
