"""The tables of a report, without a cache."""

from __future__ import annotations

import json

import numpy as np
from rich.console import Console

from student.evaluation.report import score_document, score_tables
from student.metrics.interface import Predictions


def printed(student: Predictions, teacher: Predictions | None) -> str:
    """The tables as a log has them."""
    console = Console(highlight=False, markup=False, width=120)
    with console.capture() as capture:
        console.print(score_tables(student, teacher))
    return capture.get()


def single_label(classes: int, clips: int) -> Predictions:
    """Clip i has class i; the first clip alone is taken for the second class."""
    labels = np.eye(classes, dtype=bool)[np.arange(clips) % classes]
    logits = labels.astype(float)
    logits[0] = logits[1]
    return Predictions(logits, labels, "single", tuple(f"word-{i}" for i in range(classes)))


def tagged() -> Predictions:
    """Three tags, of which no clip has the last."""
    logits = np.array([[2.0, -1.0, 0.1], [-2.0, 1.0, -1.0]])
    return Predictions(logits, np.array([[1, 0, 0], [0, 1, 0]], bool), "multi", ("a", "b", "[c]"))


def test_the_weakest_class_comes_first_and_one_without_clips_last() -> None:
    lines = printed(tagged(), None).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(" class"))
    assert [line.split()[0] for line in lines[first + 1 : first + 4]] == ["a", "b", "[c]"]
    words = printed(single_label(3, 6), None).splitlines()
    first = next(i for i, line in enumerate(words) if line.startswith(" class"))
    assert [line.split()[0] for line in words[first + 1 : first + 4]] == [
        "word-0", "word-1", "word-2",
    ]  # fmt: skip


def test_a_multi_label_report_reports_that_it_has_no_confusion_matrix() -> None:
    printed_text = printed(tagged(), None)
    assert (
        "No confusion matrix: clips of a multi-label task have several right classes."
        in printed_text
    )
    assert "student: left out, no positives: [c] (mAP, macro-auprc-sonyc)" in printed_text
    assert "The cache has no teacher's logits for these classes." in printed_text


def test_a_teacher_of_some_classes_has_no_score_for_the_others() -> None:
    student = tagged()
    teacher = Predictions(
        student.logits_NC[:, :1], student.labels_NC[:, :1], "multi", ("a",), ("b", "[c]")
    )
    printed_text = printed(student, teacher)
    assert "teacher: covers 1 of 3 classes, not: b, [c]" in printed_text
    rows = {line.split()[0]: line.split()[-1] for line in printed_text.splitlines() if line.strip()}
    assert (rows["a"], rows["b"]) == ("1.0000", "-")


def test_few_classes_have_a_matrix_many_a_list_of_confusions() -> None:
    assert " 1  word-0  1  1  . " in printed(single_label(3, 6), None)
    printed_text = printed(single_label(30, 60), None)
    assert "1 clip(s) taken for another class\n" in printed_text
    assert " word-0  word-1         1 " in printed_text


def test_the_document_is_strict_json() -> None:
    text = json.dumps(score_document(tagged(), single_label(3, 6)), allow_nan=False)
    document = json.loads(text)
    assert document["scores"]["d-prime"] == "inf"
    assert document["left_out_of"]["mAP"] == ["[c]"]
    assert document["teacher_uncovered"] == []
    assert document["per_class"]["student"][2]["recall"] is None
    assert document["confusion"]["student"] is None
    assert document["confusion"]["teacher"][0] == [1, 1, 0]


def test_a_document_without_clips_or_teacher_is_strict_json_too() -> None:
    nobody = Predictions(np.zeros((0, 2)), np.zeros((0, 2), bool), "single", ("a", "b"))
    document = json.loads(json.dumps(score_document(nobody, None), allow_nan=False))
    assert document["scores"]["accuracy"] is None
    assert document["teacher_scores"] is None
    assert document["confusion"]["student"] == [[0, 0], [0, 0]]
