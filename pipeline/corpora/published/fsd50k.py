"""FSD50K (Fonseca et al. 2022, arXiv:2010.00475): 200 classes of the AudioSet ontology, multi-label.

The folder is the archives unpacked side by side: ``FSD50K.dev_audio``, ``FSD50K.eval_audio`` and
``FSD50K.ground_truth`` with ``dev.csv``, ``eval.csv`` and ``vocabulary.csv``.
"""

from __future__ import annotations

from pathlib import Path

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.corpora.interface import Corpus, Entry, build_corpus, check_folder
from pipeline.corpora.listings import (
    audio_by_stem,
    check_lists,
    drop_without_path,
    each_row,
    read_list,
)

VOCABULARY = "FSD50K.ground_truth/vocabulary.csv"
DEV_LIST, DEV_AUDIO = "FSD50K.ground_truth/dev.csv", "FSD50K.dev_audio"
EVAL_LIST, EVAL_AUDIO = "FSD50K.ground_truth/eval.csv", "FSD50K.eval_audio"
DEV_SPLITS = {"train": "train", "val": "validation"}


def read_fsd50k(path: Path) -> Corpus:
    """Read FSD50K with its own split: dev into train and validation, eval is the test set.

    The id of a clip is its Freesound number; classes stand in the order of the vocabulary.

    Parameters
    ----------
    path : Path
        The folder with the three folders of the archives.

    Raises
    ------
    UsageError
        For missing lists, a label that is not in the vocabulary, a split other than train and val,
        or if no listed clip is there: see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "fsd50k")
    source = f"fsd50k:{path}"
    check_lists(source, path, (VOCABULARY, DEV_LIST, EVAL_LIST))
    problems: list[str] = []
    dev, dev_notes = drop_without_path(
        _entries(path, source, DEV_LIST, DEV_AUDIO, problems), DEV_LIST
    )
    test, test_notes = drop_without_path(
        _entries(path, source, EVAL_LIST, EVAL_AUDIO, problems), EVAL_LIST
    )
    if not dev + test:
        problems.append(f"none of the listed clips is in {DEV_AUDIO} or {EVAL_AUDIO}")
    return build_corpus(
        path,
        dev + test,
        source=source,
        classes=_vocabulary(path, source),
        task="multi",
        problems=problems,
        notes=dev_notes + test_notes,
    )


def _vocabulary(path: Path, source: str) -> tuple[str, ...]:
    """Read the classes: lines of index, label and mid, without a header."""
    lines = read_list(source, path, VOCABULARY).splitlines()
    rows = [line.split(",") for line in lines if line]  # no label holds a comma
    for number, row in enumerate(rows):
        if len(row) != 3 or row[0] != str(number):
            raise UsageError(
                f"corpus {source}: {VOCABULARY}: expected {number},label,mid as entry {number}, got "
                f"{','.join(row)}",
                kind="corpus",
            )
    return tuple(label for _, label, _ in rows)


def _entries(
    path: Path, source: str, listing: str, folder: str, problems: list[str]
) -> list[Entry]:
    """List the clips of one list, without a path where the audio is not there."""
    files = audio_by_stem(path, folder, problems)
    columns = ("fname", "labels", "split") if listing == DEV_LIST else ("fname", "labels")
    entries = []
    for place, row in each_row(source, path, listing, columns, problems):
        split = "test" if listing == EVAL_LIST else DEV_SPLITS.get(row["split"], "")
        if not split:
            problems.append(f"{place}: split {row['split']!r}, expected train or val")
        labels = tuple(dict.fromkeys(filter(None, row["labels"].split(","))))
        name = row["fname"]
        entries.append(
            Entry(Clip(id=name, path=files.get(name, ""), labels=labels, split=split), place)
        )
    return entries
