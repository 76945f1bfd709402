"""An ensemble averages what its members output, and rejects members that do not fit together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from pipeline.teachers import Task, open_teacher
from pipeline.teachers.ensemble import EnsembleTeacher
from pipeline.teachers.toy import ToyTeacher


def noise(samples: int = 8_000) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


def test_columns_are_matched_by_name() -> None:
    """The logits of toy depend on the position of a class, so order is visible."""
    first, second = ToyTeacher(classes="a;b;c"), ToyTeacher(classes="c;a;b")
    ensemble = EnsembleTeacher([first, second])
    one, two, both = (
        t.infer([noise()], ["logits"])[0]["logits"] for t in (first, second, ensemble)
    )
    assert ensemble.classes == ("a", "b", "c")
    np.testing.assert_allclose(both, (one + two[[1, 2, 0]]) / 2, rtol=1e-6)


def test_attention_is_averaged_where_all_have_it_on_the_same_frames() -> None:
    ensemble = EnsembleTeacher([ToyTeacher(), ToyTeacher()])
    assert set(ensemble.signals) == {"logits", "temporal_attention", "attention_dropped_mass"}
    assert ensemble.provenance["attention"] == "mean"
    ours, toys = (
        t.infer([noise()], ["temporal_attention", "attention_dropped_mass"])[0]
        for t in (ensemble, ToyTeacher())
    )
    for name, value in toys.items():
        np.testing.assert_array_equal(ours[name], value)
        assert ensemble.row_shape(name, 8_000) == value.shape


def test_a_signal_of_its_members_that_has_no_mean_is_rejected() -> None:
    with pytest.raises(UsageError, match="unknown signal of teacher ensemble 'layer_attention'"):
        EnsembleTeacher([ToyTeacher(), ToyTeacher()]).infer([noise()], ["layer_attention"])


def test_all_differences_are_listed() -> None:
    odd = ToyTeacher(classes="loud;hum", task="multi", sample_rate_hz=8_000)
    with pytest.raises(UsageError) as raised:
        EnsembleTeacher([ToyTeacher(), ToyTeacher(), odd])
    message = str(raised.value)
    for part in ("only toy has quiet", "only toy has hum", "single", "multi", "16000", "8000"):
        assert part in message


@pytest.mark.parametrize("text", ["ensemble", "ensemble:members=toy", "ensemble:members="])
def test_fewer_than_two_members_are_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="two or more members"):
        open_teacher(text)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_members_are_opened_with_the_corpus_classes(task: Task) -> None:
    ensemble = open_teacher("ensemble:members=toy;toy", classes=("x", "y"), task=task)
    assert (ensemble.classes, ensemble.task, ensemble.batching) == (("x", "y"), task, "near")
    members = ensemble.provenance["members"]
    assert [member["family"] for member in members] == ["toy", "toy"]
    assert not any("id" in member for member in members)


def test_a_member_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        open_teacher("ensemble:members=toy;nowhere")


def test_an_option_that_is_not_its_own_is_rejected() -> None:
    with pytest.raises(UsageError, match="residual"):
        open_teacher("ensemble:members=toy;toy", {"residual": "false"})


def test_toy_names_no_class_twice() -> None:
    with pytest.raises(UsageError, match="names a class twice: a"):
        ToyTeacher(classes="a;b;a")
