"""The stream: every row once, the same order again, exact positions, no threads left behind."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from cache_schema.errors import CacheError
from cache_schema.front_ends import FRONT_ENDS, front_end_facts, front_end_features
from cache_schema.metadata import SignalSpec
from cache_schema.reader import Ragged, Unit, UnitRows
from student.stream.class_map import build_class_map
from student.stream.epoch_rows import EpochRows, by_hash, usable_clips
from student.stream.stream import Stream
from student.stream.unit_loader import UnitLoader

ROWS = 7
UNITS = 5


def spec(name: str, layout: Any, row_shape: list[int]) -> SignalSpec:
    return SignalSpec(
        name=name,
        layout=layout,
        row_shape=row_shape,
        dtype="float16",
        chunk_length=100,
        hop_s=None if layout == "fixed" else 0.02,
    )


class SmallCache:
    """Rows in memory behind the reader's interface; each value is a function of clip and view."""

    classes = ("no", "yes")
    task = "single"
    sample_rate_hz = 16_000
    splits = ("train",)
    views = 2
    target_signals = ()
    reads_at_once = 1
    root = "small"
    teacher = {"classes": ["yes", "maybe", "no"]}  # noqa: RUF012

    made_by: Any = None

    def __init__(self, *, features: bool = False, broken_unit: int | None = None) -> None:
        names = {"waveform": ("ragged", []), "logits": ("fixed", [3])}
        names |= {"temporal_attention": ("ragged", [])}
        if features:
            names |= {"mfcc": ("ragged", [20])}
        self.signals = {name: spec(name, *facts) for name, facts in names.items()}
        self.broken_unit = broken_unit
        self.reads: list[tuple[int, int]] = []

    def front_end_facts(self, name: str) -> Any:
        return self.made_by

    def units(self, split: str, view: int | None = None) -> list[Unit]:
        chosen = range(self.views) if view is None else [view]
        return [Unit(v * UNITS + u, v, split, u * ROWS, ROWS) for v in chosen for u in range(UNITS)]

    def clip_ids(self) -> list[str]:
        return [f"clip {clip}" for clip in range(ROWS * UNITS)]

    def read_unit(self, unit: Unit, names: tuple[str, ...]) -> UnitRows:
        if unit.number == self.broken_unit:
            raise CacheError("unit is damaged", kind="damaged")
        self.reads.append((unit.view, unit.number))
        clips = np.arange(unit.first_clip, unit.first_clip + unit.rows)
        rows: dict[str, list[Any]] = {
            "waveform": [self.waveform(clip, unit.view) for clip in clips],
            "temporal_attention": [np.full(3 + clip % 4, 0.25, np.float16) for clip in clips],
            "mfcc": [np.full((2 + clip % 3, 20), clip, np.float16) for clip in clips],
        }
        signals: dict[str, Any] = {
            name: Ragged(
                np.concatenate(rows[name]), np.cumsum([0, *[len(row) for row in rows[name]]])
            )
            for name in names
            if name in rows
        }
        if "logits" in names:
            signals["logits"] = np.stack([clips, -clips, clips + 0.5], axis=1).astype(np.float16)
        labels = np.eye(2, dtype=np.uint8)[clips % 2]
        labels[clips % 5 == 0] = 0
        return UnitRows(clips, labels, np.zeros(len(clips), np.bool_), signals)

    @staticmethod
    def waveform(clip: int, view: int) -> np.ndarray:
        generator = np.random.default_rng([clip, view])
        return generator.integers(-9000, 9000, 640 + 320 * (clip % 6) + 7).astype(np.int16)


def stream(cache: SmallCache, **changes: Any) -> Stream:
    options: dict[str, Any] = {"batch_size": 4, "seed": 3, "mixed_units": 2}
    budget = changes.pop("budget_bytes", 1 << 30)
    maps = {"logits": build_class_map(cache.classes, cache.teacher["classes"], None, "single")}
    names = ("logits", "temporal_attention")
    loader = UnitLoader(cache, "mfcc", names, class_maps=maps, budget_bytes=budget)  # type: ignore[arg-type]
    return Stream(loader, "train", **options | changes)


def clips_of(batches: Any) -> list[list[int]]:
    return [batch.clips.tolist() for batch in batches]


def test_an_epoch_has_every_row_once() -> None:
    found = [clip for clips in clips_of(stream(SmallCache()).epoch(0)) for clip in clips]
    assert sorted(found) == list(range(ROWS * UNITS))


@pytest.mark.parametrize("mixed_units", [1, 2, 9])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.95])
def test_labelled_rows_are_repeated_up_to_their_share(share: float, mixed_units: int) -> None:
    """Of the small cache's rows a fifth is unlabelled."""
    cache = SmallCache()
    labelled, unlabelled = map(len, usable_clips(cache, "train"))  # type: ignore[arg-type]
    assert labelled + unlabelled == ROWS * UNITS
    epoch_rows = EpochRows.for_share(share, labelled, unlabelled)
    streamed = stream(cache, epoch_rows=epoch_rows, mixed_units=mixed_units)
    found = [clip for clips in clips_of(streamed.epoch(2)) for clip in clips]
    counts = Counter(found)
    assert set(counts) == set(range(ROWS * UNITS)), "no row is left out"
    assert {counts[clip] for clip in counts if clip % 5 == 0} == {1}
    most = max(counts.values())
    assert {counts[clip] for clip in counts if clip % 5} <= {most, most - 1}
    share_found = sum(n for clip, n in counts.items() if clip % 5) / len(found)
    assert share_found == pytest.approx(max(share, labelled / (ROWS * UNITS)), abs=0.02)
    assert clips_of(streamed.epoch(2)) == clips_of(streamed.epoch(2))
    assert clips_of(streamed.epoch(2, first_batch=3)) == clips_of(streamed.epoch(2))[3:]


@pytest.mark.parametrize("mixed_units", [1, 2, 9])
def test_an_epoch_has_as_many_unlabelled_rows_as_it_should(mixed_units: int) -> None:
    """Fewer are a part of more, all labelled rows stay, in both views."""
    cache, before = SmallCache(), set[int]()
    labelled = {clip for clip in range(ROWS * UNITS) if clip % 5}
    for count in range(8):
        epoch_rows = EpochRows.of(cache, "train", None, count)  # type: ignore[arg-type]
        streamed = stream(cache, epoch_rows=epoch_rows, mixed_units=mixed_units)
        found = [clip for clips in clips_of(streamed.epoch(count % 2)) for clip in clips]
        assert len(found) == epoch_rows.rows(ROWS * UNITS) == len(labelled) + count
        assert before < set(found) if before else set(found) == labelled
        before = set(found)


@pytest.mark.parametrize("mixed_units", [1, 2, 9])
@pytest.mark.parametrize("count", [None, 0, 3])
def test_by_labels_alone_labelled_rows_take_the_place_of_unlabelled_ones(
    count: int | None, mixed_units: int
) -> None:
    """Of the small cache's rows a fifth is unlabelled: the others come 1.25 times."""
    cache, labelled = SmallCache(), [clip for clip in range(ROWS * UNITS) if clip % 5]
    epoch_rows = EpochRows.alone(cache, "train", count)  # type: ignore[arg-type]
    streamed = stream(cache, epoch_rows=epoch_rows, mixed_units=mixed_units)
    found = Counter(clip for clips in clips_of(streamed.epoch(1)) for clip in clips)
    assert set(found) == set(labelled)
    more = ROWS * UNITS - len(labelled) if count is None else count
    assert epoch_rows.rows(ROWS * UNITS) == len(labelled) + more
    assert found.total() == pytest.approx(len(labelled) + more, abs=2), "rounded by group of units"
    assert set(found.values()) <= {1, 2}


def test_labelled_rows_are_repeated_beside_those_of_the_unlabelled_that_stay() -> None:
    cache = SmallCache()
    epoch_rows = EpochRows.of(cache, "train", 0.95, 2)  # type: ignore[arg-type]
    found = [c for clips in clips_of(stream(cache, epoch_rows=epoch_rows).epoch(0)) for c in clips]
    assert sum(clip % 5 == 0 for clip in found) == 2
    assert sum(clip % 5 > 0 for clip in found) == pytest.approx(38, abs=2)


def test_which_unlabelled_clips_stay_depends_on_their_ids_alone() -> None:
    """A digest of each id, so that another machine, or a cache with more clips, takes the same first."""
    digests = [hashlib.sha256(f"clip {clip}".encode()).digest() for clip in range(ROWS * UNITS)]
    unlabelled = np.arange(0, ROWS * UNITS, 5)
    found = by_hash(SmallCache(), unlabelled)  # type: ignore[arg-type]
    assert found.tolist() == sorted(unlabelled.tolist(), key=lambda clip: digests[clip])


@pytest.mark.parametrize("mixed_units", [1, 2, 9])
def test_only_the_last_batch_is_short(mixed_units: int) -> None:
    sizes = [len(c) for c in clips_of(stream(SmallCache(), mixed_units=mixed_units).epoch(1))]
    assert sum(sizes) == ROWS * UNITS
    assert sorted(sizes, reverse=True) == [4] * 8 + [3]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    first = clips_of(stream(SmallCache()).epoch(2))
    assert clips_of(stream(SmallCache(), budget_bytes=0).epoch(2)) == first
    assert clips_of(stream(SmallCache(), seed=4).epoch(2)) != first
    assert clips_of(stream(SmallCache()).epoch(4)) != first


def test_a_position_resumes_exactly() -> None:
    whole = clips_of(stream(SmallCache()).epoch(1))
    assert clips_of(stream(SmallCache()).epoch(1, first_batch=5)) == whole[5:]


def test_views_take_turns_in_training_and_view_0_is_for_scoring() -> None:
    cache = SmallCache()
    source = stream(cache, budget_bytes=0)
    for epoch in (0, 1, 2):
        cache.reads.clear()
        list(source.epoch(epoch))
        assert {view for view, _ in cache.reads} == {epoch % 2}
    cache.reads.clear()
    assert [clip for clips in clips_of(source.in_order()) for clip in clips] == list(range(35))
    assert {view for view, _ in cache.reads} == {0}


def test_a_batch_holds_each_clips_own_features_targets_and_signals() -> None:
    for batch in stream(SmallCache()).epoch(0):
        for row, clip in enumerate(batch.clips.tolist()):
            waveform = SmallCache.waveform(clip, 0) / 32768
            expected = front_end_features(waveform, FRONT_ENDS["mfcc"])
            frames = int(batch.lengths_B[row])
            np.testing.assert_allclose(batch.features_BTM[row, :frames], expected, atol=1e-4)
            assert (batch.features_BTM[row, frames:] == 0).all()
            assert bool(batch.labelled_B[row]) == (clip % 5 != 0)
            # The teacher's order is yes, maybe, no; the cache's is no, yes.
            assert batch.signals["logits"][row].tolist() == [clip + 0.5, clip]
            own_frames = int(batch.signal_lengths["temporal_attention"][row])
            assert own_frames == 3 + clip % 4
            assert (batch.signals["temporal_attention"][row, :own_frames] == 0.25).all()


def test_cached_features_are_used_instead_of_the_waveform() -> None:
    batch = next(stream(SmallCache(features=True)).in_order())
    assert batch.lengths_B.tolist() == [2, 3, 4, 2]
    assert (batch.features_BTM[1, :3] == 1).all()


def test_features_of_another_preset_are_left_for_the_waveform() -> None:
    cache = SmallCache(features=True)
    cache.made_by = front_end_facts(["mfcc"])["mfcc"]
    assert stream(cache).loader.source == "mfcc"
    cache.made_by = cache.made_by | {"low_hz": 60.0}
    assert stream(cache).loader.source == "waveform"


def test_units_are_read_once_while_they_fit_the_budget() -> None:
    kept, forgotten = SmallCache(), SmallCache()
    for cache, budget in ((kept, 1 << 30), (forgotten, 0)):
        source = stream(cache, budget_bytes=budget)
        for _ in range(3):
            list(source.epoch(0))
    assert len(kept.reads) == UNITS
    assert len(forgotten.reads) == 3 * UNITS


def test_an_error_in_the_thread_is_raised_by_the_loop() -> None:
    with pytest.raises(CacheError, match="unit is damaged"):
        list(stream(SmallCache(broken_unit=3)).epoch(0))
    assert not reading_threads()


def test_leaving_early_ends_the_thread() -> None:
    batches = stream(SmallCache(), batch_size=1).epoch(0)
    next(batches)
    assert reading_threads()
    batches.close()
    assert not reading_threads()


def test_another_sample_rate_is_rejected_with_both_rates() -> None:
    cache = SmallCache()
    cache.sample_rate_hz = 8000
    with pytest.raises(CacheError, match=r"16000 Hz.* 8000 Hz"):
        stream(cache)


def test_closing_waits_for_the_unit_being_read_and_no_other() -> None:
    allowed = threading.Semaphore(3)

    class Slow(SmallCache):
        def read_unit(self, unit: Unit, names: tuple[str, ...]) -> UnitRows:
            allowed.acquire()
            return super().read_unit(unit, names)

    cache = Slow()
    batches = stream(cache, mixed_units=3).epoch(0)
    next(batches)  # of the first three units; the fourth is waited for
    closing = threading.Thread(target=batches.close)
    closing.start()
    while closing.is_alive():
        closing.join(0.5)
        allowed.release()
    assert len(cache.reads) < UNITS
    assert not reading_threads()


def reading_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "aftersound-stream"]


def test_units_read_ahead_from_afar_come_in_the_same_order() -> None:
    """Reading takes differently long, and eight are under way at once."""

    class Afar(SmallCache):
        reads_at_once = 8
        under_way = most = 0

        def read_unit(self, unit: Unit, names: tuple[str, ...]) -> UnitRows:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            time.sleep(0.02 * (unit.number % 3))
            self.under_way -= 1
            return super().read_unit(unit, names)

    afar = Afar()
    for number in (0, 2):
        assert clips_of(stream(afar).epoch(number)) == clips_of(stream(SmallCache()).epoch(number))
    assert 1 < afar.most <= 8
