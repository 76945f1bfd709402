"""The plan is arithmetic: it covers every row exactly once within its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache_schema.metadata import Split
from pipeline.precompute import unit_cuts
from pipeline.precompute.plan import signal_specs
from pipeline.precompute.unit_cuts import SignalLayout, cut_units, padding_share
from pipeline.precompute.unit_outputs import batches


def layout(name: str, entries: list[int], kind: str = "ragged", *, views: int = 1) -> SignalLayout:
    by_view = np.broadcast_to(np.array(entries, np.int64), (views, len(entries)))
    return SignalLayout(name, kind, (), "float16", 0.02, 0.01, by_view)


@given(
    sizes=st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=40), min_size=1, max_size=4),
    views=st.integers(1, 3),
    first_view=st.integers(0, 2),
    max_rows=st.integers(1, 12),
)
@settings(deadline=None)
def test_units_cover_every_row_once_within_limits(
    sizes: list[list[int]], views: int, first_view: int, max_rows: int
) -> None:
    names = ["train", "validation", "test", "other"][: len(sizes)]
    entries = [n for split in sizes for n in split]
    firsts = np.cumsum([0, *map(len, sizes)])
    splits = [
        Split(name=n, first_clip=int(f), clips=len(s))
        for n, f, s in zip(names, firsts, sizes, strict=False)
    ]
    ragged = layout("waveform", entries, views=views)
    fixed = layout("logits", [1] * len(entries), "fixed", views=views)
    numbers = range(first_view, first_view + views)
    units = cut_units([ragged, fixed], splits, numbers, max_rows)
    seen = [
        (view, clip)
        for view, first, rows in zip(units.view, units.first_clip, units.rows, strict=True)
        for clip in range(first, first + rows)
    ]
    trained, all_clips = range(len(sizes[0])), range(len(entries))
    wanted = [(view, clip) for view in numbers for clip in (trained if view else all_clips)]
    assert sorted(seen) == sorted(wanted)
    assert len(seen) == len(set(seen))
    assert max(units.rows) <= max_rows
    for split, first, rows in zip(units.split, units.first_clip, units.rows, strict=True):
        home = splits[names.index(split)]
        assert home.first_clip <= first
        assert first + rows <= home.first_clip + home.clips
    specs = {spec.name: spec for spec in signal_specs([ragged, fixed], units, first_view)}
    fullest = max(
        sum(entries[f : f + r]) for f, r in zip(units.first_clip, units.rows, strict=True)
    )
    assert specs["waveform"].chunk_length == max(1, fullest)
    assert specs["logits"].chunk_length == max(units.rows)


def test_views_of_differing_lengths_are_cut_and_stored_by_their_own() -> None:
    """The second view is twice as long: half the clips fill a unit."""
    row = unit_cuts.UNIT_BYTES // 2 // 4
    entries = np.array([[row] * 8, [2 * row] * 8], np.int64)
    longer = SignalLayout("waveform", "ragged", (), "int16", 1 / 16_000, 0.0, entries)
    splits = [Split(name="train", first_clip=0, clips=8)]
    units = cut_units([longer], splits, range(2, 4), 1024)
    assert units.view == [2, 2, 3, 3, 3, 3]
    assert units.rows == [4, 4, 2, 2, 2, 2]
    assert signal_specs([longer], units, 2)[0].chunk_length == 4 * row


def test_a_unit_ends_before_its_largest_chunk_passes_the_limit() -> None:
    row = unit_cuts.UNIT_BYTES // 2 // 4  # entries of 2 bytes; four rows fill a unit
    splits = [Split(name="train", first_clip=0, clips=12)]
    units = cut_units([layout("waveform", [row] * 12)], splits, range(1), 1024)
    assert units.rows == [4, 4, 4]


def test_chunks_of_a_large_cache_grow_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a thousandth of the size: rather more units than chunks that a process cannot hold."""
    for name in ("UNIT_BYTES", "MANY_UNITS", "MAX_CHUNK_BYTES", "MIN_UNIT_BYTES"):
        monkeypatch.setattr(unit_cuts, name, getattr(unit_cuts, name) // 1000)
    row, clips = 1600, {"below": 300, "between": 400, "above": 3000}  # of 3,200 bytes
    longest = {}
    for name, count in clips.items():
        splits = [Split(name="train", first_clip=0, clips=count)]
        many = layout("waveform", [row] * count)
        units = cut_units([many], splits, range(1), 1024)
        longest[name] = signal_specs([many], units, 0)[0].chunk_bytes
        assert sum(units.rows) == count
    assert longest["below"] <= 38_400
    assert 38_400 < longest["between"] <= 51_200
    assert 51_200 < longest["above"] <= 64_000


def test_units_of_equal_rows_leave_little_of_a_chunk_empty() -> None:
    """Filled one after the other they would be 62, 62, 62, 62 and 8, each stored as 62."""
    ten_s = 10 * 16_000
    splits = [Split(name="train", first_clip=0, clips=256)]
    units = cut_units([layout("waveform", [ten_s] * 256)], splits, range(1), 1024)
    assert units.rows == [52, 52, 52, 52, 48]


def test_smaller_units_are_cut_where_chunks_would_be_padded() -> None:
    """Of 2,000 clips of 1.5 s, units of 400, 300 and 250 would all be stored as 400: 17 % padding."""
    counts, first = {"train": 1200, "validation": 300, "test": 500}, 0
    splits = []
    for name, clips in counts.items():
        splits.append(Split(name=name, first_clip=first, clips=clips))
        first += clips
    waveform = layout("waveform", [24_000] * 2000)
    units = cut_units([waveform], splits, range(1), 1024)
    assert padding_share([waveform], units, 0) <= unit_cuts.MAX_PADDING_OF_SMALL
    assert len(units.rows) <= 10, "and no smaller than that needs"


@given(
    counts=st.lists(st.integers(1, 9_000), min_size=1, max_size=3),
    seconds=st.sampled_from([1, 4, 10]),
    views=st.integers(1, 4),
)
@example(counts=[1, 1, 152], seconds=4, views=4)
@example(counts=[10, 16, 11], seconds=10, views=4)
@settings(deadline=None, max_examples=30)
def test_padding_is_bounded(counts: list[int], seconds: int, views: int) -> None:
    """Over 100 MB at most 5 %, below at most 10 %, or a smallest unit for each view of each split.

    No unit holds two views or splits, so that of each one unit may be short.
    """
    names, firsts = ["train", "validation", "test"], np.cumsum([0, *counts])
    splits = [
        Split(name=n, first_clip=int(f), clips=c)
        for n, f, c in zip(names, firsts, counts, strict=False)
    ]
    waveform = layout("waveform", [16_000 * seconds] * sum(counts), views=views)
    units = cut_units([waveform], splits, range(views), 1024)
    rows = sum(units.rows) * 32_000 * seconds
    share = padding_share([waveform], units, 0)
    padding = rows * share / (1 - share)
    bound = unit_cuts.MAX_PADDING
    if rows <= unit_cuts.SMALL_BYTES:
        bound = unit_cuts.MAX_PADDING_OF_SMALL
    apart = len(set(zip(units.split, units.view, strict=True)))
    assert padding <= max(bound * (rows + padding), apart * unit_cuts.MIN_UNIT_BYTES)


@given(
    lengths=st.dictionaries(st.integers(0, 99), st.integers(1, 50), max_size=40),
    max_clips=st.integers(1, 8),
    near=st.booleans(),
)
@settings(deadline=None)
def test_batches_hold_each_row_once_and_stay_within_their_bound(
    lengths: dict[int, int], max_clips: int, near: bool
) -> None:
    found = batches(lengths, max_clips, 200, near=near)
    assert sorted(row for batch in found for row in batch) == sorted(lengths)
    for batch in found:
        inside = [lengths[row] for row in batch]
        assert len(batch) <= max_clips
        assert len(batch) == 1 or len(batch) * max(inside) <= 200
        assert max(inside) <= (1.1 if near else 1.0) * min(inside)
