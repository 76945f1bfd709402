"""A run's settings as a user writes them: what it learned from, and the command that trains it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cache_schema.signal_names import FIRST
from student.compare.conditions import LABEL, NONE, UNLABELLED
from student.recipes import RECIPES, Recipe
from student.runs.settings import IN_EPOCHS, LATER_SETTINGS, ROUNDING, Settings, student_class


def learned_from(config: Mapping[str, Any]) -> str:
    """Name what a run learned from beside the labels, as a ``--condition`` of ``compare-students``."""
    words = [_loss_text(entry) for entry in config["distill"]] or [NONE]
    left = 1 - sum(float(entry["weight"]) for entry in config["distill"])
    weight = float(config["label_weight"])
    if config["distill"] and abs(weight - left) > ROUNDING:
        words.append(f"{LABEL}{_number(weight)}")
    if config.get("unlabelled") is not None:
        words.append(f"{UNLABELLED}{config['unlabelled']}")
    return " ".join(words)


def _loss_text(entry: Mapping[str, Any]) -> str:
    options = {str(name): str(value) for name, value in entry["options"].items()}
    if entry["teachers"] != [""]:
        options["teacher"] = "+".join(teacher or FIRST for teacher in entry["teachers"])
    for name in IN_EPOCHS:
        if entry.get(name):
            options[name] = _number(entry[name])
    return f"{entry['name']}={_number(entry['weight'])}{_options_text(options)}"


def student_text(config: Mapping[str, Any]) -> str:
    """Name a student with its options, as ``--student`` takes it."""
    return f"{config['student']}{_options_text(config['student_options'])}"


def _options_text(options: Mapping[str, str]) -> str:
    return ":" + ",".join(f"{name}={value}" for name, value in options.items()) if options else ""


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def train_command(config: Mapping[str, Any], cache: str, out: Path) -> str:
    """Write the command that trains a run again.

    Parameters
    ----------
    config : mapping
        Its ``config.json``.
    cache : str
        Path of the cache.
    out : Path
        Folder of the run.
    """
    words = ["train-student", cache, "--student", student_text(config), "--out", str(out)]
    words += ["--seed", str(config["seed"]), *_distill_words(config)]
    ways = list(_recipe_words(config))
    words += sorted(ways, key=len)[0] if ways else []
    defaults = {field.name: field.default for field in fields(Settings)}
    for option in ("metric", "precision", *LATER_SETTINGS):
        value = config.get(option, defaults[option])
        if value != defaults[option]:
            words += [f"--{option.replace('_', '-')}", str(value)]
    if config["class_map"] is not None:
        words += ["--class-map", "CLASS_MAP.toml"]
    return shlex.join(words)


def _distill_words(config: Mapping[str, Any]) -> Iterator[str]:
    for entry in config["distill"]:
        yield from ("--distill", _loss_text(entry))
    left = 1 - sum(float(entry["weight"]) for entry in config["distill"])
    if abs(float(config["label_weight"]) - left) > ROUNDING:
        yield from ("--label-weight", _number(config["label_weight"]))


def _recipe_words(config: Mapping[str, Any]) -> Iterator[list[str]]:
    """Options that make the run's recipe of the student's own, or of a named one that is like it."""
    wanted = config["recipe"]
    for name, recipe in ({"": student_class(config["student"]).recipe} | RECIPES).items():
        found = _changes(recipe, wanted)
        if found is not None:
            yield [*(["--recipe", name] if name else []), *found]


def _changes(recipe: Recipe, wanted: Mapping[str, Any]) -> list[str] | None:
    """Options that turn a recipe into the wanted one; None where there are none."""
    own = asdict(recipe)
    words: list[str] = []
    for name, value in own.items():
        if _alike(value, wanted.get(name)):
            continue
        changed = _option(name, wanted.get(name))
        if changed is None:
            return None
        words += changed
    return words


def _alike(one: Any, other: Any) -> bool:
    return (
        list(one) == list(other) if isinstance(one, tuple) and other is not None else one == other
    )


def _option(name: str, value: Any) -> list[str] | None:
    """Write one setting of a recipe as an option; None where the command line has none for it."""
    if name in ("epochs", "batch_size"):
        return [f"--{name.replace('_', '-')}", str(value)]
    if name == "learning_rate":
        return ["--learning-rate", _number(value)]
    if name == "mixup":
        return ["--mixup", _number(value or 0)]
    if name == "spec_augment":
        return ["--no-spec-augment"] if value is None else ["--spec-augment"]
    if name == "average":
        key = {"ema": "decay", "last": "share"}
        text = (
            "none" if value is None else f"{value['kind']}:{key[value['kind']]}={value['amount']}"
        )
        return ["--average", text]
    kinds = {("last",): "exponential:last", ("floor",): "cosine:floor"}
    if name == "schedule" and tuple(value) in kinds:
        ((_, share),) = value.items()
        return ["--schedule", f"{kinds[tuple(value)]}={_number(share)}"]
    return None
