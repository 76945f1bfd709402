"""Caches of random values written by the real writer, for benchmarks of reading."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cache_schema.clip import Clip
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.metadata import CorpusFacts, PartPlan, SignalSpec, Split, UnitTable
from cache_schema.reader import Cache, open_cache
from cache_schema.writer import UnitRow, create_cache, seal, write_unit

CLASSES = tuple(f"class-{i:02d}" for i in range(35))
RATE_HZ = 16_000
TEACHER_HOP_S = 0.02
FEATURES = "log_mel"
SIGNALS = ("logits", "temporal_attention")
UNIT_BYTES = 20_000_000


def random_rows(lengths_s: Sequence[float]) -> list[Mapping[str, np.ndarray]]:
    """Logits, attention and log-mel of clips, in the types they are stored in."""
    generator = np.random.default_rng(len(lengths_s))
    preset = FRONT_ENDS[FEATURES]
    rows = []
    for length_s in lengths_s:
        frames = max(1, int(length_s / TEACHER_HOP_S) - 1)
        steps = max(1, int(length_s / preset.hop_s) - 1)
        attention = generator.random(frames, np.float32)
        values = {
            "logits": generator.standard_normal(len(CLASSES), np.float32),
            "temporal_attention": attention / attention.sum(),
            FEATURES: generator.standard_normal((steps, preset.features), np.float32),
        }
        rows.append({name: value.astype(np.float16) for name, value in values.items()})
    return rows


def write_cache(root: Path, rows: Sequence[Mapping[str, np.ndarray]]) -> Cache:
    """Write and open a cache of one training split whose units hold about 20 MB of features."""
    shutil.rmtree(root, ignore_errors=True)
    largest = max(row[FEATURES].nbytes for row in rows)
    in_unit = int(np.clip(UNIT_BYTES // largest, 1, 1024))
    first = list(range(0, len(rows), in_unit))
    units = UnitTable(
        split=["train"] * len(first),
        view=[0] * len(first),
        first_clip=first,
        rows=[min(in_unit, len(rows) - start) for start in first],
    )
    plan = PartPlan(
        name="part-000", first_view=0, views=1, seed=0, view_recipe=[],
        teacher={"id": "random", "family": "toy", "classes": list(CLASSES), "task": "single"},
        audio={"sample_rate_hz": RATE_HZ}, source="corpus", codec="crc32c", batch_clips=32,
        batch_samples=RATE_HZ, unit_rows=in_unit, units=units,
        signals=[_spec(name, rows, in_unit) for name in (*SIGNALS, FEATURES)],
    )  # fmt: skip
    clips = [
        Clip(id=f"{i:06d}", path=f"{i}.wav", labels=(CLASSES[i % 35],), split="train")
        for i in range(len(rows))
    ]
    facts = CorpusFacts(
        fingerprint="0" * 64, classes=list(CLASSES), task="single", clips=len(rows),
        splits=[Split(name="train", first_clip=0, clips=len(rows))],
    )  # fmt: skip
    create_cache(root, clips, facts, RATE_HZ, plan)
    for unit, start in enumerate(first):
        chosen = rows[start : start + units.rows[unit]]
        write_unit(root, plan, unit, [UnitRow(signals=dict(row)) for row in chosen])
    seal(root, plan)
    return open_cache(root)


def _spec(name: str, rows: Sequence[Mapping[str, np.ndarray]], in_unit: int) -> SignalSpec:
    fixed = name == "logits"
    shape = rows[0][name].shape if fixed else rows[0][name].shape[1:]
    hop_s = {"temporal_attention": TEACHER_HOP_S, FEATURES: FRONT_ENDS[FEATURES].hop_s}.get(name)
    longest = max(
        sum(len(row[name]) for row in rows[start : start + in_unit])
        for start in range(0, len(rows), in_unit)
    )
    return SignalSpec(
        name=name, layout="fixed" if fixed else "ragged", row_shape=list(shape), dtype="float16",
        chunk_length=in_unit if fixed else longest, hop_s=hop_s,
        first_frame_s=None if hop_s is None else 0.0,
    )  # fmt: skip
