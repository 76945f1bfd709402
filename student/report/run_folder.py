"""What a finished run's folder holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cache_schema.errors import RunError, bullet_list
from cache_schema.plugins import load_plugin
from cache_schema.store.safe_open import check_no_links, read_plain
from student.losses import LOSSES
from student.metrics import load_metric
from student.runs.checkpoint import MAX_JSON_BYTES, anew, named_in, read_json
from student.runs.predict import read_config
from student.runs.run_config import CONFIG
from student.runs.run_result import RESULT, is_outdated, result_problems
from student.runs.settings import student_class
from student.training.loop import METRIC_LINES

_Score = float | str | None


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, _Score]
    epoch: int


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A finished run.

    Attributes
    ----------
    path : Path
        Its folder.
    config, result : dict
        Its settings, and its scores by split.
    history : list of dict
        What was logged of each epoch.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def seed(self) -> int:
        """Seed that it was trained with."""
        return int(self.result["seed"])

    @property
    def distilled(self) -> bool:
        """Whether a teacher taught it."""
        return bool(self.config["distill"])


def read_run_folder(path: Path) -> RunFolder:
    """Read a run's settings, scores and log.

    Raises
    ------
    RunError
        If it is no run, not finished, or damaged.
    """
    config = read_config(path)  # before links are looked for: a model of the hub's cache has some
    check_no_links(path, "run", error=RunError)
    result = read_json(path / RESULT)
    if result is None:
        raise RunError(
            f"{path} is not finished (no {RESULT}). Repeat its train-student command to end it.",
            kind="unfinished",
        )
    if problems := result_problems(result):
        raise _damaged(path / RESULT, problems)
    if is_outdated(result, config):
        raise RunError(
            f"{path} is not finished: its {RESULT} is of {result['epochs']} epochs, and it was given "
            "more since. Repeat its train-student command to end it.",
            kind="unfinished",
        )
    with named_in(path / CONFIG):
        student_class(config["student"])
        for entry in config["distill"]:
            load_plugin(LOSSES, entry["name"], "loss")
    with named_in(path / RESULT):
        load_metric(result["metric"])
    return RunFolder(path, config, result, _read_history(path / METRIC_LINES))


def _read_history(path: Path) -> list[dict[str, Any]]:
    try:
        lines = read_plain(path, MAX_JSON_BYTES).decode().splitlines()
        entries = [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} {error.strerror}", kind="damaged") from None
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not JSON: {error}. {anew(path.parent)}", kind="damaged"
        ) from None
    for entry in entries:
        _check(_Entry, entry, path)
    return entries


def _check(model: type[BaseModel], document: Any, path: Path) -> None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']} (found {e['input']!r:.60})"
            for e in error.errors()
        ]
        raise _damaged(path, problems) from None


def _damaged(path: Path, problems: list[str]) -> RunError:
    return RunError(
        f"{path} is damaged, or another version wrote it\n{bullet_list(problems, 10)}\n"
        f"{anew(path.parent)}",
        kind="damaged",
    )
