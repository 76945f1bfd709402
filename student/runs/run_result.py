"""What is relied on in a run's ``result.json``, and whether it is the last word of its run."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

RESULT = "result.json"
# Of a finished run that was given more epochs: after which ones it was finished.
EXTENDED = "extended_after_epochs"
# How many epochs a result's training was to take; patience may have ended it before.
PLANNED = "planned_epochs"
# Updates of the weights that led to it, those after the best epoch among them.
STEPS = "steps"
# Length of nearly all clips that were learned from, in seconds; of clips of many lengths there is none.
CLIP_S = "clip_s"
# Far above any training's: more would be none of ours, and no float or number of samples.
MAX_STEPS, MAX_CLIP_S = 2**53, 1e6

_Score = float | str | None


class _Split(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    score: _Score
    teacher_score: _Score
    scores: dict[str, _Score]
    teacher_scores: dict[str, _Score] | None
    clips: Annotated[int, Field(ge=0)]


class _Result(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    metric: str
    splits: dict[str, _Split]
    seed: int
    best_epoch: int
    epochs: int
    planned_epochs: int | None = None
    steps: Annotated[int, Field(ge=0, le=MAX_STEPS)] | None = None
    clip_s: Annotated[float, Field(gt=0, le=MAX_CLIP_S)] | None = None


def result_problems(result: Any) -> list[str]:
    """Every problem of a run's result, each as ``place: what is wrong (value)``."""
    try:
        _Result.model_validate(result)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']} (found {e['input']!r:.60})"
            for e in error.errors()
        ]
    return []


def is_outdated(result: dict[str, Any], config: Any) -> bool:
    """Whether a run was given more epochs after this result, and has not ended since."""
    if not isinstance(config, dict):
        return False
    recipe, planned = config.get("recipe"), result.get(PLANNED)
    if planned is None:  # an earlier version wrote it
        extended = config.get(EXTENDED)
        return isinstance(extended, list) and result["epochs"] in extended
    return isinstance(recipe, dict) and planned != recipe.get("epochs")
