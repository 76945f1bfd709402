"""What consistent teaching is worth: views that the teacher own_unit, against views that it did not.

    python tests/experiments/consistency.py NOISY_WORK_FOLDER WORK_FOLDER

The 2-s cache of ``noisy_keywords.py`` has eight views. Its rows are written again, without running
the teacher, as caches of one, two and four views, and as one that is inconsistent: the student's
input are four views, the teacher's answers those of the first. That is what a cached answer becomes
under augmentation that the teacher did not see. A killed run goes on where it was.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from esc10 import run

from cache_schema.metadata import PartPlan, UnitTable
from cache_schema.reader import Cache, Unit, open_cache
from cache_schema.writer import UnitRow, create_cache, seal, write_unit

ANSWERS, FEATURES = ("logits", "temporal_attention"), "mfcc40"
CONDITION = "temporal=0.25 logits=0.5:temperature=2"
TRAIN = "--epochs 10"


def rewritten(source: Cache, out: Path, views: int, *, inconsistent: bool = False) -> Path:
    """Write some views of a cache of one part as another cache."""
    if out.is_dir():
        return out
    draft = out.with_name(f"{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    whole = source.parts[0].plan
    kept = [unit for unit, view in enumerate(whole.units.view) if view < views]
    plan = _plan(whole, views, kept)
    corpus = source.manifest.corpus
    clips = source.clip_table.clips(0, corpus.clips)
    create_cache(draft, clips, corpus, source.sample_rate_hz, plan)
    for number, unit in enumerate(kept):
        write_unit(draft, plan, number, _rows(source, unit, inconsistent))
    seal(draft, plan)
    return draft.rename(out)


def _plan(whole: PartPlan, views: int, kept: list[int]) -> PartPlan:
    table = whole.units.model_dump()
    columns = {name: [column[unit] for unit in kept] for name, column in table.items()}
    signals = [spec for spec in whole.signals if spec.name in (FEATURES, *ANSWERS)]
    changed = {"views": views, "signals": signals, "units": UnitTable(**columns)}
    return whole.model_copy(update=changed)


def _rows(source: Cache, number: int, inconsistent: bool) -> list[UnitRow]:
    units = {
        (unit.view, unit.first_clip): unit
        for split in source.splits
        for unit in source.units(split)
    }
    table = source.parts[0].plan.units
    own_unit = units[table.view[number], table.first_clip[number]]
    answered = units[0, own_unit.first_clip] if inconsistent else own_unit
    features = _signals(source, own_unit, (FEATURES,))
    answers = _signals(source, answered, ANSWERS)
    return [
        UnitRow(signals={name: values[row] for name, values in (features | answers).items()})
        for row in range(own_unit.rows)
    ]


def _signals(source: Cache, unit: Unit, names: tuple[str, ...]) -> dict[str, object]:
    rows = source.read_unit(unit, names)
    if len(rows.clip) != unit.rows:
        raise ValueError(f"{source.root} has quarantined rows; this experiment is for one without")
    return rows.signals


def main(noisy: Path, out: Path) -> None:
    """Make the caches and compare students on them."""
    out.mkdir(parents=True, exist_ok=True)
    eight = noisy / "2s.zarr"
    cache = open_cache(eight)
    made = [
        rewritten(cache, out / "1-view.zarr", 1),
        rewritten(cache, out / "4-views-answers-of-1.zarr", 4, inconsistent=True),
        rewritten(cache, out / "2-views.zarr", 2),
        rewritten(cache, out / "4-views.zarr", 4),
    ]
    run("compare-students", *made, eight, "--student", "ds-tc-resnet", "--condition", CONDITION,
        "--train", TRAIN, "--out", out / "compared", log=out / "log")  # fmt: skip


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
