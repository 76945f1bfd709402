"""A small cache of views written with `cache_schema` alone: parts of differing ranges and units.

Clips lie in the middle of longer rows, labels are mixed, and every value is a function of clip and
view, so that a mix-up shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.clip import Clip
from cache_schema.metadata import CorpusFacts, PartPlan, SignalSpec, Split, UnitTable
from cache_schema.writer import UnitRow, add_part, create_cache, seal, write_unit

CLASSES = ("no", "yes", "stop")
RATE_HZ = 16_000
TRAIN, TEST = 6, 3
TEACHER_HOP_S, TEACHER_FIRST_S = 0.1, 0.05
RECIPE = [
    json.dumps({"step": "placement", "options": {"length_s": "1"}, "draws": ["start_s"]}),
    json.dumps(
        {
            "step": "noise",
            "options": {"low_db": "0", "high_db": "9"},
            "draws": ["recording", "snr_db"],
            "recordings": {"train": ["rain.wav", "sea.wav"], "test": ["fan.wav"]},
            "sha256": "ab" * 32,
        }
    ),
]
DRAW_NAMES = (
    "clip.start_s", "clip.end_s", "placement.start_s", "noise.recording", "noise.snr_db",
)  # fmt: skip
# First view, views, and rows of each work unit of a view of the split train.
RANGES = {0: (1, [4, 2]), 1: (2, [2, 2, 2]), 3: (1, [5, 1])}
VIEWS = 4


def samples(clip: int, view: int) -> int:
    """Length of a row: views differ."""
    return RATE_HZ + 1600 * (clip % 3) + 160 * view


def place(clip: int, view: int) -> tuple[float, float]:
    """Where the clip lies in its row."""
    return 0.125 * (1 + clip % 3), 0.5 + 0.125 * view


def labels(clip: int, view: int) -> np.ndarray:
    """Shares of two classes in training, one class in the test, none for the last training clip."""
    own = np.zeros(len(CLASSES), np.float16)
    if clip == TRAIN - 1:
        return own
    own[clip % 3] = 1 if clip >= TRAIN else 0.75
    own[(clip + 1 + view) % 3] += 0 if clip >= TRAIN else 0.25
    return own


def row(clip: int, view: int) -> dict[str, Any]:
    """Everything of one row."""
    generator = np.random.default_rng([clip, view])
    length = samples(clip, view)
    attention = generator.random(length // 1600)
    start_s, end_s = place(clip, view)
    return {
        "waveform": generator.integers(-9000, 9000, length).astype(np.int16),
        "logits": generator.standard_normal(3).astype(np.float16),
        "temporal_attention": (attention / attention.sum()).astype(np.float16),
        "view_draws": np.array([start_s, end_s, start_s, clip % 2 if clip < TRAIN else 0, view],
                               np.float32),
        "view_labels": labels(clip, view),
        "clip_embedding": np.array([clip, view], np.float16),
    }  # fmt: skip


def _spec(name: str, layout: str, row_shape: list[int], chunk: int, dtype: str) -> SignalSpec:
    grid = {"temporal_attention": (TEACHER_HOP_S, TEACHER_FIRST_S), "waveform": (1 / RATE_HZ, 0.0)}
    hop_s, first_s = grid.get(name, (None, None))
    return SignalSpec(
        name=name, layout=layout, row_shape=row_shape, dtype=dtype, chunk_length=chunk,
        hop_s=hop_s, first_frame_s=first_s,
    )  # fmt: skip


def plan(number: int, first_view: int, *, labelled: bool, own: bool = True) -> PartPlan:
    """A part over a range of views; `own` or else with a signal that was added later."""
    views, sizes = RANGES[first_view]
    table: dict[str, list[Any]] = {"split": [], "view": [], "first_clip": [], "rows": []}
    for view in range(first_view, first_view + views):
        cuts = [("train", int(first), rows) for first, rows in zip(
            np.cumsum([0, *sizes[:-1]]), sizes, strict=True)]  # fmt: skip
        for split, first, rows in [*cuts, *([("test", TRAIN, TEST)] if view == 0 else [])]:
            for key, value in (("split", split), ("view", view), ("first_clip", first),
                               ("rows", rows)):  # fmt: skip
                table[key].append(value)
    most = max(table["rows"])
    signals = [
        _spec("logits", "fixed", [3], most, "float16"),
        _spec("temporal_attention", "ragged", [], most * 20, "float16"),
        _spec("waveform", "ragged", [], most * 20_000, "int16"),
        _spec("view_draws", "fixed", [len(DRAW_NAMES)], most, "float32"),
        *([_spec("view_labels", "fixed", [3], most, "float16")] if labelled else []),
    ]
    later = [_spec("clip_embedding", "fixed", [2], most, "float16")]
    return PartPlan(
        name=f"part-{number:03d}", first_view=first_view, views=views, seed=7, view_recipe=RECIPE,
        teacher={"id": "small", "family": "toy", "classes": list(CLASSES), "task": "single"},
        audio={"sample_rate_hz": RATE_HZ}, source="corpus" if own else "cache", codec="crc32c",
        batch_clips=4, batch_samples=400_000, unit_rows=most, signals=signals if own else later,
        units=UnitTable(**table),
    )  # fmt: skip


def write_views(root: Path, *, labelled: bool = True) -> Path:
    """The whole cache: three parts of views, and a signal added later to each, in another order."""
    clips = [
        Clip(
            id=f"clip-{i}",
            path=f"a/{i}.wav",
            labels=() if i == TRAIN - 1 else (CLASSES[i % 3],),
            split="train" if i < TRAIN else "test",
            frames=8000,
            source_rate_hz=RATE_HZ,
        )
        for i in range(TRAIN + TEST)
    ]
    splits = [
        Split(name="train", first_clip=0, clips=TRAIN),
        Split(name="test", first_clip=TRAIN, clips=TEST),
    ]
    facts = CorpusFacts(
        fingerprint="0" * 64, classes=list(CLASSES), task="single", clips=len(clips), splits=splits
    )
    plans = [plan(i, first, labelled=labelled) for i, first in enumerate(RANGES)]
    plans += [plan(3 + i, first, labelled=labelled, own=False)
              for i, first in enumerate(reversed(RANGES))]  # fmt: skip
    create_cache(root, clips, facts, RATE_HZ, plans[0])
    for part in plans:
        if part is not plans[0]:
            add_part(root, part)
        compute(root, part)
    return root


def compute(root: Path, part: PartPlan) -> None:
    """Write and seal every unit of a part."""
    for unit in range(len(part.units.rows)):
        write_unit(root, part, unit, _rows(part, unit))
    seal(root, part)


def _rows(part: PartPlan, unit: int) -> list[UnitRow]:
    names = [signal.name for signal in part.signals]
    first, view = part.units.first_clip[unit], part.units.view[unit]
    found = []
    for clip in range(first, first + part.units.rows[unit]):
        whole = row(clip, view)
        found.append(UnitRow(signals={name: whole[name] for name in names}, source_sha256="0" * 64))
    return found
