"""What is relied on in a run's ``config.json``; the rest of it only has to stay as it was."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

CONFIG = "config.json"


class _Loss(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    name: str
    weight: float
    options: dict[str, str]
    teachers: Annotated[list[str], Field(min_length=1)]


def _unlike(classes: list[str]) -> list[str]:
    if len(set(classes)) < len(classes):
        raise ValueError("a class is named twice")
    return classes


class _RunConfig(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    student: str
    student_options: dict[str, str]
    distill: list[_Loss]
    classes: Annotated[list[str], Field(min_length=1), AfterValidator(_unlike)]
    task: Literal["single", "multi"]
    class_map: dict[str, list[str]] | None
    metric: str | None


def config_problems(config: Any) -> list[str]:
    """Every problem of a run's settings, each as ``place: what is wrong (value)``."""
    try:
        _RunConfig.model_validate(config)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']} (found {e['input']!r:.60})"
            for e in error.errors()
        ]
    return []
