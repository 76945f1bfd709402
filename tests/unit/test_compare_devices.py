"""The trainings of a comparison are divided among GPUs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cache_schema.errors import UsageError
from student.compare import processes
from student.compare.cli import _gpus


class Ended:
    """A process that ended at once."""

    def poll(self) -> int:
        return 0

    wait = poll

    def __enter__(self) -> Ended:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Job(str):
    """A job by its name."""

    @property
    def run(self) -> str:
        return str(self)


def divided(monkeypatch: pytest.MonkeyPatch, at_once: int, gpus: list[str]) -> list[str | None]:
    """The GPU that each of five jobs sees, in their order."""
    jobs = [Job(f"run {n}") for n in range(5)]
    seen: list[str | None] = []

    def started(_: Any, __: Any, environment: dict[str, str]) -> Ended:
        seen.append(environment.get("CUDA_VISIBLE_DEVICES"))
        return Ended()

    monkeypatch.setattr(processes, "_started", started)
    processes.run_jobs(None, lambda: jobs, at_once, lambda *_: None, gpus)  # type: ignore[arg-type]
    return seen


def test_each_gpu_has_as_many_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert divided(monkeypatch, 4, ["0", "2"]) == ["0", "2", "0", "2", "0"]
    assert divided(monkeypatch, 2, ["0", "2"]) == ["0", "2", "0", "2", "0"]
    assert divided(monkeypatch, 2, []) == [None] * 5


def test_gpus_are_those_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _gpus("1, 0") == ["1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _gpus("1") == ["7"], "torch's second is the machine's eighth"
    for wrong in ("0,0", "2", "-1", "cuda", ""):
        with pytest.raises(UsageError, match="torch sees 2, numbered"):
            _gpus(wrong)
