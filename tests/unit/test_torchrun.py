"""What torchrun puts into the environment is checked before a process waits for others."""

from __future__ import annotations

import pytest

from cache_schema.errors import UsageError
from student.training.processes import Processes

SET = {
    "TORCHELASTIC_RUN_ID": "test", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


def processes(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> Processes:
    for name, value in {**SET, **changed}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return Processes.of_torchrun()


def test_a_process_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes(monkeypatch) == Processes(1, 2, 1)
    alone = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    assert processes(monkeypatch, **alone, MASTER_ADDR=None, MASTER_PORT=None) == Processes()
    assert processes(monkeypatch, TORCHELASTIC_RUN_ID=None, RANK="x") == Processes()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RANK", "2", "RANK is '2', expected a number from 0 below WORLD_SIZE (2)"),
        ("RANK", "-1", "RANK is '-1'"),
        ("RANK", None, "RANK is not set"),
        ("LOCAL_RANK", "x", "LOCAL_RANK is 'x'"),
        ("WORLD_SIZE", "-2", "WORLD_SIZE is '-2', expected a number of processes from 1"),
        ("WORLD_SIZE", "9" * 5000, "WORLD_SIZE is '999"),
        ("MASTER_PORT", "65536", "MASTER_PORT is '65536', expected a port of it, from 1 to 65535"),
        ("MASTER_ADDR", "", "MASTER_ADDR is ''"),
    ],
)
def test_a_variable_that_cannot_be_one_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        processes(monkeypatch, **{name: value})
    assert f"\n  - {message}" in str(refused.value)
