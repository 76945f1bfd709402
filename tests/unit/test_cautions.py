"""Warnings about figures that deserve doubt: at each threshold, with the figure in the message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_cache
from small_cache import copy_small_cache

from cache_schema.cautions import (
    above_teacher,
    below_twin,
    few_clips,
    few_seeds,
    flat_attention,
    flatness,
    imbalance,
    known_groups,
    missing_classes,
    near_chance,
    one_class,
    perfect_teacher,
    shared_groups,
    uneven_steps,
)
from cache_schema.inspection import cache_cautions
from cache_schema.inspection.cache_cautions import corpus_cautions, mean_flatness, teacher_cautions
from cache_schema.reader import open_cache
from student.compare.conditions import parse_condition, signals_as_they_are
from student.compare.row_cautions import row_cautions
from student.compare.statistics import paired
from student.compare.table import TableRow


def test_a_teacher_is_nearly_perfect_from_99_per_cent_on() -> None:
    assert perfect_teacher(None, "accuracy") == perfect_teacher(0.9899, "accuracy") == []
    (message,) = perfect_teacher(0.99, "accuracy")
    assert "nearly perfect on the labelled clips it teaches (accuracy 0.9900 on train" in message
    assert "--views" in message
    (message,) = perfect_teacher(1.0, "accuracy", unlabelled=25)
    assert "more clips without labels than these 25" in message


def test_attention_is_nearly_flat_from_97_per_cent_of_uniform_entropy_on() -> None:
    for share in (None, 0.9699):
        assert flat_attention(share, "a", logits=True) == []
    (message,) = flat_attention(0.97, "temporal_attention", logits=True)
    assert "Learn from its logits, or let it be sharpened" in message
    (without,) = flat_attention(0.97, "temporal_attention", logits=False)
    assert "nothing to give. Let it be sharpened (--distill temporal=W:sharpen=3)" in without
    assert message.startswith(
        "temporal_attention is nearly flat (its entropy is 0.970 of a uniform one's"
    )
    halves = np.array([0.5, 0.5, 0.0, 0.0])
    assert flatness(halves) == pytest.approx(0.5)
    assert flatness(np.ones(1)) is None
    assert flatness(np.zeros(3)) is None


def test_one_class_is_too_few_where_it_is_the_only_answer() -> None:
    assert one_class(("dog", "cat"), "single") == one_class(("dog",), "multi") == []
    assert "(dog)" in one_class(("dog",), "single")[0]


def test_classes_without_clips_are_named_by_split() -> None:
    found = {"train": ["a", "b"], "test": ["a"]}
    assert missing_classes(found, ("a",)) == missing_classes({"train": []}, ("a",)) == []
    assert missing_classes(found, ("a", "b", "c")) == [
        "1 classes have no usable train clip to learn from: c",
        "2 classes have no usable test clip to score them on: b, c",
    ]


def test_classes_are_out_of_balance_from_ten_times_on() -> None:
    for few in ({}, {"a": 5}, {"a": 99, "b": 10, "c": 0}):
        assert imbalance(few, "single") == []
    (of_labels,) = imbalance({"a": 100, "b": 10}, "multi")
    assert of_labels.endswith("(from 10 times on). Look at each class")
    (message,) = imbalance({"a": 100, "b": 10}, "single")
    assert message.startswith("class a has 100 training clips, 10 times the 10 of b")


def named(names: Iterable[str], *labels: str) -> list[tuple[str, tuple[str, ...]]]:
    """Clips of these names with the labels one after the other."""
    return [(name, (labels[n % len(labels)],) if labels else ()) for n, name in enumerate(names)]


@pytest.mark.parametrize(
    ("pattern", "way"),
    [("s{}/a{}.wav", "the folder"), ("yes/s{}_{}.wav", "what a name begins with"),
     ("s{}-{}", "what a name begins with")],
)  # fmt: skip
@pytest.mark.parametrize("labels", [(), ("yes", "no")])
def test_groups_on_both_sides_are_found_in_names(
    pattern: str, way: str, labels: tuple[str, ...]
) -> None:
    def message(*speakers: int) -> list[str]:
        train = [pattern.format(speaker, n) for speaker in range(10) for n in range(3)]
        test = [pattern.format(speaker, 9) for speaker in speakers]
        clips = {"train": named(train, *labels), "test": named(test, *labels)}
        return shared_groups(clips, labels)

    assert message(10, 11, 12, 13, 14) == []
    assert message(1, 20, 21, 22, 23) == []
    (caution,) = message(1, 2, 20, 21, 22)
    start = f"2 of the 5 groups in test that {way} suggests are in train too (s1, s2)"
    assert caution.startswith(start)


def test_running_numbers_classes_and_kinds_of_a_class_are_no_groups() -> None:
    classes = ("dog", "cat", "owl")
    numbered = [(f"{name}/{n}.wav", (name,)) for name in classes for n in range(9)]
    split = {s: [(f"{s}/{name}", labels) for name, labels in numbered] for s in ("train", "test")}
    assert shared_groups(split, classes) == []
    before = [(f"{name}_{n:05}.wav", (name,)) for name in classes for n in range(9)]
    assert shared_groups({"train": before, "test": before}, classes) == []
    coded = [(f"{'dco'.index(name[0])}_ann_{n}.wav", (name,)) for name in classes for n in range(9)]
    bare = named(name for name, _ in coded)
    assert shared_groups({"train": [*coded, *bare], "test": coded}, classes) == []
    unique = named((f"{n}_x.wav" for n in range(50)), "dog", "cat")
    assert shared_groups({"train": unique, "test": unique[:9]}) == []
    words = [(f"{word}/a_{n}.wav", ("rest",)) for word in ("bed", "bird", "six") for n in range(5)]
    assert shared_groups({"train": words, "test": words}, (*classes, "rest")) == []
    # Speakers of all classes that are on one side each, beside words that are on both.
    speakers = [named((f"{who}{n}_a.wav" for n in range(9)), *classes) * 2 for who in ("p", "q")]
    spoken = [(f"{word}_{n}.wav", ("rest",)) for word in ("bed", "bird", "six") for n in range(5)]
    beside = {"train": [*speakers[0], *spoken], "test": [*speakers[1], *spoken]}
    assert shared_groups(beside, (*classes, "rest")) == []


def test_fewer_than_three_seeds_are_few() -> None:
    assert few_seeds(3) == []
    assert few_seeds(2)[0].startswith("2 seeds a side (an interval needs 3)")
    assert few_seeds(1)[0].startswith("1 seed a side")


def test_fewer_than_a_hundred_clips_are_few() -> None:
    assert few_clips(0, "test") == few_clips(100, "test") == []
    assert few_clips(99, "test")[0].startswith("test has 99 labelled clips (fewer than 100)")
    (message,) = few_clips(40, "test")
    assert "of so few a share is known to 15 points (95 %, at one half)" in message


def test_a_student_is_above_its_teacher_and_below_its_twin_by_any_difference() -> None:
    assert above_teacher(0.8, None, "accuracy") == above_teacher(0.8, 0.8, "accuracy") == []
    assert (
        "(accuracy 0.8001) is above its teacher (0.8000)"
        in above_teacher(0.8001, 0.8, "accuracy")[0]
    )
    assert below_twin("a=1", 0.8, 0.8, "accuracy", 3) == []
    assert (
        "(accuracy 0.7999) is below learning from labels alone (0.8000)"
        in (below_twin("a=1", 0.7999, 0.8, "accuracy", 3)[0])
    )
    assert "leave it out" in below_twin("a=1", 0.7, 0.8, "accuracy", 3)[0]
    assert "train 3 seeds before you judge it" in below_twin("a=1", 0.7, 0.8, "accuracy", 1)[0]


def test_trainings_of_other_lengths() -> None:
    assert uneven_steps("a=1", 100, 105) == uneven_steps("a=1", None, 5) == []
    assert uneven_steps("a=1 unlabelled=0", 385, 635)[0].startswith(
        "learning from a=1 unlabelled=0 took 385 steps of training, from labels alone 635: a part of"
    )


def row(
    condition: str, scores: tuple[float, ...], plain: tuple[float, ...], teacher: float
) -> TableRow:
    gain = None if condition == "none" else paired(scores, plain)
    return TableRow(
        "c",
        "tc-resnet",
        parse_condition(condition),
        (condition,),
        "accuracy",
        scores,
        teacher,
        gain,
    )


def test_rows_are_judged_together() -> None:
    plain = (0.6, 0.7, 0.65)
    assert (
        row_cautions([row("none", plain, plain, 0.9), row("sp=1", (0.8, 0.8, 0.8), plain, 0.9)])
        == []
    )
    message = row_cautions(
        [row("none", plain, plain, 0.5), row("sp=1", (0.5, 0.5, 0.5), plain, 0.5)]
    )
    assert [line.split(" (")[0] for line in message] == ["the student alone", "learning from sp=1"]
    assert "0.5000) is below learning from labels alone (0.6500)" in message[1]
    assert row_cautions([row("none", plain[:2], plain[:2], 0.9)])[0].startswith("2 seeds")
    assert row_cautions([]) == []
    taught = replace(row("sp=1", (0.8, 0.8, 0.8), plain, 0.9), steps=385)
    longer = [replace(row("none", plain, plain, 0.9), steps=635), taught]
    assert row_cautions(longer) == uneven_steps("sp=1", 385, 635)
    lost = replace(row("none", plain, plain, 0.9), chance=0.62)  # 0.65 of a possible 0.658
    assert "the student alone is near chance (accuracy 0.6500" in row_cautions([lost])[0]


def test_a_cache_is_judged_by_its_clips_and_its_teachers_answers(tmp_path: Path) -> None:
    cache = open_cache(copy_small_cache(tmp_path / "small.zarr"))
    missing, few = corpus_cautions(cache)  # one of two test clips, the only "no", is quarantined
    assert missing == "1 classes have no usable test clip to score them on: no"
    assert few.startswith("test has 1 labelled clip (fewer than 100)")
    share = mean_flatness(cache, "temporal_attention")
    assert share is not None
    assert 0.5 < share < 1
    assert mean_flatness(cache, "attention_of_nobody") is None
    (message,) = teacher_cautions(cache, "", {"train": 0.995})
    assert message.startswith("the first teacher is nearly perfect")


def test_flat_attention_is_no_caution_where_nothing_learns_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = open_cache(copy_small_cache(tmp_path / "small.zarr"))
    monkeypatch.setattr(cache_cautions, "mean_flatness", lambda cache, signal: 0.99)
    for words, warned in {
        "none": False,
        "logits=1 label=1": False,
        "sp=1 | temporal=1:sharpen=3": False,
        "logits=1 temporal=0.1": True,
        "none | temporal=1": True,
    }.items():
        used = signals_as_they_are([parse_condition(words)])
        message = teacher_cautions(cache, "", {}, used)
        assert ["nearly flat" in line for line in message] == [True] * warned, words
    assert "nearly flat" in teacher_cautions(cache, "", {})[0]


def test_near_chance_is_less_than_a_tenth_of_the_way_from_it() -> None:
    assert near_chance(0.2, None, "d-prime", "the student") == []
    assert near_chance(0.55, 0.5, "mAP", "the student") == []
    (message,) = near_chance(0.5499, 0.5, "mAP", "the student")
    assert message.startswith(
        "the student is near chance (mAP 0.5499, at random 0.5000; up to 0.5500 is"
    )


def test_known_groups_are_on_one_side_and_more_than_one() -> None:
    apart = {"train": ["a", "b"], "validation": [*"cdgh"], "test": [*"efij"]}
    assert known_groups(apart) == known_groups({"train": ["", ""], "test": [""]}) == []
    assert known_groups({"test": ["a", "a"]}) == []
    (message,) = known_groups(apart | {"test": [*"aefi"]})
    assert message.startswith("1 of the 4 groups in test are in train too (a)")
    (message,) = known_groups(apart | {"test": [*"efiB"]})
    assert message.startswith("1 of the 4 groups in test are in train too ('B' = 'b'): the test")
    assert message.endswith("Write a group alike wherever it is")
    (message,) = known_groups(apart | {"validation": [*"cdga"]})
    assert message.startswith("1 of the 4 groups in validation are in train too (a): the epoch")
    (message,) = known_groups(apart | {"test": ["e", "e"]})
    assert message.startswith("test has clips of 1 group alone (e)")
    assert known_groups(apart | {"test": ["e", ""]}) == [], "and of others"
    assert "Let more groups be in it: by the list, or a larger share where" in message
    (message,) = known_groups(apart | {"validation": [*"cdg"]})
    assert message.startswith("validation has clips of 3 groups alone (c, d, g)")


def test_a_cache_is_judged_by_the_groups_it_has(tmp_path: Path) -> None:
    clips = [replace(clip, group=clip.split) for clip in small_cache.clips()]
    cache = open_cache(small_cache.write_small_cache(tmp_path / "c.zarr", clips))
    assert cache.clip_table.clips(0, len(clips)) == clips
    message = corpus_cautions(cache)
    assert any(line.startswith("test has clips of 1 group alone (test)") for line in message)
