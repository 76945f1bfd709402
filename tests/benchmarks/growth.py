"""Opening time, memory and rate of reading from 10^4 to 2·10^7 rows.

The index is of full size. Of the data only what is read exists: each chunk is a sparse file of zeros
with its checksum, and there are no commit records.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import google_crc32c
import numpy as np
from figures import Figure, median

from cache_schema import writer
from cache_schema.clip import Clip
from cache_schema.metadata import CorpusFacts, PartPlan, SignalSpec, Split, UnitTable

CLASSES = tuple(f"class-{i:03d}" for i in range(200))
VIEWS = 10
FRAMES = 499
RATE_HZ = 16_000
# What the plan makes of 10-s clips: about 20 MB of waveform, more where units would pass 50,000.
UNIT_ROWS = {10_000: 62, 100_000: 62, 1_000_000: 62, 20_000_000: 400}
READ_UNITS = 40

PROBE = """
import json, sys, time
from pathlib import Path
def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6
began = time.perf_counter()
from cache_schema.reader import open_cache
imported = time.perf_counter()
before = resident_mb()
cache = open_cache(Path(sys.argv[1]))
opened = time.perf_counter()
after = resident_mb()
units = [unit for unit in cache.units("train", 3) if unit.number % int(sys.argv[3]) == 0]
units = units[: int(sys.argv[2])]
listed = time.perf_counter()
cache.read_unit(units[0], ["logits", "temporal_attention"])
first = time.perf_counter()
rows = sum(len(cache.read_unit(u, ["logits", "temporal_attention"]).clip) for u in units[1:])
read = time.perf_counter()
assert "torch" not in sys.modules
print(json.dumps({
    "import_s": imported - began, "open_s": opened - imported, "opened_s": opened - began,
    "opened_mb": after - before, "read_mb": resident_mb() - before, "list_units_s": listed - opened,
    "first_unit_s": first - listed, "rows_per_s": rows / (read - first),
}))
"""


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Open and read caches of growing size in a fresh process."""
    sizes = list(UNIT_ROWS)[:2] if quick else list(UNIT_ROWS)
    for rows in sizes:
        root = scratch / f"{rows}.zarr"
        every = _write(root, rows, UNIT_ROWS[rows])
        probe = [sys.executable, "-c", PROBE, str(root), str(READ_UNITS), str(every)]
        runs = []
        for _ in range(2 if quick else 6):
            done = subprocess.run(probe, capture_output=True, text=True, check=True, env=_plain())
            runs.append(json.loads(done.stdout))
        found = {name: median([run[name] for run in runs[1:]]) for name in runs[0]}
        largest = rows == max(UNIT_ROWS)
        index = sum(p.stat().st_size for p in (root / "parts/part-000/index").rglob("*"))
        details = found | {"index_bytes": index, "plan_bytes": (root / PLAN).stat().st_size}
        yield Figure(
            f"{rows:,} rows: open, imports and all", found["opened_s"], "s",
            bound="<= 1" if largest else "", details=details,
        )  # fmt: skip
        yield Figure(
            f"{rows:,} rows: memory after opening and reading", found["read_mb"], "MB",
            bound="<= 200" if largest else "",
        )  # fmt: skip
        yield Figure(f"{rows:,} rows: first unit, with its index", found["first_unit_s"], "s")
        yield Figure(f"{rows:,} rows: targets read", found["rows_per_s"], "rows/s")


PLAN = "parts/part-000/plan.json"


def _plain() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def _write(root: Path, rows: int, unit_rows: int) -> int:
    """Write a cache of `rows` rows in ten views; gives the step between units whose data exists."""
    clips = rows // VIEWS
    first = list(range(0, clips, unit_rows))
    plan = _plan(first, clips, unit_rows)
    every = max(1, len(first) // READ_UNITS)
    if (root / "manifest.json").is_file():
        return every
    listed = [
        Clip(
            id=f"corpus/speaker-{i % 997:03d}/{i:08d}", path=f"speaker-{i % 997:03d}/{i:08d}.flac",
            labels=(CLASSES[i % 200],), split="train", frames=160_000, source_rate_hz=RATE_HZ,
        )
        for i in range(clips)
    ]  # fmt: skip
    facts = CorpusFacts(
        fingerprint="0" * 64, classes=list(CLASSES), task="single", clips=clips,
        splits=[Split(name="train", first_clip=0, clips=clips)],
    )  # fmt: skip
    writer.create_cache(root, listed, facts, RATE_HZ, plan)
    objects = _sparse_chunks(root, plan, len(first), every)
    with (
        patch.object(writer, "incomplete_units", return_value=[]),
        patch.object(writer, "index_arrays", return_value=_index(plan, objects)),
    ):
        writer.seal(root, plan)
    return every


def _plan(first: list[int], clips: int, unit_rows: int) -> PartPlan:
    rows = [min(unit_rows, clips - start) for start in first]
    units = UnitTable(
        split=["train"] * len(first) * VIEWS,
        view=[view for view in range(VIEWS) for _ in first],
        first_clip=first * VIEWS,
        rows=rows * VIEWS,
    )
    shapes = {"logits": ("fixed", [200], unit_rows), "temporal_attention": ("ragged", [], FRAMES)}
    shapes |= {"waveform": ("ragged", [], 160_000)}
    signals = [
        SignalSpec(
            name=name, layout=layout, row_shape=shape,
            dtype="int16" if name == "waveform" else "float16",
            chunk_length=unit_rows * (1 if layout == "fixed" else entries),
            hop_s=None if layout == "fixed" else 0.02,
            first_frame_s=None if layout == "fixed" else 0.0,
        )
        for name, (layout, shape, entries) in shapes.items()
    ]  # fmt: skip
    return PartPlan(
        name="part-000", first_view=0, views=VIEWS, seed=0, view_recipe=["gain"],
        teacher={"id": "none", "family": "toy", "classes": list(CLASSES), "task": "single"},
        audio={"sample_rate_hz": RATE_HZ}, source="corpus", codec="crc32c", batch_clips=32,
        batch_samples=RATE_HZ, unit_rows=unit_rows, signals=signals, units=units,
    )  # fmt: skip


def _sparse_chunks(
    root: Path, plan: PartPlan, per_view: int, every: int
) -> list[tuple[int, bytes]]:
    """Write chunks of zeros for some units of view 3; gives size and trailer of each signal's."""
    found = []
    for spec in plan.signals:
        zeros = bytes(spec.chunk_bytes)
        trailer = google_crc32c.value(zeros).to_bytes(4, "little")
        found.append((len(zeros) + 4, trailer))
        tail = ["0"] * len(spec.row_shape)
        for unit in range(3 * per_view, 4 * per_view):
            if unit % every == 0 and spec.name != "waveform":
                path = root.joinpath("parts", plan.name, spec.name, "c", str(unit), *tail)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.truncate(len(zeros))
                    file.seek(0, os.SEEK_END)
                    file.write(trailer)
    return found


def _index(plan: PartPlan, objects: list[tuple[int, bytes]]) -> dict[str, np.ndarray]:
    units, signals = len(plan.units.rows), len(objects)
    lengths = np.tile(np.array([FRAMES, 160_000], np.uint32), (units * plan.unit_rows, 1))
    crc = np.stack([np.frombuffer(trailer, np.uint8) for _, trailer in objects])
    random = np.random.default_rng(0)
    return {
        "object_bytes": np.tile(np.array([size for size, _ in objects], np.uint64), (units, 1)),
        "object_crc32c": np.tile(crc, (units, 1, 1)),
        "object_sha256": random.integers(0, 256, (units, signals, 32), np.uint8),
        "record_sha256": random.integers(0, 256, (units, 32), np.uint8),
        "row_lengths": lengths,
        "row_usable": np.ones(units * plan.unit_rows, np.uint8),
    }
