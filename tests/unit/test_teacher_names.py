"""Names of further teachers and of their signals."""

from __future__ import annotations

import pytest

from cache_schema.errors import UsageError
from cache_schema.reader import suggested_command
from cache_schema.signal_names import check_teacher_name, qualified, signal_of, teacher_of
from pipeline.teachers import open_teacher


@pytest.mark.parametrize(
    "name", ["", "B", "two words", "b-c", "b_c", "2b", "ä", "b@c", "a/b", "b\n"]
)
def test_what_is_not_one_plain_word_names_no_teacher(name: str) -> None:
    with pytest.raises(UsageError, match="expected one lower-case word") as caught:
        check_teacher_name(name)
    assert repr(name) in str(caught.value)


def test_the_teacher_without_a_name_is_the_only_first() -> None:
    with pytest.raises(UsageError, match="'first'"):
        check_teacher_name("first")


@pytest.mark.parametrize("name", ["b", "large", "whisper2"])
def test_a_signal_and_its_teacher_are_found_in_the_qualified_name(name: str) -> None:
    check_teacher_name(name)
    assert qualified("logits", name) == f"logits@{name}"
    assert signal_of(qualified("logits", name)) == "logits"
    assert teacher_of(qualified("logits", name)) == name


def test_the_command_that_adds_a_signal_is_its_own_teachers() -> None:
    assert suggested_command("mfcc") == "the precompute-teacher command with --signal mfcc"
    words = suggested_command("logits@b")
    assert "--teacher-name b" in words
    assert words.endswith("--signal logits, if its teacher gives that")


def test_classes_that_one_text_cannot_separate_are_named() -> None:
    with pytest.raises(UsageError, match=r"first 'a;b'\. Rename these classes"):
        open_teacher("toy", classes=("a;b", "c"))
    assert open_teacher("toy:classes=b;c", classes=("a;b", "c")).classes == ("b", "c")
