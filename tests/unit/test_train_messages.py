"""What train-student reports of a cache whose scores would mislead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from student.training.train import _missing_score_reason, corpus_warnings


def cache(**facts: Any) -> Any:
    """A cache of two clips a split, one of each class."""
    splits, classes = (facts.get(name) for name in ("splits", "classes"))
    splits, classes = splits or ("train", "validation", "test"), classes or ("dog", "cat")
    listed = [SimpleNamespace(name=s, first_clip=2 * n, clips=2) for n, s in enumerate(splits)]
    labels_NC = np.eye(2, dtype=np.uint8)[:, : len(classes)]
    rows = SimpleNamespace(labels=labels_NC, labelled=labels_NC.any(1))
    table = SimpleNamespace(
        labels=lambda first, last: labels_NC,
        groups=lambda first, last: [""] * (last - first),
        strings=lambda column, first, last: [f"{first}.wav", f"{first + 1}.wav"],
    )
    usual = {
        "manifest": SimpleNamespace(corpus=SimpleNamespace(splits=listed)), "clip_table": table,
        "unfinished": (),
        "root": Path("c.zarr"), "classes": ("dog", "cat"), "task": "single",
        "splits": ("train", "validation", "test"), "signals": ("logits", "temporal_attention"),
        "teachers": {"": {"classes": ["dog", "cat"]}},
        "units": lambda split, view: [SimpleNamespace(rows=2)], "read_unit": lambda unit, names: rows,
    }  # fmt: skip
    return SimpleNamespace(**(usual | facts))


def test_a_teacher_without_a_score_is_reported_with_the_true_reason() -> None:
    settings: Any = SimpleNamespace(teacher="", class_map=None)
    assert _missing_score_reason(cache(), settings) == "no labelled clips to score it on"
    assert (
        _missing_score_reason(cache(signals=("temporal_attention",)), settings)
        == "no cached logits"
    )
    other = cache(teachers={"": {"classes": ["Bark", "cat", "Cow"]}})
    assert _missing_score_reason(other, settings) == (
        "its 3 classes lack 1 of the cache's 2, first 'dog'; --class-map FILE.toml can name which stand "
        "for which"
    )


def test_one_class_and_no_validation_are_warned_of() -> None:
    (few,) = corpus_warnings(cache())
    assert few.startswith("c.zarr: test has 2 labelled clips (fewer than 100)")
    one, _ = corpus_warnings(cache(classes=("dog",)))
    assert one.startswith("c.zarr: one class alone (dog): any model is always right")
    (fewer,) = corpus_warnings(cache(classes=("dog",), task="multi"))
    assert fewer.startswith("c.zarr: test has 1 labelled clip (fewer")
    positives_NC, negatives_NC = np.eye(2, dtype=np.uint8), np.zeros((2, 2), np.uint8)
    found = cache(
        units=lambda split, view: [SimpleNamespace(rows=2, split=split)],
        read_unit=lambda unit, names: SimpleNamespace(
            labels=negatives_NC if unit.split == "validation" else positives_NC,
            labelled=np.ones(2, np.bool_),
        ),
    )
    negative = (
        "c.zarr: no clip of validation has any of the classes: no epoch is better by it, and "
    )
    assert f"{negative}the last is kept" in corpus_warnings(found)
    *others, late = corpus_warnings(cache(splits=("train", "test")))
    assert (others, late) == ([few], "c.zarr has no split validation: the last epoch is kept")
