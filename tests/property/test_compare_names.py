"""Conditions are read as they were written, and no two texts share a folder."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.errors import UsageError
from student.compare.conditions import (
    LADDER,
    NONE,
    Condition,
    folder_name,
    parse_condition,
    parse_losses,
    train_arguments,
)
from student.runs.settings import resolve_label_weight

FILE_NAME_BYTES = 255
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
near = st.text(alphabet="a~%./ :=", min_size=1, max_size=6)
weights = st.floats(0.001, 1000).map(lambda weight: f"{weight:g}")
losses = st.sampled_from(["temporal", "logits", "sp", "iusp"])


@st.composite
def alternatives(draw: st.DrawFn) -> str:
    """None, or a sum of different losses that may give the weight of the labels."""
    names = draw(st.lists(losses, unique=True, max_size=4))
    words = [f"{name}={draw(weights)}" for name in names]
    if words and draw(st.booleans()):
        words.insert(draw(st.integers(0, len(words))), f"label={draw(weights)}")
    words = words or [NONE]
    if draw(st.booleans()):
        words.insert(draw(st.integers(0, len(words))), f"unlabelled={draw(st.integers(0, 999))}")
    return " ".join(words)


@given(st.lists(alternatives(), min_size=1, max_size=4, unique=True), st.integers(1, 3))
def test_a_condition_is_read_as_it_is_given(several: list[str], spaces: int) -> None:
    text = "|".join(one.replace(" ", " " * spaces) for one in several)
    condition = parse_condition(text)
    assert condition == Condition(tuple(several))
    assert parse_condition(str(condition)) == condition


@given(st.lists(weights, min_size=1, max_size=3, unique=True), st.integers(1, 9), st.booleans())
def test_lists_stand_for_every_combination(
    several: list[str], temperature: int, label: bool
) -> None:
    more = " label=1;2" if label else ""
    condition = parse_condition(
        f"logits={';'.join(several)}:temperature={temperature};10{more} | none"
    )
    ends = [" label=1", " label=2"] if label else [""]
    assert condition.alternatives == (
        *(
            f"logits={w}:temperature={t}{e}"
            for w in several
            for t in (temperature, 10)
            for e in ends
        ),
        NONE,
    )
    assert parse_condition(str(condition)) == condition


@given(alternatives())
def test_the_words_for_the_trainer_give_the_same_losses(alternative: str) -> None:
    words = train_arguments(alternative)
    arguments = dict.fromkeys(words[::2])
    given = [w for flag, w in zip(words[::2], words[1::2], strict=True) if flag == "--distill"]
    assert [f"{loss.name}" for loss in parse_losses(alternative)] == [
        w.split("=")[0] for w in given
    ]
    assert set(arguments) <= {"--distill", "--label-weight", "--unlabelled"}
    assert ("--label-weight" in arguments) == (" label=" in f" {alternative}")
    assert ("--unlabelled" in arguments) == ("unlabelled=" in alternative)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "got ''"),
        ("temporal=0.1 |", "got ''"),
        ("label=1", "got 'label=1'"),
        ("temporal=0.1 label=1 label=2", "at most one label=WEIGHT"),
        ("none label=1", "got 'none label=1'"),
        ("none none", "expected none"),
        ("unlabelled=3", "got 'unlabelled=3'"),
        ("none unlabelled=3 unlabelled=3", "at most one unlabelled=CLIPS"),
        ("temporal", "expected NAME=WEIGHT"),
        ("sp=30 temporal label=1", "loss 'temporal': expected NAME=WEIGHT"),
        ("temporal=0.1 label=1 logits", "loss 'logits': expected NAME=WEIGHT"),
        ("temporal=0.1 label=1; 2", "unknown loss '2'"),
        ("temporal=0.1;", "expected NAME=WEIGHT"),
        ("temporal=0.1:sharpen=1;x", "sharpen"),
        ("none temporal=0.1", "unknown loss 'none'"),
        ("tempral=0.1", "Did you mean 'temporal'?"),
    ],
)
def test_what_is_no_condition_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_condition(text)
    assert reason in str(refused.value)


def test_the_usual_ladder_sums_to_one_or_reports_the_weight_of_the_labels() -> None:
    for text in LADDER:
        if "label=" not in text:
            assert 0 < resolve_label_weight(parse_losses(text), None) <= 1


@given(texts | near, texts | near)
def test_other_texts_have_other_folders(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


@given(texts | near)
def test_a_folder_is_one_safe_name(text: str) -> None:
    name = folder_name(text)
    assert set(name) <= {*string.ascii_letters, *string.digits, *"-_.~%=,+:@"}
    assert not name.startswith(".")
    assert 0 < len(f"{name}.lock".encode()) <= FILE_NAME_BYTES


def test_a_long_sum_keeps_its_beginning_and_differs_by_its_end() -> None:
    first, second = (" ".join(["temporal=0.1"] * 20 + [end]) for end in ("sp=1", "sp=2"))
    assert folder_name(first) != folder_name(second)
    assert folder_name(first).startswith("temporal=0.1~temporal=0.1~")
