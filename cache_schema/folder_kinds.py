"""What a folder is that was named in the place of another: how to go on with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cache_schema.text import one_line, shell_word

# What a folder of ours holds; nothing else is written inside.
_MARKS = {
    "cache": ("manifest.json", "parts"),
    "run": ("config.json", "training-state.pt"),
    "export": ("card.json", "test_vectors.npz"),
    "teacher": ("config.json", "training.json"),  # one of finetune-teacher's
}
# Reports may be written beside these.
_COMPARISON = ("comparison.json", "runs")
_MAX_CONFIG_BYTES = 1 << 20
_TEACH = "precompute-teacher CORPUS --teacher {} --out CACHE"
_TRAIN = "train-student CACHE --student NAME --out RUN"


def kind_of(folder: Path) -> str | None:
    """Return ``"cache"``, ``"run"``, ``"export"`` or ``"teacher"``; None for any other folder."""
    for kind, names in _MARKS.items():
        if _holds(folder, names):
            return kind
    return None


def _holds(folder: Path, names: Sequence[str]) -> bool:
    return all(os.path.lexists(folder / name) for name in names)


def instead_of_run(path: Path) -> str:
    """Describe a cache, a teacher, an export or a comparison named as a run, with the next command.

    Returns
    -------
    str
        Empty for anything else.
    """
    kind = kind_of(path)
    if kind == "cache":
        way = f"train-student {shell_word(path)} --student NAME --out RUN"
        return f"{path} is a cache, not a run. Train on it: {way}"
    if kind == "export":
        return (
            f"{path} is an exported student, not a run: name the run that it was made of. In ONNX it "
            f"predicts by itself: predict-audio {shell_word(path)} RECORDING"
        )
    if _holds(path, _COMPARISON):
        return (
            f"{path} is a comparison, not a run. Name one of the runs below {path / 'runs'}, or repeat "
            "its compare-students command with --report FILE.html"
        )
    if model := _teacher_model(path):
        return (
            f"{path} is a teacher ({model}), not a run. Let it teach: "
            f"{_TEACH.format(shell_word(path))}, then {_TRAIN}"
        )
    return ""


def instead_of_cache(path: Path) -> str:
    """Describe a run, a teacher, an export or a comparison named as a cache; as `instead_of_run`."""
    kind = kind_of(path)
    if kind == "run":
        return (
            f"{path} is a run, not a cache. Name the cache that it was trained on, for example: "
            f"evaluate-student {shell_word(path)} CACHE"
        )
    if kind == "export":
        return f"{path} is an exported student, not a cache. Name the cache that its run was trained on"
    if _holds(path, _COMPARISON):
        return f"{path} is a comparison, not a cache. Name the cache that its runs were trained on"
    if model := _teacher_model(path):
        way = _TEACH.format(shell_word(path))
        return f"{path} is a teacher ({model}), not a cache. Make one: {way}"
    return ""


def instead_of_teacher(path: Path) -> str:
    """Describe a cache, a run or an export that was named as a teacher; as `instead_of_run` does."""
    kind = kind_of(path)
    if kind in (None, "teacher"):
        return ""
    what = {"cache": "a cache", "run": "a run, of a student", "export": "an exported student"}[kind]
    return (
        f"{path} is {what}, not a teacher. Give a folder made by finetune-teacher or save_pretrained, "
        "or a hub id such as openai/whisper-base"
    )


def _teacher_model(path: Path) -> str:
    """Describe a Hugging Face model with its type; empty for any other folder.

    A hub's snapshot links to its files. Where a link leads to is not ours to show, so nothing of it is.
    """
    config = _config(path)
    model = one_line(config.get("model_type") or config.get("architecture") or "")
    if model and (path / "config.json").is_symlink():
        return "a Hugging Face model"
    return model and f"a Hugging Face model, {model}"


def _config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json``; nothing where it is none."""
    path = folder / "config.json"
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file():
            with path.open("rb") as file:
                config = json.loads(file.read(_MAX_CONFIG_BYTES))
            return config if isinstance(config, dict) else {}
    return {}
