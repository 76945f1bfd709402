"""The scores that choose the best weights."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetune.metrics import macro_average_precision, top_1_accuracy

FLOAT32 = 2e-6  # torchmetrics sums in float32


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_average_precision_agrees_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    if labels.any():
        expected = sklearn.metrics.average_precision_score(labels, scores)
        value = macro_average_precision(scores[:, None], labels[:, None])
        assert value == pytest.approx(expected, abs=FLOAT32)


def test_scores_by_hand() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    labels = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert top_1_accuracy(logits, labels) == pytest.approx(2 / 3)
    assert macro_average_precision(logits, labels) == pytest.approx((5 / 6 + 5 / 6) / 2)
