"""What the cache costs a training of TC-ResNet: waits, the distilled epoch, and the usual loaders.

Epochs are those of `train-student` with its defaults (batches of 32), on clips of 1 s whose features
are cached. They count from the first batch's arrival, so that no start of a worker is held against it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from commands import command, succeeded, write_tones
from figures import Figure, median
from per_clip import NpzClips, ZarrClips, data_loaders
from watched import Watched, cached_batches, loader_of, settings_of, train_epoch

from cache_schema.reader import Cache, open_cache
from student.batch import Batch

STUDENT, FEATURES = "tc-resnet", "mfcc40"
SIGNALS = ("logits", "temporal_attention")
LOADERS = {"a per-clip Zarr Dataset": ">= 30", "one .npz per clip": ">= 3"}

Batches = Callable[[], Iterable[Batch]]


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """All three comparisons on one cache."""
    cache = _tones(scratch, per_class=32 if quick else 1000)
    yield from _stall(cache)
    yield _distilled(cache, rounds=1 if quick else 7)
    yield from _end_to_end(
        scratch, cache, clips=96 if quick else 960, workers=(0,) if quick else (0, 2)
    )


def _tones(scratch: Path, per_class: int) -> Cache:
    """Cache the toy teacher's answers and the student's features of clips of 1 s."""
    tones, out = scratch / "tones", scratch / "tones.zarr"
    if not tones.exists():
        write_tones(tones, per_class, ragged=False)
    signals = [word for name in (*SIGNALS, FEATURES) for word in ("--signal", name)]
    teacher = ("--teacher", "toy", "--out", out)
    succeeded(command("precompute-teacher", f"folder:{tones}", *teacher, *signals))
    return open_cache(out)


def _stall(cache: Cache) -> Iterator[Figure]:
    settings = settings_of(STUDENT)
    for name, held in {"held in memory": True, "read every epoch": False}.items():
        batches = cached_batches(loader_of(cache, settings, held=held), settings)
        for _ in batches():  # the epoch that fills the memory
            pass
        found = train_epoch(cache, settings, batches)
        yield Figure(
            what=f"stall, cache {name}",
            value=100 * found.waited,
            unit="%",
            bound="<= 1",
            against="wall time of an epoch after its first batch",
            details=_details(found),
        )


def _distilled(cache: Cache, rounds: int) -> Figure:
    cases = {"distilled": settings_of(STUDENT), "labels alone": settings_of(STUDENT, ())}
    batches = {name: cached_batches(loader_of(cache, s), s) for name, s in cases.items()}
    found: dict[str, list[Watched]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, settings in cases.items():
            watched = train_epoch(cache, settings, batches[name])
            if number:
                found[name].append(watched)
    cpu_s = {name: median([w.cpu_s for w in several]) for name, several in found.items()}
    wall_s = {name: median([w.wall_s for w in several]) for name, several in found.items()}
    return Figure(
        what="distilled epoch (temporal + logits)",
        value=cpu_s["distilled"] / cpu_s["labels alone"],
        unit="x",
        bound="<= 1.03",
        against="the same epoch from labels alone, CPU time",
        details={
            "cpu_s": {name: [w.cpu_s for w in several] for name, several in found.items()},
            "wall_ratio": wall_s["distilled"] / wall_s["labels alone"],
        },
    )


def _end_to_end(
    scratch: Path, cache: Cache, clips: int, workers: Sequence[int]
) -> Iterator[Figure]:
    """Compare trainings, then loaders alone; the usual ones over a bounded number of clips."""
    settings = settings_of(STUDENT)
    own = cached_batches(loader_of(cache, settings), settings)
    ready = list(own())
    per_clip = ZarrClips(cache, (FEATURES, *SIGNALS))
    # As many files as clips are drawn; more would not be read.
    datasets = dict(
        zip(LOADERS, (per_clip, NpzClips(scratch / "npz", per_clip, clips)), strict=True)
    )
    size = settings.recipe.batch_size
    usual = data_loaders(datasets, FEATURES, batch_size=size, clips=clips, workers=workers)
    cases: dict[str, Batches] = {"cache": own, "no reading at all": lambda: iter(ready), **usual}
    trained = {name: train_epoch(cache, settings, b).clip_s for name, b in cases.items()}
    loaded = {name: _clip_s(b) for name, b in cases.items() if name != "no reading at all"}
    for name, bound in LOADERS.items():
        yield _ratio(f"epoch against {name}", name, trained, bound)
        yield _ratio(f"reading alone against {name}", name, loaded, "")


def _clip_s(batches: Batches) -> float:
    """Wall time of a clip without a trainer, after the first batch."""
    reading = iter(batches())
    next(reading)
    began_s = time.perf_counter()
    clips = sum(len(batch.clips) for batch in reading)
    return (time.perf_counter() - began_s) / clips


def _ratio(what: str, name: str, clip_s: Mapping[str, float], bound: str) -> Figure:
    best = min((key for key in clip_s if key.startswith(name)), key=lambda key: clip_s[key])
    limit = clip_s[best] / clip_s.get("no reading at all", clip_s["cache"])
    return Figure(
        what=what,
        value=clip_s[best] / clip_s["cache"],
        unit="x",
        bound=bound,
        against=best,
        note=f"{limit:.1f} x if reading took no time" if bound else "",
        details={"clips_per_s": {key: 1 / value for key, value in clip_s.items()}},
    )


def _details(found: Watched) -> dict[str, float]:
    return {
        "clips_per_s": 1 / found.clip_s,
        "wall_s": found.wall_s,
        "cpu_s": found.cpu_s,
        "longest_wait_s": max(found.waits_s),
    }
