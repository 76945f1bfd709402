"""The plan: which row lies where, computed from header facts alone, before anything is decoded.

Rows are view-major. Within a view, clips of one split lie together, in the order of a hash of
their ids, so that every work unit is a fair sample of its split. Views after the first exist for
the training split only: validation and test have one fixed view.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.encodings import top_k
from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS, frame_count, front_end_facts
from cache_schema.metadata import CorpusFacts, PartPlan, SignalSpec, Split, UnitTable
from cache_schema.plugins import unknown_name
from cache_schema.signal_names import (
    ATTENTION_MAP,
    DROPPED_MASS,
    LOGITS,
    TEMPORAL_ATTENTION,
    VIEW_DRAWS,
    VIEW_LABELS,
    WAVEFORM,
    signal_of,
)
from cache_schema.store.address import Address, CachePath
from cache_schema.store.cloud import CloudObjects
from cache_schema.store.objects import ahead
from pipeline.audio.decode import (
    DECODER,
    MAX_CLIP_S,
    RESAMPLER,
    is_too_long,
    resampled_length,
)
from pipeline.audio.members import split_member
from pipeline.corpora.interface import Corpus
from pipeline.corpora.walk import leads_into, limit_of
from pipeline.precompute.provenance_diff import without_name
from pipeline.precompute.signal_encodings import (
    Storage,
    cached_storage,
    storage_as_options,
)
from pipeline.precompute.unit_cuts import SignalLayout, needed_entries
from pipeline.teachers.interface import Teacher
from pipeline.views import ViewRecipe

DEFAULT_SIGNALS = (LOGITS, TEMPORAL_ATTENTION, WAVEFORM)
FRONT_END_FACTS = "front_ends"
SPLIT_ORDER = ("train", "validation", "test")
BATCH_SECONDS = 64


def order_clips(corpus: Corpus) -> list[Clip]:
    """Order clips by split, then by the hash of their ids."""
    order = {name: i for i, name in enumerate(SPLIT_ORDER)}

    def key(clip: Clip) -> tuple[int, str, bytes]:
        return (order.get(clip.split, 9), clip.split, hashlib.sha256(clip.id.encode()).digest())

    return sorted(corpus.clips, key=key)


def corpus_facts(corpus: Corpus, clips: Sequence[Clip]) -> CorpusFacts:
    """Facts of a corpus, with a fingerprint over what its rows depend on."""
    splits, first = [], 0
    for name, group in groupby(clips, key=lambda clip: clip.split):
        count = len(list(group))
        splits.append(Split(name=name, first_clip=first, clips=count))
        first += count
    return CorpusFacts(
        fingerprint=_fingerprint(corpus.root, clips),
        classes=list(corpus.classes),
        task=corpus.task,
        clips=len(clips),
        splits=splits,
    )


def _fingerprint(root: CachePath, clips: Sequence[Clip]) -> str:
    """SHA-256 of what the rows depend on: the text of a list with a list for each clip, by their ids."""
    digest = hashlib.sha256()
    paths = (clip.path for clip in clips)
    bytes_of = _file_sizes(root) if isinstance(root, Path) else _object_sizes(root, paths)
    for place, c in enumerate(sorted(clips, key=lambda clip: clip.id)):
        labels = [None] if c.none_present else list(c.labels)
        line = [c.id, c.path, labels, c.split, c.start_s, c.end_s, bytes_of(c.path), c.frames]
        digest.update(f"{', ' if place else '['}{line!r}".encode())
    digest.update(b"]" if clips else b"[]")
    return digest.hexdigest()


def _file_sizes(root: Path) -> Callable[[str], int]:
    """Give what reads the bytes of a clip's file; -1 where there is none, or it lies outside.

    Millions of clips lie in few folders, so whether a folder leads outside is looked up once.
    """
    limit = limit_of(root)
    inside = cache(lambda folder: leads_into(limit, Path(folder)))

    def size(path: str) -> int:
        whole = f"{root}/{path}"
        member = split_member(whole)
        file = str(member[0]) if member else whole
        with suppress(OSError):
            facts = os.lstat(file)
            if stat.S_ISREG(facts.st_mode) and inside(file.rpartition("/")[0]):
                return facts.st_size
        there = leads_into(limit, Path(file)) and Path(file).is_file()
        return Path(file).stat().st_size if there else -1

    return size


def _object_sizes(root: Address, paths: Iterable[str]) -> Callable[[str], int]:
    """Give what knows the bytes of a clip's object; -1 where there is none.

    A store tells a thousand in one answer, a web server one.
    """
    objects = CloudObjects(root)

    def size(path: str) -> int:
        with suppress(FileNotFoundError):
            return objects.size(path)
        return -1

    if objects.lists:
        known = dict(objects.sizes())
    else:
        names = list(dict.fromkeys(paths))
        known = dict(zip(names, ahead(size, names, objects.at_once), strict=True))
    return lambda path: known.get(path, -1)


def view_lengths(
    clips: Sequence[Clip], teacher: Teacher, waveform_hz: int, recipe: ViewRecipe, views: range
) -> NDArray[np.int64]:
    """Samples of each view of each clip as the teacher receives it, by way of the waveform.

    Returns
    -------
    ndarray, int64, shape (views, clips)
        0 where the teacher cannot take it.
    """
    unvaried = np.array([decoded_samples(clip, waveform_hz) for clip in clips], np.int64)

    def of_view(view: int) -> NDArray[np.int64]:
        return teacher_input_lengths(recipe.lengths(clips, unvaried, view), teacher, waveform_hz)

    if not recipe.draws_length:
        return np.broadcast_to(of_view(views.start), (len(views), len(clips)))
    return np.stack([of_view(view) for view in views])


def teacher_input_lengths(
    samples: NDArray[np.int64], teacher: Teacher, waveform_hz: int
) -> NDArray[np.int64]:
    """Samples of rows at the teacher's rate; 0 where there are none or the teacher takes no such row."""
    rate = teacher.sample_rate_hz
    at_teacher = _per_length(samples, lambda n: resampled_length(n, waveform_hz, rate))
    longest = teacher.max_samples or int(at_teacher.max(initial=1))
    fits = (teacher.min_samples <= at_teacher) & (at_teacher <= longest)
    return np.where(fits, at_teacher, 0)


def length_limits_s(teacher: Teacher) -> tuple[float, float]:
    """Return the shortest and the longest clip that a teacher takes, in seconds."""
    rate = teacher.sample_rate_hz
    longest_s = min(teacher.max_samples / rate if teacher.max_samples else MAX_CLIP_S, MAX_CLIP_S)
    return teacher.min_samples / rate, longest_s


def taken_lengths(teacher: Teacher) -> str:
    """Describe which lengths a teacher takes."""
    return "{:.10g} s to {:.10g} s".format(*length_limits_s(teacher))


def decoded_samples(clip: Clip, rate_hz: int) -> int:
    """Samples of a clip at a rate, by its header; 0 if that cannot be read or the clip is too long."""
    if not clip.frames or is_too_long(clip.frames, clip.source_rate_hz):
        return 0
    return resampled_length(clip.frames, clip.source_rate_hz, rate_hz)


def audio_provenance(teacher: Teacher, waveform_hz: int | None) -> dict[str, Any]:
    """Describe a teacher's input: the corpus' audio, or the cache's waveform of rate `waveform_hz`."""
    rate = teacher.sample_rate_hz
    if waveform_hz is None:
        libraries = {"decoder": DECODER, "resampler": RESAMPLER}
        return {"sample_rate_hz": rate, **libraries, "channels": "mean"}
    resampler = None if rate == waveform_hz else RESAMPLER
    return {"sample_rate_hz": rate, "waveform_hz": waveform_hz, "resampler": resampler}


def wanted_signals(
    names: Sequence[str], teacher: Teacher, recipe: ViewRecipe, *, classes: int, further: bool
) -> list[str]:
    """Signals to store: the defaults the teacher can give, the named ones, and what views need.

    `classes` are those of the corpus; without any there are no labels to mix. A `further` teacher adds
    nothing but its own: waveform and features are the first one's part.

    Raises
    ------
    UsageError
        For a signal that neither this teacher nor a front end can give.
    """
    of_waveform = [WAVEFORM, *FRONT_ENDS]
    possible = [*teacher.signals, *([] if further else of_waveform)]
    for name in names:
        if further and name in of_waveform:
            raise UsageError(
                f"signal {name} is the waveform's and no teacher's. Add it by the first teacher's "
                f"command with --signal {name}, without --teacher-name.",
                kind="signal",
            )
        if name not in possible:
            raise unknown_name(name, possible, f"signal of teacher {teacher.family}")
    wanted = [name for name in DEFAULT_SIGNALS if name in possible]
    wanted += [name for name in names if name not in wanted]
    if TEMPORAL_ATTENTION in wanted:
        wanted.append(DROPPED_MASS)
    if recipe.draw_names and not further:
        wanted.append(VIEW_DRAWS)
    if recipe.mixes_labels and classes and not further:
        wanted.append(VIEW_LABELS)
    return list(dict.fromkeys(wanted))


def signal_layouts(
    names: Sequence[str],
    teacher: Teacher,
    samples: NDArray[np.int64],
    storage: Mapping[str, Storage],
    view_rows: Mapping[str, int],
) -> list[SignalLayout]:
    """Layout of each signal, named as the cache does, with the entries every row will need.

    `samples` is of shape (views, clips), `view_rows` the width of what a cache keeps of its views;
    `storage` is as :func:`pipeline.precompute.signal_encodings.parse_signals` gives it.

    Raises
    ------
    UsageError
        For a top k that is no part of the teacher's classes.
    """
    layouts = [
        _view_layout(name, view_rows[name], samples)
        if name in view_rows
        else _signal_layout(signal_of(name), teacher, samples)
        for name in names
    ]
    return [
        replace(_stored(layout, storage.get(layout.name, "f16")), name=name)
        for name, layout in zip(names, layouts, strict=True)
    ]


def _stored(layout: SignalLayout, storage: Storage) -> SignalLayout:
    if storage == "u8log":
        return replace(layout, dtype="uint8")
    if not isinstance(storage, int):
        return layout
    (classes,) = layout.row_shape
    if not 1 <= storage < classes:
        kept = f"keep 1 to {classes - 1} of them, or all without" if classes > 1 else "leave out"
        raise UsageError(
            f"signal {layout.name}: top_k={storage}, but the teacher has {classes} classes; {kept} "
            "top_k",
            kind="options",
        )
    return replace(layout, dtype="uint16", row_shape=(top_k.entries(storage),))


def _view_layout(name: str, columns: int, samples: NDArray[np.int64]) -> SignalLayout:
    dtype: Literal["float32", "float16"] = "float32" if name == VIEW_DRAWS else "float16"
    return SignalLayout(name, "fixed", (columns,), dtype, None, None, np.ones_like(samples))


def _signal_layout(name: str, teacher: Teacher, samples: NDArray[np.int64]) -> SignalLayout:
    if name == WAVEFORM:
        return SignalLayout(name, "ragged", (), "int16", 1 / teacher.sample_rate_hz, 0.0, samples)
    if name in FRONT_ENDS:
        preset = FRONT_ENDS[name]
        if preset.sample_rate_hz != teacher.sample_rate_hz:
            raise UsageError(
                f"signal {name} needs {preset.sample_rate_hz} Hz, teacher {teacher.family} takes "
                f"{teacher.sample_rate_hz} Hz. Leave out --signal {name}.",
                kind="signal",
            )
        frames = _per_length(samples, lambda n: frame_count(n, preset))
        bands = (preset.coefficients or preset.mel_bands,)
        grid = (preset.hop_s, preset.first_frame_s)
        return SignalLayout(name, "ragged", bands, "float16", *grid, frames)
    shape = cache(lambda n: teacher.row_shape(name, n))
    example = shape(int(samples.max()) or teacher.min_samples)
    grid_of = teacher.signals[name]
    if grid_of is None:
        return SignalLayout(name, "fixed", example, "float16", None, None, np.ones_like(samples))
    square = name == ATTENTION_MAP
    entries = _per_length(samples, lambda n: math.prod(shape(n)) if square else shape(n)[0])
    tail = () if square else example[1:]
    layout: Literal["square", "ragged"] = "square" if square else "ragged"
    return SignalLayout(
        name, layout, tail, "float16", grid_of.hop_s, grid_of.first_frame_s, entries
    )


def _per_length(samples: NDArray[np.int64], count: Any) -> NDArray[np.int64]:
    """Apply a function of the length to each row, once per distinct length; 0 stays 0."""
    lengths, inverse = np.unique(samples, return_inverse=True)
    counts = np.array([count(int(n)) if n else 0 for n in lengths], np.int64)
    return counts[inverse].reshape(samples.shape)


def signal_specs(
    layouts: Sequence[SignalLayout], units: UnitTable, first_view: int
) -> list[SignalSpec]:
    """Specify each signal; a chunk is as long as the fullest unit needs, no longer."""
    specs = []
    for layout in layouts:
        needed = needed_entries(layout, units, first_view)
        specs.append(
            SignalSpec(
                name=layout.name,
                layout=layout.layout,
                row_shape=list(layout.row_shape),
                dtype=layout.dtype,
                chunk_length=max(1, int(needed.max())),
                hop_s=layout.hop_s,
                first_frame_s=layout.first_frame_s,
            )
        )
    return specs


def teacher_facts(plans: Sequence[PartPlan]) -> dict[str, Any]:
    """What the parts of one teacher depend on, besides corpus and views."""
    recorded = [plan.audio.get(FRONT_END_FACTS) for plan in plans]
    front_ends = {k: v for facts in recorded if isinstance(facts, dict) for k, v in facts.items()}
    return {
        "teacher": without_name(plans[0].teacher),
        "audio": {k: v for k, v in plans[0].audio.items() if k != FRONT_END_FACTS},
        "front_ends": front_ends,
        "storage": storage_as_options(cached_storage(plans)),
    }


def make_part(
    name: str,
    layouts: Sequence[SignalLayout],
    units: UnitTable,
    *,
    views: range,
    seed: int,
    view_recipe: Sequence[str],
    teacher: Teacher,
    audio: Mapping[str, Any],
    source: Literal["corpus", "cache"],
    codec: Literal["crc32c", "zstd"],
) -> PartPlan:
    """Put a part's plan together; it records the parameters of the front ends among its signals."""
    front_ends = front_end_facts(layout.name for layout in layouts)
    return PartPlan(
        name=name,
        first_view=views.start,
        views=len(views),
        seed=seed,
        view_recipe=list(view_recipe),
        teacher=teacher.provenance,
        audio={**audio, FRONT_END_FACTS: front_ends} if front_ends else dict(audio),
        source=source,
        codec=codec,
        batch_clips=32,
        batch_samples=BATCH_SECONDS * teacher.sample_rate_hz,
        unit_rows=max(units.rows),
        signals=signal_specs(layouts, units, views.start),
        units=units,
    )
