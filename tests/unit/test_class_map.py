"""Class maps: a teacher's classes as a student's, and what is left uncovered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache_schema.errors import UsageError
from cache_schema.toml_text import toml_document
from student.stream.class_map import build_class_map, check_names, coverage_report, read_class_map

TEACHER = ["Bark", "Howl", "Rain", "sea"]
STUDENT = ["dog", "rain", "sea", "train"]


def test_without_a_map_every_class_must_be_the_teachers() -> None:
    same = build_class_map(["no", "yes"], ["yes", "maybe", "no"], None, "single")
    assert same.apply(np.array([[1.0, 2.0, 3.0]])).tolist() == [[3.0, 1.0]]
    with pytest.raises(
        UsageError, match=r"lack 3 of 4 classes: dog, rain, train(.|\n)*--class-map"
    ):
        build_class_map(STUDENT, TEACHER, None, "single")


def test_classes_that_differ_in_their_writing_alone_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        build_class_map(["Ku\u0308he", "rain"], ["K\u00fche", "Rain ", "sea"], None, "single")
    message = str(caught.value)
    assert r"'Ku\u0308he' and the teacher's 'K\xfche'; 'rain' and the teacher's 'Rain '" in message
    assert (
        "differ in case, Unicode form, blanks, apostrophes, hyphens or unseen marks alone"
        in message
    )


def test_a_map_covers_what_it_names_and_what_is_called_the_same() -> None:
    found = build_class_map(STUDENT, TEACHER, {"dog": ["Howl", "Bark"], "rain": ["Rain"]}, "multi")
    assert found.covered == (0, 1, 2)
    assert found.columns == ((1, 0), (2,), (3,))


def test_each_of_several_teachers_takes_from_the_map_what_is_its_own() -> None:
    names = {"dog": ["Bark", "Hund", "Bark"], "rain": ["Regen"]}
    assert build_class_map(STUDENT, TEACHER, names, "single").columns == ((0,), (3,))
    german = build_class_map(STUDENT, ["Hund", "Regen"], names, "single")
    assert (german.covered, german.columns) == ((0, 1), ((0,), (1,)))
    own = build_class_map(STUDENT, STUDENT, names, "single")
    assert own.columns == ((0,), (1,), (2,), (3,))


def test_several_teacher_classes_add_their_probabilities_or_the_highest_counts() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float16))
    names = {"dog": ["Howl", "Bark"], "rain": ["Rain"]}
    single = build_class_map(STUDENT, TEACHER, names, "single").apply(logits)
    np.testing.assert_allclose(np.exp(single), [[0.3, 0.3, 0.4]], atol=1e-3)
    multi = build_class_map(STUDENT, TEACHER, names, "multi").apply(logits)
    np.testing.assert_allclose(np.exp(multi), [[0.2, 0.3, 0.4]], atol=1e-3)


def test_the_report_names_what_is_not_covered_and_what_is_not_used() -> None:
    found = build_class_map(STUDENT, TEACHER, {"dog": ["Bark"], "sea": []}, "single")
    assert coverage_report(found, STUDENT, TEACHER) == [
        "the teacher covers 1 of 4 classes",
        "  dog: Bark",
        "  rain: not covered, learned from labels alone",
        "  sea: not covered, learned from labels alone",
        "  train: not covered, learned from labels alone",
        "  3 of the teacher's classes are not used: Howl, Rain, sea",
    ]


def test_every_unknown_name_is_listed_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"2 problem(.|\n)*'dogs'(.|\n)*'Barks'(.|\n)*'Bark'"):
        check_names({"dogs": ["Bark"], "dog": ["Barks"]}, STUDENT, TEACHER)
    check_names({"dog": ["Bark"], "sea": []}, STUDENT, TEACHER)
    with pytest.raises(UsageError, match=r"'no\\u0308' and 'n\\xf6' differ in case, Unicode form"):
        check_names({"no\u0308": ["Bark"]}, ["n\u00f6", "noe"], TEACHER)
    with pytest.raises(UsageError, match="covers none of the classes"):
        build_class_map(["a"], ["b"], {}, "single")


def test_a_file_holds_names_or_lists_of_them(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('\ufeffdog = ["Bark", "Howl"]\n"rain" = "Rain"\n', encoding="utf-8")
    assert read_class_map(path) == {"dog": ["Bark", "Howl"], "rain": ["Rain"]}
    path.write_text("dog = 3\nrain = [1]\n")
    with pytest.raises(UsageError, match=r"dog = 3(.|\n)*rain = \[1\]"):
        read_class_map(path)
    path.write_text('כן = "yes"', encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"not TOML.* stands in straight quotes: \"two words\" = \"word\""
    ):
        read_class_map(path)
    path.write_text('a = "b"\n"kötü" = "bad"', encoding="cp1254")
    with pytest.raises(UsageError, match=r"not TOML: not UTF-8 text \(line 2, .*1254 Turkish"):
        read_class_map(path)
    path.write_text('"כן" = "yes"', encoding="utf-8")
    assert read_class_map(path) == {"כן": ["yes"]}


def test_a_name_of_thousands_of_parts_takes_no_minutes(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    for part, dot in (("a", "."), ('"a b"', "."), ("a", " . ")):
        file.write_text(dot.join([part] * 20_000) + ' = "dog"\n')
        with pytest.raises(UsageError, match="a name of more than 100 parts"):
            toml_document(file.read_bytes(), file)
    file.write_text(f'x = "{"a" * 1_000_000}"\n')
    assert toml_document(file.read_bytes(), file)
    file.write_text('a.b = "1.2.3"\n')
    assert toml_document(file.read_bytes(), file) == {"a": {"b": "1.2.3"}}


def test_classes_of_a_teacher_forge_no_line() -> None:
    for names in (None, {"dog": ["cat"]}):
        with pytest.raises(UsageError) as caught:
            build_class_map(["dog"], ["u\np", "x"], names, "single")
        assert "u\\np" in str(caught.value)
        assert "u\np" not in str(caught.value)
