"""--check: which rows are drawn, and what counts as the same answer."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from cache_schema.encodings import top_k, u8log
from cache_schema.metadata import SignalSpec
from pipeline.precompute.spot_check import TOLERANCE, relative_error, sample_rows

TABLES = {0: [3, 1, 4], 2: [2, 2]}
EVERY_ROW = {
    (view, unit, row)
    for view, counts in TABLES.items()
    for unit, count in enumerate(counts)
    for row in range(count)
}


def rows_of(drawn: list[tuple[int, int, object]]) -> list[tuple[int, int, int]]:
    return [(view, unit, row) for view, unit, rows in drawn for row in rows]


def spec(dtype: str, row_shape: list[int]) -> SignalSpec:
    ragged = {"layout": "ragged", "hop_s": 0.02, "first_frame_s": 0.01}
    layout = ragged if dtype == "uint8" else {"layout": "fixed"}
    return SignalSpec(name="s", row_shape=row_shape, dtype=dtype, chunk_length=9, **layout)


def test_all_is_every_row_once() -> None:
    assert rows_of(sample_rows(TABLES, None)) == sorted(EVERY_ROW)


@pytest.mark.parametrize("count", [1, 5, 12, 99])
def test_as_many_different_rows_are_drawn_as_requested(count: int) -> None:
    found = rows_of(sample_rows(TABLES, count))
    assert len(found) == len(set(found)) == min(count, len(EVERY_ROW))
    assert set(found) <= EVERY_ROW
    assert found == sorted(found)


def test_each_row_is_drawn_about_as_often_as_any_other() -> None:
    seen = dict.fromkeys(EVERY_ROW, 0)
    draws, each = 3000, 3
    for _ in range(draws):
        for row in rows_of(sample_rows(TABLES, each)):
            seen[row] += 1
    share = each / len(EVERY_ROW)
    deviation_of_counts = (draws * share * (1 - share)) ** 0.5
    for count in seen.values():
        assert abs(count - draws * share) < 6 * deviation_of_counts


def test_twenty_million_rows_are_drawn_from_without_being_listed() -> None:
    tables = {0: [1000] * 20_000}
    tracemalloc.start()
    found = rows_of(sample_rows(tables, 100))
    everything = sample_rows(tables, None)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 100
    assert sum(len(rows) for _, _, rows in everything) == 20_000_000
    assert peak_bytes < 20e6


def test_a_deviation_is_a_share_of_the_rows_scale() -> None:
    cached, fresh = np.array([1.0, -4.0, 2.0]), np.array([1.0, -4.0, 2.5])
    assert relative_error(spec("float16", [3]), "single", cached, fresh) == 0.5 / 4
    assert relative_error(spec("float16", [3]), "single", cached, cached) == 0


@pytest.mark.parametrize("wrong", [np.array([1.0, np.nan]), np.array([np.inf, 2.0]), np.ones(3)])
def test_what_is_no_number_or_of_another_length_deviates_without_limit(wrong: np.ndarray) -> None:
    right = np.array([1.0, 2.0])
    for pair in ((right, wrong), (wrong, right)):
        assert relative_error(spec("float16", [2]), "single", *pair) == float("inf")


def test_an_answer_on_the_edge_between_two_codes_of_u8log_is_the_same() -> None:
    edge = np.sqrt(u8log.TABLE[200] * u8log.TABLE[201]).item()
    rows = [np.array([v, 0.5 * v, 1 - 1.5 * v]) for v in (edge * (1 - 1e-5), edge * (1 + 1e-5))]
    codes = [u8log.encode(row) for row in rows]
    assert codes[0].tolist() != codes[1].tolist()
    cached = u8log.decode(codes[0], np.array([0, 3]))
    attention = spec("uint8", [])
    assert relative_error(attention, "single", cached, rows[1]) <= TOLERANCE
    assert relative_error(attention, "single", cached, rows[0]) <= TOLERANCE
    assert relative_error(attention, "single", cached, rows[0] * [1.2, 1, 1]) > TOLERANCE


def test_equals_in_another_order_are_the_same_for_top_k() -> None:
    was = np.array([2.001, 2.0, -5.0, -9.0], np.float16)
    now = np.array([2.0, 2.001, -5.0, -9.0], np.float16)
    logits, other = spec("uint16", [3]), np.array([2.0, 2.0, 1.0, -9.0], np.float16)
    cached = top_k.decode(top_k.encode(was[None], 1, "single"), 4)[0]
    assert relative_error(logits, "single", cached, now) <= TOLERANCE
    assert relative_error(logits, "single", cached, other) > TOLERANCE
