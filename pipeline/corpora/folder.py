"""A folder of audio: a class per folder, with or without a folder per split above them.

``ROOT/dog/a.wav`` and ``ROOT/train/dog/a.wav`` are both understood; the second where every folder
of ROOT is named like a split (train, validation, valid, val, dev, test, ...). Without split folders
10 % of the clips go to validation and 10 % to test, chosen by a hash of the id.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.audio import AUDIO_SUFFIXES
from pipeline.corpora.interface import (
    SPLIT_NAMES,
    Corpus,
    Entry,
    build_corpus,
    check_shares,
    hashed_split,
    need_folder,
    shown_name,
    without_suffix,
)

Labels = Literal["folder", "prefix", "none"]


def read_folder(
    path: Path, *, validation: float = 0.1, test: float = 0.1, labels: Labels = "folder"
) -> Corpus:
    """Read a folder of audio files.

    Hidden files and folders are skipped, files without an audio suffix are left out and counted.
    The id of a clip is its path without suffix.

    Parameters
    ----------
    path : Path
        The folder.
    validation, test : float
        Shares of the clips in these splits where no split folders say otherwise.
    labels : str
        ``"folder"``: the class is the (first) folder; ``"prefix"``: it is the file's name up to the
        first underscore; ``"none"``: the clips are unlabelled.

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    need_folder(path, "folder")
    check_shares(validation, test)
    problems: list[str] = []
    files = list(_walk(path, path, problems))
    audio = [name for name in files if PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES]
    has_splits = _has_split_folders(path)
    entries = []
    for name in audio:
        parts = PurePosixPath(name).parts
        if has_splits and len(parts) > 1:
            split, inner = SPLIT_NAMES[parts[0].lower()], parts[1:]
        else:
            split, inner = (
                hashed_split(without_suffix(name), validation=validation, test=test),
                parts,
            )
        label = _label(inner, labels)
        if label == "":
            problems.append(f"{name}: lies in no class folder (or ask for ?labels=prefix or none)")
        else:
            clip_labels = () if label is None else (label,)
            clip = Clip(id=without_suffix(name), path=name, labels=clip_labels, split=split)
            entries.append(Entry(clip, name))
    left_out = len(files) - len(audio)
    return build_corpus(
        path,
        entries,
        source=f"folder:{path}",
        task="single",
        problems=problems,
        notes=[f"{left_out} file(s) without an audio suffix left out"] if left_out else [],
    )


def _walk(folder: Path, root: Path, problems: list[str]) -> Iterator[str]:
    """Yield the POSIX paths of all files that are not hidden, sorted folder by folder."""
    try:
        with os.scandir(folder) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{shown_name(folder.relative_to(root).as_posix())}: {error.strerror}")
        return
    for entry in found:
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if entry.name.startswith("."):
            continue
        if not path.is_dir():
            yield name
        elif entry.is_symlink():
            problems.append(f"{name}: a link to a folder; links to folders are not followed")
        else:
            yield from _walk(path, root, problems)


def _has_split_folders(path: Path) -> bool:
    """Tell whether all folders at the top are named like splits, none of them twice."""
    names = [p.name.lower() for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    splits = [name for name in names if name in SPLIT_NAMES]
    others = [name for name in names if name not in SPLIT_NAMES]
    if "train" in splits and others:
        raise UsageError(
            f"folder:{path}: {', '.join(splits)} look like splits, {', '.join(others)} like classes; "
            "move one kind elsewhere, or list the clips in a csv: manifest.",
            kind="corpus",
        )
    return bool(names) and not others


def _label(inner: tuple[str, ...], labels: Labels) -> str | None:
    """Name the class of a file: None without labels, ``""`` where there should be one."""
    if labels == "none":
        return None
    if labels == "prefix":
        return PurePosixPath(inner[-1]).stem.partition("_")[0]
    return inner[0] if len(inner) > 1 else ""
