"""top_k: the largest logits exactly, and the probability of all the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cache_schema.encodings import top_k
from cache_schema.errors import CacheError

MAX_FLOAT16 = 65504.0  # of float16

# As teachers' answers reach the encoder: float16, finite.
logits = arrays.arrays(
    np.float16,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
    elements=st.floats(-MAX_FLOAT16, MAX_FLOAT16, width=16),
)
moderate = arrays.arrays(np.float16, (3, 9), elements=st.floats(-12, 12, width=16))
tasks = st.sampled_from(["single", "multi"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[np.float16], int]:
    values = draw(logits)
    return values, draw(st.integers(1, values.shape[1] - 1))


def probabilities(values: NDArray[np.floating], task: str) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    if task == "multi":
        return np.asarray(1 / (1 + np.exp(-wide)))
    shares = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@given(case=cases(), task=tasks)
@settings(deadline=None)
def test_the_largest_come_back_exactly_and_in_order(
    case: tuple[NDArray[np.float16], int], task: str
) -> None:
    values, kept = case
    codes = top_k.encode(values, kept, task)
    assert codes.shape == (len(values), 2 * kept + 1)
    assert top_k.k_of_width(codes.shape[1]) == kept
    for row, code in zip(values, codes, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:kept]
        assert code[:kept].tolist() == order
        np.testing.assert_array_equal(code[kept:-1].view(np.float16), row[order])
    decoded = top_k.decode(codes, values.shape[1])
    kept_NK = codes[:, :kept].astype(int)
    np.testing.assert_array_equal(
        np.take_along_axis(decoded, kept_NK, 1), np.take_along_axis(values, kept_NK, 1)
    )


@given(case=cases(), task=tasks)
@settings(deadline=None)
def test_the_rest_is_one_finite_value_between_its_smallest_and_largest(
    case: tuple[NDArray[np.float16], int], task: str
) -> None:
    values, kept = case
    decoded = top_k.decode(top_k.encode(values, kept, task), values.shape[1])
    assert np.isfinite(decoded).all()
    for row, stored in zip(values, decoded, strict=True):
        order = np.argsort(-row.astype(float), kind="stable")
        (rest,) = set(stored[order[kept:]].tolist())
        assert row[order[-1]] <= rest <= row[order[kept]]
        assert stored[row.argmax()] == stored.max()


@given(values=moderate, kept=st.integers(1, 8), task=tasks)
@settings(deadline=None)
def test_the_rest_keeps_its_probability(values: NDArray[np.float16], kept: int, task: str) -> None:
    codes = top_k.encode(values, kept, task)
    exact, stored = (probabilities(v, task) for v in (values, top_k.decode(codes, values.shape[1])))
    for row, p, q in zip(codes[:, :kept].astype(int), exact, stored, strict=True):
        # float16 keeps 11 bits: a logit up to 12 is off by 2^-9 at most, a probability by as much.
        np.testing.assert_allclose(q[row], p[row], rtol=5e-3)
        np.testing.assert_allclose(
            np.delete(q, row).sum(), np.delete(p, row).sum(), rtol=5e-3, atol=1e-6
        )


@given(values=moderate, task=tasks)
@settings(deadline=None)
def test_all_but_one_kept_loses_nothing(values: NDArray[np.float16], task: str) -> None:
    decoded = top_k.decode(top_k.encode(values, values.shape[1] - 1, task), values.shape[1])
    np.testing.assert_allclose(decoded.astype(float), values.astype(float), atol=1e-6)


@given(case=cases(), task=tasks)
@settings(deadline=None)
def test_stored_logits_are_stored_as_themselves(
    case: tuple[NDArray[np.float16], int], task: str
) -> None:
    values, kept = case
    codes = top_k.encode(values, kept, task)
    decoded = top_k.decode(codes, values.shape[1])
    np.testing.assert_array_equal(top_k.requantize_like(decoded, values, kept, task), decoded)


def test_equal_logits_keep_the_class_that_comes_first() -> None:
    codes = top_k.encode(np.array([[1.0, 3.0, 3.0, 3.0, -2.0]]), 2, "single")
    assert codes[0, :2].tolist() == [1, 2]


def test_one_row_is_encoded_as_a_row_of_many() -> None:
    values = np.array([[0.5, -2.0, 4.0], [1.0, 0.0, -1.0]])
    codes = top_k.encode(values, 1, "multi")
    for row, code in zip(values, codes, strict=True):
        np.testing.assert_array_equal(top_k.encode(row, 1, "multi"), code)


def test_a_teacher_that_changes_its_mind_between_equals_is_compared_by_what_is_stored() -> None:
    was, now = np.array([[2.001, 2.0, -5.0, -9.0]]), np.array([[2.0, 2.001, -5.0, -9.0]])
    stored = top_k.decode(top_k.encode(was, 1, "single"), 4)
    fresh = top_k.requantize_like(stored, now, 1, "single")
    np.testing.assert_allclose(fresh.astype(float), stored.astype(float), atol=3e-3)


@pytest.mark.parametrize("kept", [0, 3, 4])
def test_a_k_that_is_no_part_of_the_classes_is_rejected(kept: int) -> None:
    with pytest.raises(ValueError, match=f"got k {kept} of 3"):
        top_k.encode(np.zeros((1, 3)), kept, "single")


def test_a_class_that_is_not_there_is_damage() -> None:
    codes = top_k.encode(np.array([[1.0, 2.0, 3.0]]), 1, "single")
    with pytest.raises(CacheError, match="class 2, the teacher has 2"):
        top_k.decode(codes, 2)
