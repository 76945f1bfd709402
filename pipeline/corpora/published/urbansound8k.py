"""UrbanSound8K, city sounds of up to 4 s in ten folds (Salamon, Jacoby and Bello 2014).

The official archive: ``metadata/UrbanSound8K.csv`` and the recordings in ``audio/fold1`` to
``audio/fold10``. The folds keep slices of one recording together and must not be shuffled.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cache_schema.clip import Clip
from pipeline.corpora.interface import (
    Corpus,
    build_corpus,
    check_folder,
    without_suffix,
)
from pipeline.corpora.listings import ListRow, check_lists, drop_missing, each_row, folded_entries

METADATA = "metadata/UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fold", "classID", "class")
# In the order of classID, from 0.
CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling",
    "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip


def read_urbansound8k(path: Path, *, validation_folds: str = "9", test_folds: str = "10") -> Corpus:
    """Read UrbanSound8K.

    Parameters
    ----------
    path : Path
        The folder that holds ``metadata/`` and ``audio/``.
    validation_folds, test_folds : str
        Folds of these splits, joined by ``;``; the others train.

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "urbansound8k")
    source = f"urbansound8k:{path}"
    check_lists(source, path, [METADATA])
    problems: list[str] = []
    rows = list(each_row(source, path, METADATA, COLUMNS, problems))
    problems += _number_problems(rows)
    folds = {"validation_folds": validation_folds, "test_folds": test_folds}
    listed = folded_entries(rows, _clip, **folds, problems=problems)
    entries, notes = drop_missing(path, listed, problems)
    return build_corpus(
        path,
        entries,
        source=source,
        classes=CLASSES,
        task="single",
        problems=problems,
        notes=notes,
    )


def _clip(row: dict[str, str], split: str) -> Clip:
    name = row["slice_file_name"]
    return Clip(
        id=without_suffix(name),
        path=f"audio/fold{row['fold']}/{name}",
        labels=(row["class"],),
        split=split,
    )


def _number_problems(rows: Iterable[ListRow]) -> list[str]:
    """Find classes whose number is not theirs; unknown names are found with the labels."""
    return [
        f"{place}: class {row['class']!r} has classID {row['classID']!r}, expected "
        f"{CLASSES.index(row['class'])}"
        for place, row in rows
        if row["class"] in CLASSES and row["classID"] != str(CLASSES.index(row["class"]))
    ]
