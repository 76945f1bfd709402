"""The view recipe that a plan records, read back: its steps and the numbers they drew for each row.

A recipe is a list of texts, canonical JSON for each step. Caches from before have plain words there
and keep no draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

# The first two columns of `view_draws`: where in its row the clip itself lies.
PLACE = ("clip.start_s", "clip.end_s")
# More than float32 loses on the times of a clip of hours, less than any frame.
ROUNDING_S = 1e-3


class RecipeStep(BaseModel):
    """One step of a recipe: name, options as given, names of its draws, and what it loaded."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    step: str
    options: dict[str, str] = {}
    draws: list[str] = []

    @property
    def loaded(self) -> dict[str, object]:
        """What the step loaded, such as the names of recordings and their digest."""
        return dict(self.model_extra or {})


def read_step(text: str) -> RecipeStep | None:
    """Read a step of a recipe; None for the plain words of an older cache."""
    try:
        return RecipeStep.model_validate_json(text)
    except ValidationError:
        return None


def draw_names(recipe: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of `view_draws`: the clip's place, then ``STEP.NAME`` of each draw.

    A step that the recipe has twice is numbered from the second time on.

    >>> noise = '{"step": "noise", "draws": ["snr_db"]}'
    >>> draw_names([noise, noise])
    ('clip.start_s', 'clip.end_s', 'noise.snr_db', 'noise-2.snr_db')
    """
    names, seen = list(PLACE), Counter[str]()
    for step in filter(None, map(read_step, recipe)):
        seen[step.step] += 1
        again = seen[step.step]
        prefix = step.step if again == 1 else f"{step.step}-{again}"
        names += [f"{prefix}.{draw}" for draw in step.draws]
    return tuple(names)


def place_within(draws_P: NDArray[np.float32], row_s: float) -> tuple[float, float] | None:
    """Where a row's clip lies, in seconds; None where it fills the row or nothing of it is left.

    >>> place_within(np.array([0.5, 1.5, 0.5], np.float32), 2.0)
    (0.5, 1.5)
    >>> place_within(np.array([0.0, 2.0], np.float32), 2.0) is None
    True
    """
    start_s, end_s = float(draws_P[0]), float(draws_P[1])
    return (start_s, end_s) if 0 < end_s - start_s < row_s - ROUNDING_S else None
