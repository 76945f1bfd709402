"""What the trainer's augmentations do to cached signals, and which losses can live with that.

A cached signal is true of the samples that the teacher processed. Whatever the trainer itself changes is
therefore declared here with its effect; what no loss supports must be a view, which the teacher
processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache_schema.errors import UsageError, bullet_list
from student.recipes import Recipe

if TYPE_CHECKING:
    from student.losses.interface import DistillationLoss, Effect

REASONS: dict[Effect, str] = {
    "masking": "the student cannot know what it was not shown",
    "mixing": "the teacher processed each clip alone and no mixture",
    "needs a view": "the teacher processed other samples",
}


@dataclass(frozen=True, slots=True)
class Augmentation:
    """An augmentation of the trainer.

    Attributes
    ----------
    effect : Effect
        What it does to cached signals.
    used : callable
        Whether a recipe has it.
    off : str
        Option of ``train-student`` that switches it off.
    view : str
        The same as a step of a view recipe; empty where there is none.
    """

    effect: Effect
    used: Callable[[Recipe], bool]
    off: str
    view: str = ""


AUGMENTATIONS = {
    "band masks": Augmentation(
        "safe", lambda r: r.spec_augment is not None and r.spec_augment.band_masks > 0,
        "--no-spec-augment",
    ),
    "time masks": Augmentation(
        "masking", lambda r: r.spec_augment is not None and r.spec_augment.time_masks > 0,
        "--no-spec-augment",
    ),
    "mixup": Augmentation("mixing", lambda r: r.mixup is not None, "--mixup 0", "mixup"),
}  # fmt: skip


def check_augmentations(recipe: Recipe, losses: Mapping[str, type[DistillationLoss]]) -> None:
    """Reject augmentation that leaves a loss without a true target.

    Parameters
    ----------
    recipe : Recipe
        Of the training.
    losses : mapping
        Its losses by the names that the user gave.

    Raises
    ------
    UsageError
        Naming each augmentation, loss and signal, and the ways out.
    """
    problems, ways = [], ["leave these losses out"]
    for name, augmentation in AUGMENTATIONS.items():
        effect = augmentation.effect
        refused = [key for key, loss in losses.items() if effect not in ("safe", *loss.supports)]
        if not augmentation.used(recipe) or not refused:
            continue
        problems += [
            f"{name} has no target for {key}, which learns from {', '.join(losses[key].signals)}: "
            f"{REASONS[effect]}"
            for key in refused
        ]
        ways.append(f"switch {name} off by the training option {augmentation.off}")
        if augmentation.view:
            ways.append(
                "let the teacher process it, in a new cache: precompute-teacher ... "
                f"--view {augmentation.view} --views 8, and train with {augmentation.off}"
            )
    if problems:
        raise UsageError(
            f"the cached signals do not support this augmentation; {len(problems)} problem(s)\n"
            f"{bullet_list(problems)}\nWays out:\n{bullet_list(ways)}",
            kind="options",
        )
