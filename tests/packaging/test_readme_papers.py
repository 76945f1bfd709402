"""The pages name what exists: modules, students, losses, options, presets, metrics."""

from __future__ import annotations

import importlib
import re

import pytest
from pages import PAGES

from student.losses import LOSSES
from student.metrics import METRICS
from student.models import STUDENTS
from student.models.interface import count_parameters_keras
from student.recipes import RECIPES
from student.runs.settings import build_student, parse_distillation

STUDENT = PAGES["student/README.md"]
CODE = [code for page in PAGES.values() for code in re.findall(r"`([^`\n]+)`", page)]
NAMES = sorted({c for c in CODE if re.fullmatch(r"(cache_schema|pipeline|student)(\.\w+)+", c)})
# As `temporal:align=ends`, or `--distill logits=0.5:form=cmkd`; what a signal takes is no loss's.
OPTIONS = sorted(
    {
        match
        for code in CODE
        if not code.startswith("--signal ")
        for match in re.findall(rf"\b((?:{'|'.join(LOSSES)})(?:=[\d.]+)?:\w+=[\w.,=+]+)", code)
    }
)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_on_the_page_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        found = None
    assert found is not None or importlib.import_module(name)


@pytest.mark.parametrize("text", OPTIONS)
def test_every_option_of_a_loss_on_the_page_is_accepted(text: str) -> None:
    name, _, options = text.partition(":")
    weighted = name if "=" in name else f"{name}=0.5"
    assert parse_distillation(f"{weighted}:{options}").name == name.partition("=")[0]


def test_the_page_has_options_and_names_to_check() -> None:
    assert len(NAMES) > 15
    assert len(OPTIONS) > 8


def test_the_table_of_students_has_each_with_its_own_count() -> None:
    table = STUDENT.partition("| student | parameters, 12 classes |")[2].partition("\n\n")[0]
    for name in STUDENTS:
        student = build_student(name, {}, 12)
        starts = "| `" + name.partition("-b")[0]
        row = next((line for line in table.splitlines() if line.startswith(starts)), "")
        assert row, f"{name} has no row in the table of student/README.md"
        assert f"{count_parameters_keras(student):,}" in row, name
        assert f"`{student.front_end}`" in row


def test_every_recipe_is_named() -> None:
    assert [
        name for name in RECIPES if f"`{name}`" not in STUDENT and f" {name}`" not in STUDENT
    ] == []


def test_every_loss_and_metric_is_named() -> None:
    assert [name for name in (*LOSSES, *METRICS) if f"`{name}`" not in STUDENT] == []
