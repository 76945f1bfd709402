"""u8log: one byte a frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.encodings import u8log


def test_codes_are_the_documented_values() -> None:
    assert u8log.TABLE[0] == 0
    assert u8log.TABLE[1] == pytest.approx(1e-6)
    assert u8log.TABLE[255] == 1
    assert u8log.TABLE[128] == pytest.approx(1e-3)  # half way on the logarithmic scale
    assert u8log.encode(np.array([0.0, 1e-7, 1e-6, 1e-3, 1.0])).tolist() == [0, 0, 1, 128, 255]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=50))
def test_a_code_is_within_three_percent(values: list[float]) -> None:
    decoded = u8log.TABLE[u8log.encode(np.array(values))]
    np.testing.assert_allclose(decoded, values, rtol=0.0277)


def test_every_code_encodes_to_itself() -> None:
    assert u8log.encode(u8log.TABLE).tolist() == list(range(256))


def test_rows_are_renormalised_each_by_itself() -> None:
    rows = [np.array([0.5, 0.3, 0.2]), np.zeros(2), np.array([1.0])]
    starts = np.array([0, 3, 5, 6])
    decoded = u8log.decode(u8log.encode(np.concatenate(rows)), starts)
    sums = [decoded[a:b].sum() for a, b in pairwise(starts)]
    np.testing.assert_allclose(sums, [1, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(decoded[:3], rows[0], rtol=0.03)
