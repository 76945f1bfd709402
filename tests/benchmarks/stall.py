"""What the cache costs a training of TC-ResNet: waits, the distilled epoch, and the usual loaders.

Epochs are those of `train-student` with its defaults (batches of 32), on clips of 1 s whose features
are cached, from the moment the first batch is requested. A DataLoader's count from its first batch, so
that no start of a worker is held against it.
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
from student.stream.batch import Batch

STUDENT, FEATURES = "tc-resnet", "mfcc40"
SIGNALS = ("logits", "temporal_attention")
LOADERS = {"a per-clip Zarr Dataset": ">= 30", "one .npz per clip": ">= 3"}
IN_MEMORY = "no reading at all"

Batches = Callable[[], Iterable[Batch]]


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """All three comparisons on one cache."""
    tones = scratch / "tones"
    if not tones.exists():
        write_tones(tones, 32 if quick else 1000, ragged=False)
    yield from _stall(_cached(tones, scratch / "small-units.zarr", "--unit-rows", 128))
    cache = _cached(tones, scratch / "tones.zarr")
    yield _distilled(cache, rounds=1 if quick else 7)
    yield from _end_to_end(
        scratch, cache, clips=96 if quick else 960, workers=(0,) if quick else (0, 2)
    )


def _cached(tones: Path, out: Path, *options: object) -> Cache:
    """Cache the toy teacher's answers and the student's features of clips of 1 s."""
    signals = [word for name in (*SIGNALS, FEATURES) for word in ("--signal", name)]
    teacher = ("--teacher", "toy", "--out", out, *options)
    succeeded(command("precompute-teacher", f"folder:{tones}", *teacher, *signals))
    return open_cache(out)


def _stall(cache: Cache) -> Iterator[Figure]:
    """Of a cache with several groups of units, so that the trainer passes from one to the next."""
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
            against="wall time of an epoch",
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
    cpu_s = {name: median([w.clip_cpu_s for w in several]) for name, several in found.items()}
    wall_s = {name: median([w.clip_s for w in several]) for name, several in found.items()}
    return Figure(
        what="distilled epoch (temporal + logits)",
        value=cpu_s["distilled"] / cpu_s["labels alone"],
        unit="x",
        bound="<= 1.03",
        against="the same epoch from labels alone, CPU time",
        details={
            "clip_cpu_s": {n: [w.clip_cpu_s for w in several] for n, several in found.items()},
            "wall_ratio": wall_s["distilled"] / wall_s["labels alone"],
        },
    )


def _end_to_end(
    scratch: Path, cache: Cache, clips: int, workers: Sequence[int]
) -> Iterator[Figure]:
    """Compare trainings, then loaders alone; the usual ones over a bounded number of clips."""
    settings = settings_of(STUDENT)
    own = cached_batches(loader_of(cache, settings, held=False), settings)
    ready = list(own())
    per_clip = ZarrClips(cache, (FEATURES, *SIGNALS))
    # As many files as clips are drawn; more would not be read.
    datasets = dict(
        zip(LOADERS, (per_clip, NpzClips(scratch / "npz", per_clip, clips)), strict=True)
    )
    size = settings.recipe.batch_size
    usual = data_loaders(datasets, FEATURES, batch_size=size, clips=clips, workers=workers)
    cases: dict[str, Batches] = {"cache": own, IN_MEMORY: lambda: iter(ready), **usual}
    epochs = {name: train_epoch(cache, settings, batches) for name, batches in cases.items()}
    trained = {n: w.started_clip_s if n in usual else w.clip_s for n, w in epochs.items()}
    loaded = {n: _clip_s(b, started=n in usual) for n, b in cases.items() if n != IN_MEMORY}
    for name, bound in LOADERS.items():
        yield _ratio(f"epoch against {name}", name, trained, bound)
        yield _ratio(f"reading alone against {name}", name, loaded, "")


def _clip_s(batches: Batches, *, started: bool) -> float:
    """Wall time of a clip without a trainer; where it is `started`, after the first batch."""
    asked_s = time.perf_counter()
    reading = iter(batches())
    clips = len(next(reading).clips)
    began_s = time.perf_counter()
    later = sum(len(batch.clips) for batch in reading)
    ended_s = time.perf_counter()
    return (ended_s - began_s) / later if started else (ended_s - asked_s) / (clips + later)


def _ratio(what: str, name: str, clip_s: Mapping[str, float], bound: str) -> Figure:
    best = min((key for key in clip_s if key.startswith(name)), key=lambda key: clip_s[key])
    limit = clip_s[best] / clip_s.get(IN_MEMORY, clip_s["cache"])
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
