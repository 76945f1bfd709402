"""Audio folders of Hugging Face: audio files, listed by a ``metadata.csv`` or ``metadata.jsonl``.

A metadata file describes the files below its own folder, by ``file_name``. There may be one at the top,
or one in each folder ``train/``, ``test/``, ``data/train/``. Where the folders are the classes and
there is no metadata, the kind ``folder`` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.corpora.interface import (
    DEFAULT_SHARE,
    NO_LABEL,
    SPLIT_NAMES,
    Corpus,
    Entry,
    Ids,
    build_corpus,
    check_folder,
    clip_name,
    inside,
)
from pipeline.corpora.list_syntax import json_value
from pipeline.corpora.listings import audio_below, drop_missing, each_row, joined_labels, read_list
from pipeline.corpora.splits import with_shares
from pipeline.corpora.walk import list_folder, option_text

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"


def read_audio_folder(
    path: Path,
    *,
    label: str = "label",
    label_sep: str = "",
    ids: Ids = "stem",
    validation_share: float = DEFAULT_SHARE,
    test_share: float = DEFAULT_SHARE,
) -> Corpus:
    """Read an audio folder.

    The id of a clip is its path without suffix; its split is the first folder on that path that is
    named like one, else train. Listed files that are not there, and files that no metadata lists, are
    left out and counted.

    Parameters
    ----------
    path : Path
        The folder.
    label : str
        Column with the class; in ``metadata.jsonl`` a list makes the corpus multi-label. ``none``
        leaves the clips unlabelled.
    label_sep : str
        What separates the labels of a clip in a text; by default nothing does.
    ids : str
        Whether ids keep the suffix (``"path"``) or not (``"stem"``).
    validation_share, test_share : float
        Shares of the training clips for these splits where no folder holds them.

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "audio-folder")
    source = f"audio-folder:{path}"
    problems: list[str] = []
    found: list[tuple[Entry, bool]] = []
    for name in _metadata(path, problems):
        for place, row in _rows(source, path, name, label, problems):
            found.append(_entry(name.parent, place, row, label, problems))
    found = [(_named(entry, path, label_sep, ids), several) for entry, several in found]
    entries, missing = drop_missing(path, [entry for entry, _ in found], problems)
    listed = {entry.clip.path for entry in entries}
    unlisted = [name for name in audio_below(path) if name not in listed]
    if unlisted:
        missing.append(f"{len(unlisted)} audio files are not in any metadata, first: {unlisted[0]}")
    shared, notes = with_shares(entries, validation_share, test_share)
    return build_corpus(
        path,
        shared,
        source=source,
        task="multi" if label_sep or any(several for _, several in found) else "single",
        problems=problems,
        notes=missing + notes + joined_labels((e.clip.labels for e in entries), label_sep),
    )


def _named(entry: Entry, root: Path, label_sep: str, ids: Ids) -> Entry:
    """Give the entry its path below the folder, the id that is made of it, and each of its labels."""
    clip = entry.clip
    path, labels = inside(root, clip.path), clip.labels
    if label_sep:
        parts = [part.strip() for label in labels for part in label.split(label_sep)]
        labels = tuple(dict.fromkeys(filter(None, parts)))
    return Entry(replace(clip, id=clip_name(path, ids), path=path, labels=labels), entry.place)


def _metadata(path: Path, problems: list[str]) -> list[PurePosixPath]:
    """All metadata files below the folder that are not hidden, sorted."""
    names = map(PurePosixPath, list_folder(path).files)
    lists = sorted(name for name in names if name.name in METADATA)
    if not lists:
        raise UsageError(
            f"corpus audio-folder:{path}: no {' or '.join(METADATA)}; where folders are the classes, "
            f"read folder:{option_text(path)}",
            kind="corpus",
        )
    folders = [name.parent for name in lists]
    twice = {folder for folder in folders if folders.count(folder) > 1}
    problems += [f"{folder}/ has both {' and '.join(METADATA)}" for folder in sorted(twice)]
    return lists


def _rows(
    source: str, path: Path, name: PurePosixPath, label: str, problems: list[str]
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Rows of a metadata file, each with its place."""
    needed = [FILE_NAME] if label == NO_LABEL else [FILE_NAME, label]
    if name.suffix == ".csv":
        return each_row(source, path, str(name), needed, problems)
    rows = []
    for number, line in enumerate(read_list(source, path, str(name)).split("\n"), 1):
        place = f"{name} line {number}"
        if not line.strip():
            continue
        try:
            row = json_value(line)
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        if not isinstance(row, dict) or any(column not in row for column in needed):
            found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            problems.append(f"{place}: needed {', '.join(needed)}; found: {found}")
            continue
        rows.append((place, row))
    return rows


def _entry(
    folder: PurePosixPath, place: str, row: dict[str, Any], label: str, problems: list[str]
) -> tuple[Entry, bool]:
    """The clip of a row, and whether its label is a list."""
    name = row[FILE_NAME]
    if not isinstance(name, str) or not name:
        problems.append(f"{place}: {FILE_NAME} is {name!r}, expected a path")
        name = "?"
    value = None if label == NO_LABEL else row[label]
    labels = value if isinstance(value, list) else [value]
    if any(isinstance(one, list | dict | float | bool) for one in labels):
        problems.append(
            f"{place}: {label} is {value!r}, expected a name, a number or a list of them"
        )
        labels = []
    path = str(folder / name)
    folders = [folder.lower() for folder in PurePosixPath(path).parts[:-1]]
    split = next((SPLIT_NAMES[folder] for folder in folders if folder in SPLIT_NAMES), "train")
    names = tuple(dict.fromkeys(str(one) for one in labels if one not in (None, "")))
    clip = Clip(id=path, path=path, labels=names, split=split, none_present=value == [])
    return Entry(clip, place), isinstance(value, list)
