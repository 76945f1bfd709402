"""Which parts a request adds to a cache: the first, further views, further signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.metadata import PartPlan
from cache_schema.reader import SealedPart
from cache_schema.signal_names import VIEW_DRAWS, VIEW_LABELS, WAVEFORM
from cache_schema.writer import load_manifest
from pipeline.precompute.inputs import Inputs
from pipeline.precompute.plan import (
    make_part,
    signal_layouts,
    teacher_input_lengths,
)
from pipeline.precompute.signal_encodings import cached_storage
from pipeline.precompute.unit_cuts import SignalLayout, cut_units


def first_part(inputs: Inputs) -> PartPlan:
    """Plan the first part of a new cache."""
    views = range(inputs.request.views)
    layouts = _layouts(inputs, inputs.names, inputs.samples(views), own=())
    return _part_of_views(inputs, "part-000", layouts, views)


def kept_units_note(inputs: Inputs, plan: PartPlan) -> str:
    """Note that a part that was begun has other work units than the request would cut; else nothing."""
    rows, requested = max(plan.units.rows, default=0), inputs.request.unit_rows
    if plan.source == "cache" or rows == requested:
        return ""
    names, views = [signal.name for signal in plan.signals], plan.view_range
    layouts = _layouts(inputs, names, inputs.samples(views), own=[plan])
    units = cut_units(layouts, inputs.facts.splits, views, requested)
    if units.rows == plan.units.rows:  # of few clips, or of many bytes
        return ""
    return (
        f"{plan.name} has work units of at most {rows} rows, which stay as they are; --unit-rows "
        f"{requested} is for parts that are added later"
    )


def added_parts(inputs: Inputs, plans: Sequence[PartPlan]) -> list[PartPlan]:
    """Plan what an existing cache lacks: further signals, further views with all its signals.

    Parameters
    ----------
    inputs : Inputs
        The request.
    plans : sequence of PartPlan
        All parts of the cache; this teacher's, and the first one's, are sealed.
    """
    added: list[PartPlan] = []
    have_views = max(plan.view_range.stop for plan in plans)
    own = [plan for plan in plans if plan.teacher_name == inputs.teacher_name]
    cached = [signal.name for plan in own for signal in plan.signals]
    names = list(dict.fromkeys([*cached, *inputs.names]))
    last = max(int(plan.name.removeprefix("part-")) for plan in plans)
    for plan in plans:
        here = {s.name for p in plans if p.first_view == plan.first_view for s in p.signals}
        missing = [name for name in names if name not in here]
        if missing and any(signal.name == WAVEFORM for signal in plan.signals):
            name = f"part-{last + 1 + len(added):03d}"
            layouts = _layouts(inputs, missing, _cached_samples(inputs, plan), own)
            added.append(_part_of_signals(inputs, plan, name, layouts))
    if inputs.request.views > have_views:
        name = f"part-{last + 1 + len(added):03d}"
        views = range(have_views, inputs.request.views)
        layouts = _layouts(inputs, names, inputs.samples(views), own)
        added.append(_part_of_views(inputs, name, layouts, views))
    return added


def _part_of_views(
    inputs: Inputs, name: str, layouts: Sequence[SignalLayout], views: range
) -> PartPlan:
    """Plan a part that is computed from the corpus."""
    return make_part(
        name,
        layouts,
        cut_units(layouts, inputs.facts.splits, views, inputs.request.unit_rows),
        views=views,
        seed=inputs.request.seed,
        view_recipe=inputs.recipe.texts,
        teacher=inputs.teacher,
        audio=inputs.audio,
        source="corpus",
        codec=inputs.request.codec,
    )


def _part_of_signals(
    inputs: Inputs, base: PartPlan, name: str, layouts: Sequence[SignalLayout]
) -> PartPlan:
    """Plan further signals from the waveform of a part, for the same rows in the same units."""
    return make_part(
        name,
        layouts,
        base.units,
        views=base.view_range,
        seed=base.seed,
        view_recipe=base.view_recipe,
        teacher=inputs.teacher,
        audio=inputs.audio,
        source="cache",
        codec=base.codec,
    )


def _layouts(
    inputs: Inputs, names: Sequence[str], samples: NDArray[np.int64], own: Sequence[PartPlan]
) -> list[SignalLayout]:
    """Lay out signals over rows of these lengths, (views, clips).

    They are stored as requested, or else as in the `own` parts, those of the same teacher.
    """
    storage = cached_storage(own) | dict(inputs.storage)
    columns = {VIEW_DRAWS: len(inputs.recipe.draw_names), VIEW_LABELS: len(inputs.corpus.classes)}
    return signal_layouts(names, inputs.teacher, samples, storage, columns)


def _cached_samples(inputs: Inputs, base: PartPlan) -> NDArray[np.int64]:
    """Samples of the rows of a part as it was cached, whatever its views would be now."""
    out, table = inputs.request.out, base.units
    entry = next(part for part in load_manifest(out).parts if part.name == base.name)
    part = SealedPart(out, entry)
    samples = np.zeros((base.views, len(inputs.clips)), np.int64)
    units = zip(table.view, table.first_clip, table.rows, strict=True)
    for unit, (view, first, rows) in enumerate(units):
        place = view - base.first_view
        samples[place, first : first + rows] = part.lengths(WAVEFORM, unit)
    return teacher_input_lengths(samples, inputs.teacher, inputs.waveform_hz)
