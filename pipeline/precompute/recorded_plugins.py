"""Which distributions a cache was made with, for whoever lacks one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cache_schema.errors import CacheError, UsageError
from cache_schema.metadata import PartPlan
from cache_schema.store.address import CachePath
from cache_schema.store.objects import objects_of
from cache_schema.text import one_line
from cache_schema.writer import MANIFEST, load_manifest, load_plan


@contextmanager
def distributions_named(out: CachePath) -> Iterator[None]:
    """Let the error of an unknown plug-in name the distributions that the cache there was made with.

    Raises
    ------
    UsageError
        Kind ``"unknown"``, as it came.
    """
    try:
        yield
    except UsageError as error:
        made_with = _distributions(out) if error.kind == "unknown" else []
        if not made_with:
            raise
        names = ", ".join(map(one_line, made_with))
        raise UsageError(
            f"{error}\n{out} was made with {names}: install what is missing here, and repeat the "
            "command",
            kind="unknown",
        ) from None


def _distributions(out: CachePath) -> list[str]:
    try:
        if not objects_of(out).exists(MANIFEST):
            return []
        plans = [load_plan(out, entry) for entry in load_manifest(out).parts]
    except CacheError:  # which the command itself will report
        return []
    found = (str(name) for plan in plans for name in _of_plan(plan) if name)
    return list(dict.fromkeys(found))


def _of_plan(plan: PartPlan) -> list[Any]:
    steps = [json.loads(step).get("plugin") for step in plan.view_recipe]
    return [plan.audio.get("corpus_plugin"), (plan.teacher or {}).get("plugin"), *steps]
