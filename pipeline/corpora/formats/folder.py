"""A folder of audio: a class per folder, with or without a folder per split above them.

``ROOT/dog/a.wav`` and ``ROOT/train/dog/a.wav`` are both understood; the second where every folder
of ROOT that holds audio is named like a split (train, validation, valid, val, dev, test, ...). Without
split folders 10 % of the clips go to validation and 10 % to test, chosen by a hash of the id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.store.address import CachePath
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.interface import (
    DEFAULT_SHARE,
    SPLIT_NAMES,
    Corpus,
    Entry,
    Ids,
    build_corpus,
    check_folder,
    check_shares,
    clip_name,
    hashed_split,
    left_out,
    unused_shares,
    without_suffix,
)
from pipeline.corpora.listings import fold_splits
from pipeline.corpora.stratify import stratified
from pipeline.corpora.walk import files_below, option_text, printable

Labels = Literal["folder", "prefix", "none"]


def read_folder(
    path: CachePath,
    *,
    validation: float = DEFAULT_SHARE,
    test: float = DEFAULT_SHARE,
    stratify: bool = False,
    labels: Labels = "folder",
    splits: Literal["auto", "none"] = "auto",
    validation_folds: str = "",
    test_folds: str = "",
    ids: Ids = "stem",
) -> Corpus:
    """Read a folder of audio files.

    Only folders that hold audio count. Hidden files, folders of file managers and outputs of ours are
    skipped, files without an audio suffix are left out and counted.

    Parameters
    ----------
    path : Path or Address
        The folder.
    validation, test : float
        Shares of the clips in these splits where no split folders decide.
    stratify : bool
        Whether splits that no folders decide share out each class alike.
    labels : str
        ``"folder"``: the class is the (first) folder; ``"prefix"``: it is the file's name up to the
        first underscore, or the first dot if it has none; ``"none"``: the clips are unlabelled.
    splits : str
        ``"none"``: folders at the top are classes, even if they are named like splits.
    validation_folds, test_folds : str
        Folders at the top that are folds and serve these splits, joined by ``;``; the others train.
    ids : str
        The id of a clip is its path, without suffix (``"stem"``) or with it (``"path"``).

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "folder")
    check_shares(validation, test)
    found = files_below(path)
    problems = found.problems
    audio = [name for name in found.files if PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES]
    tops = {PurePosixPath(name).parts[0] for name in audio if "/" in name}
    folds = (validation_folds, test_folds)
    if any(folds):
        requested = fold_splits(tops, *folds, problems)
        split_of = {top: requested.get(top, "train") for top in tops}
    else:
        split_of = {} if splits == "none" else _split_folders(path, tops)
        problems += [] if split_of or splits == "none" else _splits_below_classes(audio)
    chosen = partial(hashed_split, validation=validation, test=test)
    clips = [_clip(name, split_of, chosen, labels, ids) for name in audio]
    entries = [Entry(clip, clip.path) for clip in clips if clip.labels != ("",)]
    unlabelled = (
        "its name has nothing before the first _ (or use ?labels=folder or none)"
        if labels == "prefix"
        else "lies in no class folder (or use ?labels=prefix for yes_1.wav and yes.1.wav, or none; "
        "clips without a class go into a folder of their own, read by --unlabelled folder:PATH)"
    )
    problems += [f"{clip.path}: {unlabelled}" for clip in clips if clip.labels == ("",)]
    if split_of:
        own = f"the folders {', '.join(sorted(split_of))} are splits"
        problems += unused_shares(validation, test, own)
    if stratify and split_of:
        problems.append(f"stratify=true chooses splits, and {own}; leave it out")
    elif stratify:
        names = [without_suffix(entry.clip.path) for entry in entries]
        entries = stratified(entries, names, validation=validation, test=test)
    return build_corpus(
        path,
        entries,
        source=f"folder:{path}",
        task="single",
        problems=problems,
        notes=left_out(found.files, audio) + _lists_of_splits(found.files) + found.notes,
    )


def _lists_of_splits(files: Iterable[str]) -> list[str]:
    """Note lists that give the splits of Speech Commands, and of what is laid out like it."""
    found = sorted({"validation_list.txt", "testing_list.txt"}.intersection(files))
    if not found:
        return []
    note = (
        f"{' and '.join(found)} not read, and splits chosen by a hash; own words with such lists are "
        "read by csv: of a list with the columns path, label and split"
    )
    return [note]


def _clip(
    name: str, split_of: Mapping[str, str], chosen: Callable[[str], str], labels: Labels, ids: Ids
) -> Clip:
    """The clip of a file, whose label is empty where none was found."""
    parts = PurePosixPath(name).parts
    split = split_of.get(parts[0])
    label = _label(parts if split is None else parts[1:], labels)
    return Clip(
        id=clip_name(name, ids),
        path=name,
        labels=() if label is None else (label,),
        split=split or chosen(without_suffix(name)),
    )


def _split_folders(path: CachePath, tops: set[str]) -> dict[str, str]:
    """Map the folders at the top to the splits that they are named like, if all of them are."""
    splits = sorted(top for top in tops if top.lower() in SPLIT_NAMES)
    others = sorted(tops.difference(splits))
    if "train" in map(str.lower, splits) and others:
        raise UsageError(
            f"folder:{path}: {_few(splits)} look like splits, {_few(others)} like classes. If all are "
            f"classes: folder:{option_text(path)}?splits=none. Else move one kind elsewhere, or "
            "list the clips in a csv: manifest.",
            kind="corpus",
        )
    return {} if others else {top: SPLIT_NAMES[top.lower()] for top in splits}


def _splits_below_classes(audio: list[str]) -> list[str]:
    """Reject classes whose own folders are splits: clips would be shared out anew, by a hash."""
    inner = {parts[1] for name in audio if len(parts := PurePosixPath(name).parts) > 2}
    found = {SPLIT_NAMES.get(name.lower()) for name in inner}
    if len(found) < 2 or None in found:
        return []
    problem = (
        f"the folders below the classes, {_few(sorted(inner))}, look like splits, which are read above "
        "classes alone: move them there (train/dog), list the clips in a csv: manifest, or take them "
        "for no splits with ?splits=none"
    )
    return [problem]


def _few(names: list[str]) -> str:
    more = [f"{len(names) - 10} more"] if len(names) > 10 else []
    return ", ".join([*map(printable, names[:10]), *more])


def _label(inner: tuple[str, ...], labels: Labels) -> str | None:
    """Name the class of a file: None without labels, ``""`` where there should be one."""
    if labels == "none":
        return None
    if labels == "prefix":
        stem = PurePosixPath(inner[-1]).stem
        return stem.partition("_" if "_" in stem else ".")[0]
    return inner[0] if len(inner) > 1 else ""
