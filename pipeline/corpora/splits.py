"""Splits of corpora that come as files named after them, and shares for splits that have no file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from cache_schema.errors import UsageError
from pipeline.corpora.interface import (
    DEFAULT_SHARE,
    SPLIT_NAMES,
    Entry,
    check_shares,
    hashed_split,
)


def guess_split(name: str) -> str | None:
    """Find the split in a file's or split's name: the first word that names one.

    Examples
    --------
    >>> guess_split("eval_segments_mp3"), guess_split("FSD50K.val_mp3"), guess_split("waveforms")
    ('test', 'validation', None)
    """
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def split_of_file(path: str) -> str | None:
    """Find the split in a file's name or, failing that, in the folders above it, nearest first."""
    parts = [PurePosixPath(path).stem, *reversed(PurePosixPath(path).parts[:-1])]
    return next(filter(None, map(guess_split, parts)), None)


def parse_split_options(requested: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Map what options name to the split that it serves.

    Parameters
    ----------
    requested : mapping of str to str
        For each split what serves it, joined by ``;``.
    problems : list of str
        What is named for two splits is noted here.
    """
    serves: dict[str, str] = {}
    for split, names in requested.items():
        for name in filter(None, map(str.strip, names.split(";"))):
            if serves.setdefault(name, split) != split:
                problems.append(
                    f"{name} is named for {serves[name]} and for {split}; it serves one"
                )
    return serves


def unused_notes(what: str, names: Sequence[str]) -> list[str]:
    """Note which packs or splits options leave out."""
    return [f"not read, as no option names it: {what} {name}" for name in names]


def with_shares(
    entries: Sequence[Entry], validation: float, test: float
) -> tuple[list[Entry], list[str]]:
    """Move shares of the training clips, chosen by a hash, to splits that have no clip.

    The hash is that of the group where there is one, else of the id.

    Parameters
    ----------
    entries : sequence of Entry
        All clips.
    validation, test : float
        Shares of the training clips for these splits, where they are empty.

    Returns
    -------
    entries : list of Entry
        The same clips in the same order.
    notes : list of str
        What was moved.

    Raises
    ------
    UsageError
        If the shares leave nothing to train on, or one is given for a split that has clips.
    """
    check_shares(validation, test, "_share")
    there = {entry.clip.split for entry in entries}
    shares = {"validation": validation, "test": test}
    for split, share in shares.items():
        if split in there and share not in (0, DEFAULT_SHARE):
            raise UsageError(
                f"{split}_share={share} is of training clips for a split without any, and {split} "
                "has clips; leave it out",
                kind="options",
            )
    shares = {split: 0.0 if split in there else share for split, share in shares.items()}
    moved = []
    for entry in entries:
        clip = entry.clip
        split = (
            hashed_split(clip.group or clip.id, **shares) if clip.split == "train" else clip.split
        )
        moved.append(Entry(replace(clip, split=split), entry.place))
    notes = [
        f"no clips are given for {split}: {100 * share:g} % of the training clips, by a hash "
        f"({split}_share=0 leaves them)"
        for split, share in shares.items()
        if share and "train" in there
    ]
    return moved, notes
