"""Finished runs as lines of a file that outlives their folders and the machine they ran on.

A line holds what a run depended on, what it scored, and which clips it had right. Runs are found by a
key: a digest of the settings and of what the run reads of its cache. A fine-tuned teacher counts by
what trained it, not by its weights, which differ by rounding between machines; each line keeps the
digest of the weights too. Lines are only ever added, so two machines' files can be merged line by line.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cache_schema.errors import MAX_LISTED, RunError, bullet_list
from cache_schema.reader import Cache
from cache_schema.signal_names import teacher_of
from cache_schema.store.files import canonical_json, named_in_errors, sha256
from cache_schema.store.safe_open import open_for_writing, read_plain
from student.runs.run_result import MAX_STEPS, STEPS
from student.runs.settings import Settings, distillation_as_json, student_class

TRAINING_REVISION = 1
"""Raised when a change of code changes what a training learns: lines of before are not found then."""

LIBRARIES = ("aftersound", "torch", "numpy")
DECIMALS = 5
CURVES = ("train_loss_total", "validation_")


def run_facts(cache: Cache, settings: Settings) -> dict[str, Any]:
    """Everything a run's result depends on but for the rounding of machines."""
    return {
        "training_revision": TRAINING_REVISION,
        "cache": _cache_facts(cache, settings),
        "settings": settings_facts(settings),
        **settings.origins,
    }


def settings_facts(settings: Settings) -> dict[str, Any]:
    """Settings of a run as a line has them."""
    facts = {
        **settings.as_json(),
        "distill": [distillation_as_json(entry) for entry in settings.distill],
    }
    return json.loads(json.dumps(facts))  # type: ignore[no-any-return]


def run_key(facts: Mapping[str, Any]) -> str:
    """Name a run's facts."""
    return sha256(canonical_json(facts))


def _cache_facts(cache: Cache, settings: Settings) -> dict[str, Any]:
    """What a run reads of its cache."""
    plan = cache.parts[0].plan
    signals = sorted({signal for entry in settings.distill for signal in entry.signals})
    return {
        "corpus_fingerprint": cache.manifest.corpus.fingerprint,
        "view_recipe_sha256": sha256(canonical_json(list(plan.view_recipe))),
        "view_seed": plan.seed,
        "views": cache.views,
        "front_end": student_class(settings.student).front_end,
        "signals": {name: cache.signals[name].dtype for name in signals if name in cache.signals},
        "teachers": {
            name: _teacher_facts(cache.teachers[name])
            for name in sorted({teacher_of(signal) for signal in signals})
            if name in cache.teachers
        },
    }


def _teacher_facts(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """Who a teacher is: what trained it, or where nothing is recorded of that, its weights."""
    trained = teacher.get("fine_tuning_sha256")
    identity = (
        {"weights_sha256": teacher.get("weights_sha256")}
        if trained is None
        else {"fine_tuning_sha256": trained}
    )
    return {**identity, "pooling": teacher.get("pooling"), "options": teacher.get("options", {})}


class Ledger:
    """The lines of a file; a file that does not exist has none.

    Parameters
    ----------
    path : Path
        One JSON object a line.

    Raises
    ------
    RunError
        Kind ``"ledger"``, naming every line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def lines(self) -> dict[str, dict[str, Any]]:
        """Lines by their run's key, the last one of each."""
        content = read_plain(self.path) if os.path.lexists(self.path) else b""
        found, problems = dict[str, dict[str, Any]](), []
        # Not str.splitlines: names within JSON may hold separators of lines that are no newline.
        for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1):
            if not line and not content:
                break
            try:
                entry = json.loads(line.decode())
                _check_result(entry["result"])
                found[str(entry["key"])] = entry
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                problems.append(f"line {number}: {line[:60].decode(errors='replace')!r}")
        if problems:
            way = "Delete them, or name another --ledger." if found else "Name another --ledger."
            raise RunError(
                f"{self.path} holds {len(problems)} line(s) that are no finished run\n"
                f"{bullet_list(problems, MAX_LISTED)}\n{way}",
                kind="ledger",
            )
        return found

    def result(self, key: str) -> dict[str, Any] | None:
        """Give a run's result as its ``result.json`` held it, wherever it ran."""
        line = self.lines.get(key)
        return None if line is None else dict(line["result"])

    def of_cache(self, name: str, settings: Settings) -> dict[str, Any] | None:
        """Find the line of a run by the name of its cache, where the cache itself is not there."""
        wanted = settings_facts(settings)
        found = [
            line
            for line in self.lines.values()
            if line["cache_name"] == name
            and line["facts"]["settings"] == wanted
            and line["facts"]["training_revision"] == TRAINING_REVISION
        ]
        return found[-1] if found else None

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line, unless the file has the very same result."""
        if self.result(line["key"]) == line["result"]:
            return
        self.lines[line["key"]] = dict(line)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with named_in_errors(self.path), open_for_writing(self.path, "ab") as file:
            _append_whole(file.fileno(), canonical_json(line))


def _append_whole(descriptor: int, line: bytes) -> None:
    """Append a line, or on a full disk nothing: half a line would be none's."""
    before, written = os.fstat(descriptor).st_size, 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _check_result(result: Mapping[str, Any]) -> None:
    """Look at what tables read of a result; raises what a wrong kind of value makes of it."""
    if not 0 <= int(result.get(STEPS) or 0) <= MAX_STEPS:
        raise ValueError("no number of steps")
    for split in result["splits"].values():
        for scores in (split.get("scores") or {}, split.get("teacher_scores") or {}):
            for score in scores.values():
                float(0 if score is None else score)
        float(split["score"] if split.get("score") is not None else 0)
        if "right" in split and 8 * len(bytes.fromhex(split["right"])) < int(split["clips"]):
            raise ValueError("fewer bits than clips")


def ledger_line(
    name: str,
    cache: Cache,
    facts: Mapping[str, Any],
    result: Mapping[str, Any],
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write a finished run down.

    Parameters
    ----------
    name : str
        The cache's name in tables.
    cache : Cache
        What the run read.
    facts : mapping
        As `run_facts` gives them.
    result : mapping
        Content of ``result.json``.
    history : list of dict
        Lines of ``metrics.jsonl``.
    """
    teachers = {
        teacher: {key: known.get(key) for key in ("id", "weights_sha256", "libraries")}
        for teacher, known in cache.teachers.items()
    }
    return json.loads(  # type: ignore[no-any-return]
        json.dumps(
            {
                "key": run_key(facts),
                "cache_name": name,
                "facts": facts,
                "teachers": teachers,
                "result": result,
                "curves": _curves(history),
                "seconds": round(sum(entry["seconds"] for entry in history), 1),
                "versions": {name: version(name) for name in LIBRARIES},
                "machine": f"{platform.machine()} {platform.processor()}".strip(),
            }
        )
    )


def _curves(history: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Training loss and validation score of each epoch, rounded."""
    curves: dict[str, list[float]] = {}
    for entry in history:
        for name, value in entry.items():
            if name.startswith(CURVES):
                curves.setdefault(name, []).append(round(float(value), DECIMALS))
    return curves
