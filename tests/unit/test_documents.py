"""Documents: every problem at once, equal documents equal bytes."""

from __future__ import annotations

import json

import pytest
import small_cache

from cache_schema.documents import parse, problems_of
from cache_schema.errors import CacheError
from cache_schema.metadata import CommitRecord, PartPlan
from cache_schema.store.files import sha256


def test_a_document_reads_back_as_itself() -> None:
    plan = small_cache.first_plan()
    assert parse(PartPlan, plan.encode(), "plan") == plan


def test_every_problem_is_reported_with_its_place() -> None:
    document = json.loads(small_cache.first_plan().encode())
    document["seed"] = "seven"
    document["signals"][0]["dtype"] = "float64"
    document["surprise"] = 1
    del document["codec"]
    with pytest.raises(CacheError) as caught:
        parse(PartPlan, json.dumps(document).encode(), "plan.json")
    message = str(caught.value)
    assert "4 problem(s)" in message
    for place in ("seed", "signals.0.dtype", "surprise", "codec"):
        assert f"- {place}: " in message
    assert "float64" in message


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "", "a\\b"])
def test_names_never_leave_their_folder(name: str) -> None:
    document = json.loads(small_cache.first_plan().encode()) | {"name": name}
    assert problems_of(PartPlan, json.dumps(document).encode())
    document = json.loads(small_cache.first_plan().encode())
    document["signals"][1]["name"] = name
    assert problems_of(PartPlan, json.dumps(document).encode())


@pytest.mark.parametrize("name", ["logits@", "logits@B", "logits@first", "logits@a@b", "../x@b"])
def test_a_qualified_signal_ends_in_the_name_of_a_teacher(name: str) -> None:
    document = json.loads(small_cache.first_plan().encode())
    document["signals"] = [document["signals"][0] | {"name": name}]
    assert problems_of(PartPlan, json.dumps(document).encode())
    document["signals"][0]["name"] = "logits@b"
    assert parse(PartPlan, json.dumps(document).encode(), "plan").teacher_name == "b"


def test_a_part_has_signals_of_one_teacher() -> None:
    document = json.loads(small_cache.first_plan().encode())
    document["signals"][0]["name"] = "logits@b"
    (problem,) = problems_of(PartPlan, json.dumps(document).encode())
    assert "one teacher, not of several" in problem


def test_a_unit_larger_than_the_grid_is_a_problem() -> None:
    document = json.loads(small_cache.first_plan().encode()) | {"unit_rows": 2}
    assert "unit_rows is 2" in problems_of(PartPlan, json.dumps(document).encode())[0]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"a":\xff}'])
def test_what_is_no_document_is_a_problem_not_a_traceback(data: bytes) -> None:
    assert problems_of(CommitRecord, data)


def test_a_changed_copy_of_a_plan_has_a_digest_of_its_own() -> None:
    plan = small_cache.first_plan()
    assert plan.digest == sha256(plan.encode())
    copy = plan.model_copy(update={"seed": 8})
    assert copy.digest == sha256(copy.encode()) != plan.digest


@pytest.mark.parametrize(
    ("spec", "teacher"),
    [
        ({"row_shape": [4]}, {}),  # neither classes nor values are whole
        ({"row_shape": [5]}, {}),  # as many as there are classes
        ({"row_shape": [1]}, {}),  # none
        ({"row_shape": [3, 3]}, {}),
        ({"row_shape": [3], "layout": "ragged", "hop_s": 0.02, "first_frame_s": 0.01}, {}),
        ({"row_shape": [3]}, {"classes": ["yes"]}),
    ],
)
def test_a_top_k_that_no_teacher_could_have_given_is_a_problem(
    spec: dict[str, object], teacher: dict[str, object]
) -> None:
    document = json.loads(small_cache.first_plan().encode())
    document["signals"][0] |= {"dtype": "uint16", "row_shape": [3]}
    assert problems_of(PartPlan, json.dumps(document).encode()) == []
    document["signals"][0] |= spec
    document["teacher"] |= teacher
    (problem,) = problems_of(PartPlan, json.dumps(document).encode())
    assert "logits is stored as the top k of a teacher's classes" in problem


def test_what_is_no_json_is_shown_by_its_beginning() -> None:
    [problem] = problems_of(PartPlan, b"")
    assert problem.endswith("(found '')")
    [problem] = problems_of(PartPlan, b"<html>\n" + 200 * b"x")
    assert "(found '<html>\\nxxx" in problem
    assert len(problem) < 160
