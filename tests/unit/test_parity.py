"""Outputs of a file and of its student: what is not finite meets no bar, without a warning."""

from __future__ import annotations

import numpy as np

from cache_schema.signal_names import LOGITS
from student.export.parity import _difference, _same_class


def test_infinite_outputs_are_never_alike() -> None:
    infinite = {LOGITS: np.array([[np.inf, 1.0]], np.float32)}
    assert not _difference(infinite, infinite) <= 1e-5
    assert not _same_class(infinite, infinite, tie=1e-5)
