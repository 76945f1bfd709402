"""HDF5 packs of PANNs and of PaSST and EfficientAT: many clips in one file, read in place.

The layouts are described in `pipeline.audio.hdf5`. A pack is a split; which one, a word of its name or
folder names (``balanced_train_segments_mp3.hdf``, ``eval.h5``), and without such a word it trains. Its
classes are named by a list beside it, as AudioSet's ``class_labels_indices.csv``, else numbered. The id
of a clip is its ``audio_name`` without the suffix; a row without a name holds no recording. A row
without a label is unlabelled, unless the pack records that it has none of the classes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.store.safe_open import is_refusal
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.audio.members import MemberProblem, container_errors, read_member
from pipeline.audio.trial import problem_apart
from pipeline.corpora.interface import DEFAULT_SHARE, Corpus, Entry, build_corpus
from pipeline.corpora.list_syntax import csv_rows
from pipeline.corpora.listings import text_of
from pipeline.corpora.splits import parse_split_options, split_of_file, unused_notes, with_shares
from pipeline.corpora.walk import escapes_root, link_explanation, list_folder

PACK_SUFFIXES = (".h5", ".hdf", ".hdf5")
# AudioSet's list of classes, which PANNs and PaSST read, and which pack-corpus writes.
# Of a whole pack's listing from a slow disk; a signal ends it earlier.
TRIAL_S = 300.0
CLASSES_FILE = "class_labels_indices.csv"
CLASSES_HEADER = ["index", "mid", "display_name"]
Task = Literal["auto", "single", "multi"]


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a pack records of its clips: labels have the shape (N, C), `labelled` has (N,)."""

    pack: str
    split: str
    audio: str
    names: list[str]
    groups: list[str]
    labels: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    packed: bool
    task: Task | None


def read_hdf5_pack(
    path: Path,
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    classes: str = "",
    task: Task = "auto",
    validation_share: float = DEFAULT_SHARE,
    test_share: float = DEFAULT_SHARE,
) -> Corpus:
    """Read a pack or a folder of packs.

    Parameters
    ----------
    path : Path
        The folder, or one pack.
    train, validation, test : str
        Packs of these splits, joined by ``;``; if none is given, all below the folder are read.
    classes : str
        File with the names of the classes, in the form of AudioSet's list or FSD50K's vocabulary, or one
        a line; relative to the folder.
    task : str
        ``"auto"`` is what the pack records, else multi-label if any clip has several labels.
    validation_share, test_share : float
        Shares of the training clips for these splits where no pack holds them.

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    folder = path if path.is_dir() else path.parent
    source = f"hdf5:{path}"
    problems: list[str] = []
    requested = {"train": train, "validation": validation, "test": test}
    packs, left = _packs(path, folder, parse_split_options(requested, problems))
    packs = {name: split for name, split in packs.items() if _is_inside(folder, name, problems)}
    sound = _tried(folder, packs, problems)
    found = (_listing(folder, name, split, problems) for name, split in sound.items())
    listings = [listing for listing in found if listing]
    names, numbered = _checked_classes(folder, classes, source, listings, problems)
    entries = [] if problems else [e for one in listings for e in _entries(one, names, problems)]
    shared, moved = with_shares(entries, validation_share, test_share)
    return build_corpus(
        folder,
        shared,
        source=source,
        classes=names or None,
        task=_stated_task(listings) if task == "auto" else task,
        problems=problems,
        notes=left + numbered + _empty_rows(listings) + moved,
    )


def _stated_task(listings: Sequence[_Listing]) -> Task:
    """The task that all packs agree on, if they record one."""
    stated = {listing.task for listing in listings}
    return (stated.pop() if len(stated) == 1 else None) or "auto"


def _packs(path: Path, folder: Path, requested: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Names of the packs and their splits, and a note of those that were not requested."""
    files = [path.name] if path != folder else list_folder(folder).files
    packs = [name for name in files if PurePosixPath(name).suffix in PACK_SUFFIXES]
    if requested:
        return requested, unused_notes("pack", [name for name in packs if name not in requested])
    if not packs:
        raise UsageError(
            f"corpus hdf5:{path}: no packs; their names end in {', '.join(PACK_SUFFIXES)}",
            kind="corpus",
        )
    return {name: split_of_file(name) or "train" for name in packs}, []


def _is_inside(folder: Path, name: str, problems: list[str]) -> bool:
    """Whether a name is that of a pack of the folder; if not, note why."""
    if escapes_root(folder.resolve(), name):
        problems.append(f"{name} leads out of the folder: it {link_explanation(folder, name)}")
    elif PurePosixPath(name).suffix not in PACK_SUFFIXES:
        problems.append(f"{name} is no pack; their names end in {', '.join(PACK_SUFFIXES)}")
    else:
        return True
    return False


def _tried(folder: Path, packs: dict[str, str], problems: list[str]) -> dict[str, str]:
    """The packs that HDF5 survives: tried in one process, or each in its own if that ends badly."""

    def read(names: Iterable[str]) -> None:
        for name in names:
            with suppress(Exception):  # which is reported by whoever reads it
                _first_read(folder, name, packs[name])

    if not problem_apart(partial(read, packs), TRIAL_S):
        return packs
    found = {name: problem_apart(partial(read, [name]), TRIAL_S) for name in packs}
    problems += [f"{name}: damaged: {problem}" for name, problem in found.items() if problem]
    return {name: split for name, split in packs.items() if not found[name]}


def _listing(folder: Path, name: str, split: str, problems: list[str]) -> _Listing | None:
    """Read what a pack records of its clips, or note why it cannot be read."""
    try:
        listing, rows = _recorded(folder, name, split)
    except MemberProblem as problem:
        problems.append(f"{name}: {problem}")
        return None
    found = [len(listing.names), len(listing.groups), len(listing.labels), len(listing.labelled)]
    if found != [rows] * len(found):
        names, groups, labels, _ = found
        problems.append(
            f"{name}: {names} names, {groups} groups, {labels} targets and {rows} recordings"
        )
        return None
    return listing


def _recorded(folder: Path, name: str, split: str) -> tuple[_Listing, int]:
    """What a pack records, and the number of its recordings."""
    from pipeline.audio.hdf5 import Pack

    with container_errors(folder / name):
        pack = Pack(folder / name)
        labels, packed = pack.targets()
        known, names, groups = pack.labelled(labels), pack.names(), pack.groups()
        listing = _Listing(name, split, pack.audio, names, groups, labels, known, packed, pack.task)
        return listing, pack.clips


def _first_read(folder: Path, name: str, split: str) -> None:
    """Read all that a pack records, and its first recording."""
    listing, _ = _recorded(folder, name, split)
    read_member(folder / f"{name}!/{listing.audio}/0")


def _checked_classes(
    folder: Path, classes: str, source: str, listings: Sequence[_Listing], problems: list[str]
) -> tuple[list[str], list[str]]:
    """Names of the classes, and a note where they are only numbers."""
    names = _class_names(folder, classes, source, problems)
    columns = sorted({listing.labels.shape[1] for listing in listings})
    if len(columns) > 1:
        found = ", ".join(f"{one.pack} {one.labels.shape[1]}" for one in listings)
        problems.append(f"the packs have different numbers of classes: {found}")
    elif listings and names and not _fits(listings[0], len(names)):
        problems.append(
            f"{listings[0].pack} has targets of {columns[0]} columns, the list of classes has "
            f"{len(names)} names"
        )
    if names or not any(columns):
        return names, []
    note = f"no list of classes ({CLASSES_FILE}): they are numbered from 0 to {columns[-1] - 1}"
    if any(listing.packed for listing in listings):
        note += ", the last of which may be padding of their bits; name a list with classes=FILE"
    return [str(number) for number in range(columns[-1])], [note]


def _fits(listing: _Listing, classes: int) -> bool:
    columns = listing.labels.shape[1]
    needed = -(-classes // 8) * 8 if listing.packed else classes
    return int(columns) == needed


def _entries(listing: _Listing, classes: Sequence[str], problems: list[str]) -> list[Entry]:
    """The clips of a pack."""
    beyond = listing.labels[:, len(classes) :].any(axis=1)
    if beyond.any():
        problems.append(
            f"{listing.pack} row {int(beyond.argmax())}: a label beyond the {len(classes)} classes"
        )
        return []
    entries = []
    for row, (name, labels_C) in enumerate(zip(listing.names, listing.labels, strict=True)):
        if not name:
            continue
        clip = Clip(
            id=_without_audio_suffix(name),
            path=f"{listing.pack}!/{listing.audio}/{row}",
            labels=tuple(classes[c] for c in np.flatnonzero(labels_C).tolist()),
            split=listing.split,
            none_present=bool(listing.labelled[row] and not labels_C.any()),
            group=listing.groups[row],
        )
        entries.append(Entry(clip, f"{listing.pack} row {row}"))
    return entries


def _empty_rows(listings: Sequence[_Listing]) -> list[str]:
    """Note how many rows hold no recording."""
    return [
        f"{count} of {len(names)} rows of {listing.pack} are empty, as PANNs leaves what it had not"
        for listing in listings
        if (count := (names := listing.names).count(""))
    ]


def _without_audio_suffix(name: str) -> str:
    """Cut off only a suffix of audio: an id may have a dot in it."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix.lower()}" in AUDIO_SUFFIXES else name


def _class_names(folder: Path, classes: str, source: str, problems: list[str]) -> list[str]:
    """Names of the classes by a file; none if there is no such file."""
    file = folder / os.path.expanduser(classes or CLASSES_FILE)
    if not classes and (not file.is_file() or escapes_root(folder.resolve(), CLASSES_FILE)):
        return []
    try:
        text = text_of(file.read_bytes())
    except (OSError, ValueError) as error:
        if is_refusal(error):
            raise
        why = getattr(error, "strerror", None) or str(error)
        what = f"classes={classes}" if classes else file.name
        raise UsageError(f"corpus {source}: {what}: {why}", kind="missing") from None
    names = _names_in(text, file.name, problems)
    doubled = sorted({name for name in names if names.count(name) > 1})
    problems += [f"{file.name}: class {name!r} stands there twice" for name in doubled]
    return names


def _names_in(text: str, file: str, problems: list[str]) -> list[str]:
    """Read a list of classes in any of its forms."""
    try:
        rows = [row for _, row in csv_rows(text) if any(row)]
    except csv.Error as error:
        problems.append(f"{file}: {error}")
        return []
    if rows and [cell.strip() for cell in rows[0]] == CLASSES_HEADER:
        if any(len(row) != 3 for row in rows):
            problems.append(f"{file}: a line has not three cells: {','.join(CLASSES_HEADER)}")
        return [row[2] for row in rows[1:] if len(row) == 3]
    if all(len(row) == 3 and row[0] == str(number) for number, row in enumerate(rows)):
        return [row[1] for row in rows]  # FSD50K's vocabulary.csv: number, name, mid
    if numbered := [",".join(row) for row in rows if len(row) > 1 and row[0].strip().isdigit()]:
        problems.append(
            f"{file}: {numbered[0][:60]!r} is no class; expected {','.join(CLASSES_HEADER)}, FSD50K's "
            "vocabulary or a name a line"
        )
    return [line.strip() for line in text.splitlines() if line.strip()]
