"""Two runs are the same: bit by bit, down to what continues them, times left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

RUN_FILES = ("model.safetensors", "result.json", "config.json")


def state_of(run: Path) -> dict[str, Any]:
    """The training state of a run."""
    state: dict[str, Any] = torch.load(run / "training-state.pt", weights_only=True)
    return state


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics, times left out."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_run(run: Path, whole: Path) -> None:
    """The same files of the same content, and no lock is left."""
    assert _names_below(run) == _names_below(whole)
    for name in RUN_FILES:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert metrics_of(run) == metrics_of(whole)
    assert list(_differing(state_of(run), state_of(whole))) == []
    assert not run.with_name(f"{run.name}.lock").exists()


def _names_below(run: Path) -> list[str]:
    """What a run's folder holds, in its folders too."""
    return sorted(str(path.relative_to(run)) for path in run.rglob("*"))


def _differing(one: Any, other: Any, where: str = "state") -> Iterator[str]:
    """Places at which two states differ, times left out."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one.keys() - {"seconds"}:
            yield from _differing(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, yours) in enumerate(zip(one, other, strict=True)):
            yield from _differing(mine, yours, f"{where}[{index}]")
    elif not (torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other):
        yield f"{where}: {one} and {other}"
