"""What memory refuses, in Python or in torch, is reported as such and never taken for damage."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from cache_schema.command_line.command import Command
from cache_schema.errors import RunError
from student.models.tc_resnet import TCResNet
from student.runs import checkpoint

ERRORS: list[Exception] = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    ImportError("/lib/libx.so: failed to map segment from shared object"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


@pytest.fixture(params=ERRORS, ids=lambda error: f"{error}"[:20])
def refused(request: pytest.FixtureRequest) -> Exception:
    error: Exception = request.param
    return error


def test_a_command_reports_it(refused: Exception) -> None:
    @click.command(cls=Command, name="learn", goes_on=True)
    def learn() -> None:
        raise refused

    found = CliRunner().invoke(learn)
    assert found.exit_code == 1
    assert found.output.startswith("learn: there is not enough memory. What was finished is kept.")
    assert found.output.endswith("and repeat the command.\n")


def test_a_state_of_a_training_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Exception
) -> None:
    checkpoint.save_state(tmp_path, {"steps": 1})

    def refuse(*_: object, **__: object) -> None:
        raise refused

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(type(refused)) as caught:
        checkpoint.load_state(tmp_path)
    assert caught.value is refused


def test_weights_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Exception
) -> None:
    checkpoint.save_weights(tmp_path, TCResNet(2))
    config = {"student": "tc-resnet", "student_options": {}, "classes": ["a", "b"]}
    checkpoint.load_student(tmp_path, config)

    def refuse(*_: object, **__: object) -> None:
        raise refused

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", refuse)
    with pytest.raises(type(refused)) as caught:
        checkpoint.load_student(tmp_path, config)
    assert caught.value is refused
    monkeypatch.undo()
    with pytest.raises(RunError, match="does not hold the weights"):
        checkpoint.load_student(tmp_path, config | {"classes": ["a", "b", "c"]})
