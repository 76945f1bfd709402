"""What it costs to plan a cache of 2·10^6 clips in ten views: fingerprint, units, clip table, layout.

The corpus is a list of clips whose files are there and empty; nothing is decoded. Listing it and reading
the headers, which comes before, is not measured.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from figures import Figure

from cache_schema.clip import Clip
from cache_schema.metadata import PartPlan
from pipeline.corpora.interface import Corpus
from pipeline.precompute import inputs
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.unit_cuts import MAX_CHUNK_BYTES

CLIPS, QUICK_CLIPS = 2_000_000, 2_000
VIEWS = 10
FILES_IN_A_FOLDER = 2_000
CLASSES = tuple(f"class-{i:03d}" for i in range(200))
RATE_HZ = 16_000


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Plan and lay out a cache in a fresh process."""
    clips = QUICK_CLIPS if quick else CLIPS
    corpus = scratch / "corpus"
    if not corpus.exists():
        _write_files(corpus, clips)
    out = scratch / "planned.zarr"
    shutil.rmtree(out, ignore_errors=True)
    probe = [sys.executable, __file__, str(corpus), str(out), str(clips)]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    what = f"{clips:,} clips in {VIEWS} views"
    yield Figure(
        f"{what}: planned and laid out, CPU time", found["cpu_s"], "s", bound="<= 60",
        note=f"{found['open_cpu_s']:.1f} s of it before the units are cut", details=found,
    )  # fmt: skip
    yield Figure(f"{what}: most memory of the process", found["memory_gb"], "GB", bound="<= 3")
    yield Figure(
        f"{what}: largest chunk", found["chunk_bytes"] / 1e6, "MB",
        bound=f"<= {MAX_CHUNK_BYTES / 1e6:g}", note=f"{found['units']:,} work units",
    )  # fmt: skip


def _write_files(corpus: Path, clips: int) -> None:
    """Write one folder of empty files; the others are links to it, and cost no two million files."""
    first, *others = [corpus / name for name in _folders(clips)]
    first.mkdir(parents=True)
    for number in range(min(clips, FILES_IN_A_FOLDER)):
        (first / f"{number:06d}.flac").touch()
    for folder in others:
        folder.symlink_to(first.name)


def _folders(clips: int) -> list[str]:
    return [f"speaker-{number:04d}" for number in range(-(-clips // FILES_IN_A_FOLDER))]


def _corpus(root: Path, clips: int) -> Corpus:
    folders = _folders(clips)
    names = [divmod(number, FILES_IN_A_FOLDER) for number in range(clips)]
    listed = [
        Clip(
            id=f"{folders[folder]}/{file:06d}", path=f"{folders[folder]}/{file:06d}.flac",
            labels=(CLASSES[file % len(CLASSES)],), split="train",
            frames=9 * RATE_HZ + (folder + file) % (2 * RATE_HZ), source_rate_hz=RATE_HZ,
        )
        for folder, file in names
    ]  # fmt: skip
    return Corpus(root=root, clips=tuple(listed), classes=CLASSES, task="single")


def main(root: str, out: str, clips: str) -> None:
    """Plan and lay out a cache; prints what it took."""
    corpus = _corpus(Path(root).resolve(), int(clips))
    request = inputs.Request(
        corpora=("listed",), teacher="toy", out=Path(out), views=VIEWS, view_steps=("gain",)
    )
    began_s = time.process_time()
    with patch.object(inputs, "read_corpora", return_value=corpus):
        precompute = Precompute(request)
    opened_s = time.process_time()
    (plan,) = precompute.create_parts()
    planned_s = time.process_time()
    facts = {
        "open_cpu_s": opened_s - began_s,
        "cpu_s": planned_s - began_s,
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    print(json.dumps(facts | _sizes(plan)))


def _sizes(plan: PartPlan) -> dict[str, int]:
    return {
        "units": len(plan.units.rows),
        "rows": sum(plan.units.rows),
        "chunk_bytes": max(signal.chunk_bytes for signal in plan.signals),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
