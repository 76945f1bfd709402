"""A small cache written with `cache_schema` alone: every layout, two splits, two views, two parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cache_schema.clip import Clip
from cache_schema.metadata import CorpusFacts, PartPlan, SignalSpec, Split, UnitTable
from cache_schema.store.part_digests import record_key
from cache_schema.writer import UnitRow, add_part, create_cache, seal, write_unit

CLASSES = ("no", "yes")
QUARANTINED = 4


def clips() -> list[Clip]:
    """Six clips: four to train, two to test."""
    return [
        Clip(
            id=f"clip-{i}",
            path=f"a/{i}.wav",
            labels=(CLASSES[i % 2],),
            split="train" if i < 4 else "test",
            frames=100 + i,
            source_rate_hz=1000,
        )
        for i in range(6)
    ]


def spec(
    name: str, layout: str, row_shape: list[int], chunk: int, dtype: str = "float16"
) -> SignalSpec:
    """One signal; framed ones have a hop."""
    hop_s = None if layout == "fixed" else 0.02
    first_s = None if hop_s is None else 0.01
    return SignalSpec(
        name=name, layout=layout, row_shape=row_shape, dtype=dtype, chunk_length=chunk,
        hop_s=hop_s, first_frame_s=first_s,
    )  # fmt: skip


def first_plan() -> PartPlan:
    """Waveform, logits and temporal attention over two views."""
    units = UnitTable(
        split=["train", "train", "test", "train", "train"],
        view=[0, 0, 0, 1, 1],
        first_clip=[0, 3, 4, 0, 3],
        rows=[3, 1, 2, 3, 1],
    )
    return plan("part-000", units, [
        spec("logits", "fixed", [2], 3),
        spec("temporal_attention", "ragged", [], 20),
        spec("waveform", "ragged", [], 400, "int16"),
    ])  # fmt: skip


def second_plan() -> PartPlan:
    """Layers and map, added later for the same rows."""
    return plan("part-001", first_plan().units, [
        spec("layer_attention", "ragged", [2], 20),
        spec("attention_map", "square", [], 40),
    ], source="cache")  # fmt: skip


def plan(
    name: str, units: UnitTable, signals: list[SignalSpec], source: str = "corpus"
) -> PartPlan:
    """A plan around units and signals."""
    return PartPlan(
        name=name, first_view=0, views=2, seed=7, view_recipe=["gain"],
        teacher={"id": "small", "family": "toy", "classes": list(CLASSES), "task": "single"},
        audio={"sample_rate_hz": 1000}, source=source, codec="crc32c", batch_clips=4,
        batch_samples=4000, unit_rows=3, signals=signals, units=units,
    )  # fmt: skip


def row(position: int, view: int, names: list[str]) -> UnitRow:
    """The row of one clip and view: values are a function of both, so that a mix-up shows."""
    if position == QUARANTINED:
        return UnitRow(reason="file is empty", source_sha256="")
    generator = np.random.default_rng([position, view])
    frames, side = 3 + position, 2 + position % 2
    attention = generator.random(frames)
    values = {
        "logits": generator.standard_normal(2),
        "temporal_attention": attention / attention.sum(),
        "waveform": generator.integers(-999, 999, 100 + position),
        "layer_attention": generator.random((frames, 2)),
        "attention_map": generator.random((side, side)),
    }
    dtypes = {name: np.int16 if name == "waveform" else np.float16 for name in names}
    signals = {name: values[name].astype(dtypes[name]) for name in names}
    return UnitRow(
        signals=signals, source_sha256=f"{position:064x}", gain=0.5 if position == 1 else 1.0
    )


def rows(part: PartPlan, unit: int) -> list[UnitRow]:
    """All rows of a unit."""
    first, view = part.units.first_clip[unit], part.units.view[unit]
    names = [signal.name for signal in part.signals]
    return [row(first + i, view, names) for i in range(part.units.rows[unit])]


def record_path(root: Path, part: str, unit: int) -> Path:
    """Where the commit record of a unit lies."""
    return root / "parts" / part / record_key(unit)


def lay_out(
    root: Path, part: PartPlan | None = None, listed: Sequence[Clip] | None = None
) -> PartPlan:
    """Create the cache with its first part, nothing computed."""
    part = part or first_plan()
    facts = CorpusFacts(
        fingerprint="0" * 64, classes=list(CLASSES), task="single", clips=6,
        splits=[Split(name="train", first_clip=0, clips=4), Split(name="test", first_clip=4, clips=2)],
    )  # fmt: skip
    create_cache(root, listed or clips(), facts, 1000, part)
    return part


def compute(root: Path, part: PartPlan) -> None:
    """Write and seal every unit of a part."""
    for unit in range(len(part.units.rows)):
        write_unit(root, part, unit, rows(part, unit))
    seal(root, part)


def write_small_cache(root: Path, listed: Sequence[Clip] | None = None) -> Path:
    """The whole cache."""
    compute(root, lay_out(root, listed=listed))
    add_part(root, second_plan())
    compute(root, second_plan())
    return root


def copy_small_cache(root: Path) -> Path:
    """The whole cache, written once a process and copied: a tenth of the time."""
    for path, content in _small_cache_bytes().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@cache
def _small_cache_bytes() -> dict[str, bytes]:
    """Every file of the cache with its content."""
    with TemporaryDirectory() as folder:
        return tree_bytes(write_small_cache(Path(folder, "small.zarr")))


def tree_bytes(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
