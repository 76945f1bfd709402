"""The settings of a training, resolved and comparable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cache_schema.documents import WAVEFORM
from cache_schema.errors import UsageError, listed
from cache_schema.plugins import load_plugin, parse_named_options, typed_options
from cache_schema.reader import Cache
from cache_schema.storage import canonical_json, sha256
from student.losses import LOSSES
from student.models import STUDENTS
from student.models.interface import Student


@dataclass(frozen=True, slots=True)
class Distillation:
    """One weighted loss with its options as given."""

    name: str
    weight: float
    options: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a training's result depends on, beside the cache.

    Attributes
    ----------
    student : str
        Key of ``STUDENTS``.
    distill : tuple of Distillation
        Weighted losses beside the label loss.
    label_weight : float
        Weight of the label loss.
    epochs, batch_size, seed : int
        Length, rows per step, and the seed of everything.
    learning_rate : float
        Of the first step; the last one has the recipe's share of it.
    spec_augment : bool
        Whether to hide stretches of time and bands.
    precision : str
        Lightning Fabric's name for it.
    """

    student: str
    distill: tuple[Distillation, ...] = ()
    label_weight: float = 1.0
    epochs: int
    batch_size: int
    seed: int
    learning_rate: float
    spec_augment: bool
    precision: str = "32-true"

    def resolved(self, cache: Cache) -> dict[str, Any]:
        """Settings and facts of the cache as one JSON document."""
        recipe = student_class(self.student).recipe
        read = {WAVEFORM, student_class(self.student).front_end}
        read |= {name for d in self.distill for name in load_plugin(LOSSES, d.name, "loss").signals}
        # A part that this run does not read may come or go without making it another run.
        entries = zip(cache.parts, cache.manifest.parts, strict=True)
        indexes = [entry.index_sha256 for part, entry in entries if read & set(part.names)]
        return {
            **asdict(self),
            "distill": [asdict(distillation) for distillation in self.distill],
            "optimizer": recipe.optimizer,
            "last_learning_rate": self.learning_rate * recipe.decay,
            "task": cache.task,
            "classes": list(cache.classes),
            "corpus_fingerprint": cache.manifest.corpus.fingerprint,
            "cache_sha256": sha256(canonical_json(indexes)),
            "views": cache.views,
        }


def student_class(name: str) -> type[Student]:
    """Look a student up by name."""
    found: type[Student] = load_plugin(STUDENTS, name, "student")
    return found


def parse_distillation(text: str) -> Distillation:
    """Read ``NAME=WEIGHT[:option=value,...]``.

    >>> parse_distillation("logits=0.5:temperature=4")
    Distillation(name='logits', weight=0.5, options={'temperature': '4'})

    Raises
    ------
    UsageError
        For an unknown loss or option, or a weight that is not a positive number.
    """
    head, options = parse_named_options(text)
    name, _, weight_text = head.partition("=")
    loss = load_plugin(LOSSES, name, "loss")
    try:
        weight = float(weight_text)
    except ValueError:
        weight = float("nan")
    if not 0 < weight < float("inf"):
        raise UsageError(
            f"--distill {text}: expected NAME=WEIGHT with a weight above 0, got {weight_text!r}. "
            f"For example: --distill {name}=0.25",
            kind="options",
        )
    typed_options(loss, options, f"loss {name}")
    return Distillation(name, weight, options)


def resolve_label_weight(distill: tuple[Distillation, ...], given: float | None) -> float:
    """Weight of the label loss: as given, else what the others leave of 1 (a convex sum).

    Raises
    ------
    UsageError
        If the others leave nothing, or a loss is named twice.
    """
    names = [distillation.name for distillation in distill]
    if len(set(names)) < len(names):
        raise UsageError(f"--distill names a loss twice: {', '.join(names)}", kind="options")
    if given is not None:
        return given
    total = sum(distillation.weight for distillation in distill)
    if total > 1:
        parts = [f"{distillation.name}: {distillation.weight}" for distillation in distill]
        raise UsageError(
            f"the weights of --distill add up to {total:g}, which leaves no weight for the labels:\n"
            f"{listed(parts)}\nLower them, or choose an additive sum: --label-weight 1",
            kind="options",
        )
    return 1 - total


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name each setting in which two resolved documents differ, with both values."""
    keys = [key for key in {**before, **now} if key != "cache"]
    return [
        f"{key}: the run has {before.get(key)!r}, asked for {now.get(key)!r}"
        for key in keys
        if before.get(key) != now.get(key)
    ]
