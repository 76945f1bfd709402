"""ESC-50 and ESC-10, environmental sounds in five folds (Piczak 2015, doi:10.1145/2733373.2806390).

Two layouts are understood, both with the recordings in ``audio/``: the official archive with its
``meta/esc50.csv``, and a folder with an ``esc10.csv`` of the same columns at its top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.corpora.interface import (
    Corpus,
    build_corpus,
    check_folder,
    without_suffix,
)
from pipeline.corpora.listings import (
    ListRow,
    drop_missing,
    each_row,
    elsewhere,
    folded_entries,
)

COLUMNS = ("filename", "fold", "target", "category")
LISTS = {"meta/esc50.csv": (*COLUMNS, "esc10"), "esc10.csv": COLUMNS}


def read_esc(
    path: Path,
    *,
    subset: Literal["all", "10"] = "all",
    validation_folds: str = "4",
    test_folds: str = "5",
) -> Corpus:
    """Read ESC-50 or ESC-10; the classes are in the order of their targets.

    Parameters
    ----------
    path : Path
        The folder that holds ``audio/``.
    subset : str
        ``"10"`` keeps the clips of ESC-10.
    validation_folds, test_folds : str
        Folds of these splits, joined by ``;``; the others train.

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "esc")
    source = f"esc:{path}"
    name = _list_name(source, path)
    problems: list[str] = []
    rows = list(each_row(source, path, name, LISTS[name], problems))
    if subset == "10":
        rows = [(place, row) for place, row in rows if row.get("esc10", "True") == "True"]
    folds = {"validation_folds": validation_folds, "test_folds": test_folds}
    listed = folded_entries(rows, _clip, **folds, problems=problems)
    entries, notes = drop_missing(path, listed, problems)
    return build_corpus(
        path,
        entries,
        source=source,
        classes=_classes(rows, problems),
        task="single",
        problems=problems,
        notes=notes,
    )


def _list_name(source: str, path: Path) -> str:
    for name in LISTS:
        if (path / name).is_file():
            return name
    found = filter(None, (elsewhere(source, path, [name]) for name in LISTS))
    way = next(found, "Put the one of the release there, beside audio/")
    raise UsageError(
        f"corpus {source}: none of {', '.join(LISTS)} is there. {way}, and repeat the command",
        kind="missing",
    )


def _clip(row: dict[str, str], split: str) -> Clip:
    name = row["filename"]
    return Clip(
        id=without_suffix(name), path=f"audio/{name}", labels=(row["category"],), split=split
    )


def _classes(rows: Iterable[ListRow], problems: list[str]) -> list[str]:
    """Order the categories by their targets, which must name each other one to one."""
    pairs = set()
    for place, row in rows:
        try:
            pairs.add((int(row["target"]), row["category"]))
        except ValueError:
            problems.append(f"{place}: target must be a whole number, got {row['target']!r}")
    targets = Counter(target for target, _ in pairs)
    categories = Counter(category for _, category in pairs)
    for target, category in sorted(pairs):
        if targets[target] > 1 or categories[category] > 1:
            problems.append(f"target {target} with category {category!r}: one of them recurs")
    return [category for _, category in sorted(pairs)]
