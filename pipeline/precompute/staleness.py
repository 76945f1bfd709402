"""Whether a cache is the one that a request would make: else nothing is added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from cache_schema.errors import CacheError, bullet_list
from cache_schema.front_ends import front_end_facts
from cache_schema.metadata import Manifest, PartPlan
from cache_schema.reader import progress
from cache_schema.signal_names import command_of, teacher_label
from cache_schema.view_recipe import read_step
from cache_schema.writer import missing_units
from pipeline.precompute.inputs import Inputs, Request
from pipeline.precompute.plan import teacher_facts
from pipeline.precompute.provenance_diff import differences, without_name
from pipeline.precompute.signal_encodings import storage_as_options


def check_same_recipe(inputs: Inputs, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
    """Check that a cache was made by the recipe of a request, both values side by side.

    A further teacher processes the cache's own views: what is not given of them is as it is there.

    Raises
    ------
    CacheError
        Kind ``"stale"``, listing every fact that differs; ``"views"`` for a further teacher and
        more views than there are.
    """
    first = plans[0]
    cached: dict[str, Any] = {
        "corpus": manifest.corpus.model_dump(),
        "codec": first.codec,
        "seed": first.seed,
        "views": _steps(first.view_recipe),
    }
    wanted = {"corpus": inputs.facts.model_dump(), **_view_facts(inputs)}
    own = [plan for plan in plans if plan.teacher_name == inputs.teacher_name]
    if own:
        cached |= teacher_facts(own)
        wanted |= _teacher_facts(inputs, cached)
    differing = differences({key: cached[key] for key in wanted}, wanted)
    if differing:
        raise CacheError(
            f"{inputs.request.out} was made by another recipe{_other_teacher(inputs, own)}; "
            f"{len(differing)} fact(s) differ\n{bullet_list(differing)}\nNothing was written. Repeat "
            f"the command with what the cache was made with{_other_ways(inputs, manifest, differing)}.",
            kind="stale",
        )
    _check_views_exist(inputs, plans)


def _other_ways(inputs: Inputs, manifest: Manifest, differing: Sequence[str]) -> str:
    """What else than the old recipe would work: a further teacher needs a first one's finished part."""
    taken = all(line.startswith(("teacher.", "audio.")) for line in differing)
    beside = taken and manifest.sealed(manifest.parts[0].name)
    named = ", keep both teachers in this one by another --teacher-name WORD" if beside else ""
    anew = ", without --teacher-name" if inputs.teacher_name else ""
    return f"{named}, or make another cache (--out{anew})"


def _other_teacher(inputs: Inputs, own: Sequence[PartPlan]) -> str:
    """The names of two teachers that differ in theirs."""
    before = [(plan.teacher or {}).get("id") for plan in own[:1]]
    now = inputs.teacher.provenance.get("id")
    return "" if before in ([], [now]) else f", by the teacher {before[0]} where this run has {now}"


def check_first_finished(inputs: Inputs, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
    """Check that no part of the first teacher is unfinished: a further one reads its waveforms.

    Raises
    ------
    CacheError
        Kind ``"unfinished"``, with the units done and the command that continues.
    """
    for plan in plans:
        if inputs.teacher_name and not plan.teacher_name and not manifest.sealed(plan.name):
            out = inputs.request.out
            entry = next(entry for entry in manifest.parts if entry.name == plan.name)
            raise CacheError(
                f"{out} is unfinished: {progress(out, entry)}. Finish it first: repeat {command_of('')}",
                kind="unfinished",
            )


def check_sealed_parts(inputs: Inputs, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
    """Check that sealed parts have all their units: else one was damaged, or a repair interrupted.

    Raises
    ------
    CacheError
        Kind ``"damaged"``, with the command that repairs it.
    """
    out = inputs.request.out
    for plan in plans:
        missing = missing_units(out, plan) if manifest.sealed(plan.name) else []
        if missing:
            raise CacheError(
                f"{plan.name} of {out}, of {teacher_label(plan.teacher_name)}, was finished but lacks "
                f"{len(missing)} work units, first {missing[0]}. Repeat the command with --repair and "
                "without --slice",
                kind="damaged",
            )


def _teacher_facts(inputs: Inputs, cached: Mapping[str, Any]) -> dict[str, Any]:
    """What `cached` records of this teacher's parts, as this request would have it.

    A storage type that is not given is as it is there, and a cache of an earlier release may record
    less of the audio.
    """
    given = {name: s for name, s in inputs.storage.items() if name in cached["storage"]}
    return {
        "teacher": without_name(inputs.teacher.provenance),
        "audio": {key: inputs.audio.get(key) for key in cached["audio"]},
        "front_ends": front_end_facts(cached["front_ends"]),
        "storage": cached["storage"] | storage_as_options(given),
    }


def _view_facts(inputs: Inputs) -> dict[str, Any]:
    """What the request gives of the views; of a further teacher's what is not a default."""
    request = inputs.request
    given = {"codec": request.codec, "seed": request.seed, "views": _steps(inputs.recipe.texts)}
    if not inputs.teacher_name:
        return given
    defaults = {option.name: option.default for option in fields(Request)} | {"views": {}}
    return {key: value for key, value in given.items() if value != defaults[key]}


def _check_views_exist(inputs: Inputs, plans: Sequence[PartPlan]) -> None:
    have, wanted = max(plan.view_range.stop for plan in plans), inputs.request.views
    if inputs.teacher_name and wanted > have:
        steps = any(plan.view_recipe for plan in plans)
        way = (
            f"Add some first: repeat {command_of('')} with --views {wanted}"
            if steps
            else "It was made without --view, so that none can be added: leave --views out, or make "
            "another cache"
        )
        raise CacheError(
            f"{inputs.request.out} has {have} view(s), requested are {wanted}: "
            f"{teacher_label(inputs.teacher_name)} reads the views that are there. {way}",
            kind="views",
        )


def _steps(recipe: Sequence[str]) -> dict[str, Any]:
    """The facts of each step of a recipe under its number and name, as messages show what differs."""
    steps = {}
    for number, text in enumerate(recipe, 1):
        step = read_step(text)
        steps[f"{number} {step.step if step else text}"] = step and step.model_dump()
    return steps
