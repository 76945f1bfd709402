"""Every comparison of the experiments: its caches, what makes them, its ladder and its ledger."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labels
import mixtures
import noisy_keywords
import sounds
import spoken_digits
import unlabelled

from student.compare.conditions import parse_condition
from student.compare.ledger import Ledger
from student.compare.runs import Comparison, Run

HERE = Path(__file__).resolve().parent
ALL_LABELS = "2s"
"""The cache of the noisy keywords in which all speakers are labelled."""
SOUNDS = tuple(f"fold-{fold}" for fold in sounds.FOLDS)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A ladder on some caches.

    Attributes
    ----------
    caches : tuple of str
        Their names in tables, and in the work folder without ``.zarr``.
    make : callable
        Makes one of them: takes the shared folder, the work folder and the name.
    ladder : str
        TOML file beside this one that ``compare-students`` takes as ``--config``.
    results : str
        Ledger in ``results/``; several experiments may have the same.
    """

    caches: tuple[str, ...]
    make: Callable[[Path, Path, str], None]
    ladder: str
    results: str

    @property
    def config(self) -> dict[str, Any]:
        """Content of the ladder's file."""
        return tomllib.loads((HERE / self.ladder).read_text(encoding="utf-8"))

    @property
    def ledger(self) -> Ledger:
        """Its finished runs, and others'."""
        return Ledger(HERE / "results" / self.results)

    def comparison(self) -> Comparison:
        """What ``compare-students`` compares, for looking runs up where no cache is."""
        config = self.config
        return comparison_of(
            self.caches, config["student"], config["condition"], config.get("seeds", 3),
            config.get("train", ""),
        )  # fmt: skip

    def lines_found(self) -> dict[Run, dict[str, Any] | None]:
        """Line of each run that the ledger has."""
        comparison, ledger = self.comparison(), self.ledger
        return {
            run: ledger.of_cache(run.cache, comparison.settings(run)) for run in comparison.runs()
        }

    def results_found(self) -> dict[Run, dict[str, Any] | None]:
        """Result of each run that the ledger has."""
        lines = self.lines_found()
        return {run: None if line is None else line["result"] for run, line in lines.items()}


def comparison_of(
    caches: tuple[str, ...], students: list[str], conditions: list[str], seeds: int, train: str
) -> Comparison:
    """Name runs as ``compare-students`` does."""
    named = {name: Path(f"{name}.zarr") for name in caches}
    words = tuple(train.split())
    return Comparison(
        Path(), named, tuple(students), tuple(map(parse_condition, conditions)), seeds, words
    )


def _noisy(shared: Path, work: Path, name: str) -> None:
    noisy_keywords.make(shared, work, int(name.removesuffix("s")))


def _labels(shared: Path, work: Path, name: str) -> None:
    if name == ALL_LABELS:
        _noisy(shared, work, name)
    else:
        labels.make(shared, work, int(name.removeprefix("labels-")))


def _digits(shared: Path, work: Path, name: str) -> None:
    spoken_digits.make(shared, work, name.removeprefix("digits-"))


EXPERIMENTS = {
    "labels": Experiment(
        ("labels-5", "labels-25", ALL_LABELS), _labels, "labels.toml", "keywords.jsonl"
    ),
    "unlabelled": Experiment(
        ("words",),
        lambda shared, work, _: unlabelled.make(shared, work),
        "unlabelled.toml",
        "unlabelled.jsonl",
    ),
    "digits": Experiment(
        tuple(f"digits-{speaker}" for speaker in spoken_digits.SPEAKERS),
        _digits,
        "digits.toml",
        "digits.jsonl",
    ),
    "sharpen": Experiment(("2s",), _noisy, "sharpen.toml", "keywords.jsonl"),
    "temporal": Experiment(("2s",), _noisy, "temporal.toml", "keywords.jsonl"),
    "evidence": Experiment(("2s",), _noisy, "evidence.toml", "keywords.jsonl"),
    "targets": Experiment(
        tuple(noisy_keywords.OTHER_TARGETS),
        noisy_keywords.make_other_target,
        "targets.toml",
        "keywords.jsonl",
    ),
    "noisy": Experiment(("2s", "8s", "4s"), _noisy, "noisy.toml", "keywords.jsonl"),
    "sounds": Experiment(SOUNDS, sounds.make, "sounds.toml", "sounds.jsonl"),
    "cmkd": Experiment(SOUNDS, sounds.make, "cmkd.toml", "sounds.jsonl"),
    "cmkd-cnn": Experiment((sounds.CNN_FOLD,), sounds.make_cnn, "cmkd-cnn.toml", "sounds.jsonl"),
    "mixtures": Experiment(
        ("mixtures",),
        lambda shared, work, _: mixtures.main(shared, work),
        "mixtures.toml",
        "mixtures.jsonl",
    ),
}
