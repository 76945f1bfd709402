"""What the rows of a table give reason to doubt, by the figures that `cache_schema.cautions` judges."""

from __future__ import annotations

from collections.abc import Sequence

from cache_schema.cautions import above_teacher, below_twin, few_seeds, near_chance, uneven_steps
from student.compare.conditions import NONE
from student.compare.statistics import mean
from student.compare.table import TableRow


def row_cautions(rows: Sequence[TableRow]) -> list[str]:
    """Judge rows by their main metric, each student on each cache by itself."""
    if not rows:
        return []
    main = [row for row in rows if row.metric == rows[0].metric and row.found]
    cells = dict.fromkeys((row.cache, row.student) for row in main)
    found = few_seeds(min(map(_pairs, main))) if main else []
    for cell in cells:
        own = [row for row in main if (row.cache, row.student) == cell]
        name = f"{cell[1]} on {cell[0]}: " if len(cells) > 1 else ""
        found += [f"{name}{line}" for line in _of_cell(own)]
    return found


def _pairs(row: TableRow) -> int:
    return len(row.gain.differences) if row.gain else len(row.found)


def _of_cell(rows: Sequence[TableRow]) -> list[str]:
    found = list[str]()
    for row in rows:
        plain = str(row.condition) == NONE
        who = "the student alone" if plain else f"the student taught by {row.condition}"
        found += near_chance(mean(row.found), row.chance, row.metric, who)
    return found + _beside_twin(rows)


def _beside_twin(rows: Sequence[TableRow]) -> list[str]:
    plain = next((row for row in rows if str(row.condition) == NONE), None)
    if plain is None:
        return []
    found = above_teacher(mean(plain.found), plain.teacher, plain.metric)
    for row in rows:
        if row.gain is not None and row is not plain:
            found += uneven_steps(str(row.condition), row.steps, plain.steps)
            half_width = row.gain.half_width
            if half_width is None or row.gain.mean + half_width < 0:
                score = mean(row.found)
                twin = score - row.gain.mean
                found += below_twin(str(row.condition), score, twin, row.metric, _pairs(row))
    return found
