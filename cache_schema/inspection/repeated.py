"""Recordings that a cache has twice, by the digests of their files that its records keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cache_schema.cautions import few
from cache_schema.inspection.cache_cautions import first_units
from cache_schema.inspection.records import commit_records
from cache_schema.reader import Cache

TRAIN = "train"


@dataclass(slots=True)
class _Recording:
    """Where the very bytes are: a clip's id in each split, and for each set of labels of a stretch."""

    ids: dict[str, str] = field(default_factory=dict)
    labels: dict[tuple[float, float], dict[bytes, str]] = field(default_factory=dict)


def repeated_cautions(cache: Cache) -> list[str]:
    """Recordings that are learned from and scored on, and those with two sets of labels."""
    found = _recordings(cache)
    shared = [one.ids for one in found.values() if TRAIN in one.ids and len(one.ids) > 1]
    cautions = []
    if shared:
        names = [
            _pair([next(name for split, name in ids.items() if split != TRAIN), ids[TRAIN]])
            for ids in shared
        ]
        cautions.append(
            f"{len(shared)} recording(s) that are validated or tested with are in train too, byte by "
            f"byte ({few(names)}): the score is not one of new ones. List each once, or keep what is "
            "of one recording in one split"
        )
    torn = [pair for one in found.values() if (pair := _torn(one))]
    if torn:
        cautions.append(
            f"{len(torn)} recording(s) are there twice, byte by byte, with different labels "
            f"({few(torn)}): one of them is wrong, or a clip has several labels, which one row lists"
        )
    return cautions


def _pair(ids: Sequence[str]) -> str:
    """Name the first two of the clips that are one recording."""
    return f"{ids[0]} = {ids[1]}"


def _torn(one: _Recording) -> str:
    """The first two clips of one stretch that have different labels; empty if none have."""
    twins = (names for names in one.labels.values() if len(names) > 1)
    return next((_pair([*names.values()]) for names in twins), "")


def _recordings(cache: Cache) -> dict[str, _Recording]:
    """Recordings by the digests of their files."""
    units = [unit for split in cache.splits for unit in first_units(cache, split)]
    plan, table = cache.parts[0].plan, cache.clip_table
    found: dict[str, _Recording] = {}
    for unit, record in zip(
        units, commit_records(cache.root, plan, [unit.number for unit in units]), strict=True
    ):
        span = unit.first_clip, unit.first_clip + unit.rows
        clips, labels_NC = table.clips(*span), table.labels(*span)
        unusable = {entry.row for entry in record.quarantine}
        rows = zip(clips, labels_NC, record.sources, strict=True)
        for row, (clip, labels_C, digest) in enumerate(rows):
            if digest and row not in unusable:
                one = found.setdefault(digest, _Recording())
                one.ids.setdefault(unit.split, clip.id)
                if clip.labelled:
                    stretch = clip.start_s, -1.0 if clip.end_s is None else clip.end_s
                    one.labels.setdefault(stretch, {}).setdefault(labels_C.tobytes(), clip.id)
    return found
