"""Lists that come with a corpus: their text, the splits of their folds, and what is not there."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.corpora.interface import Entry
from pipeline.corpora.unreadable import meant_instead
from pipeline.corpora.walk import escapes_root, link_way_out, spelled

ListRow = tuple[str, dict[str, str]]


def read_list(source: str, root: Path, name: str) -> str:
    """Read a list of a corpus.

    Parameters
    ----------
    source : str
        The corpus as the user named it, for messages.
    root : Path
        Folder of the corpus.
    name : str
        Path of the list below it.

    Raises
    ------
    UsageError
        If the list is no text, or a link that leads out of the corpus: whose text is shown in
        messages, is not read.
    """
    if escapes_root(root.resolve(), name):
        raise UsageError(
            f"corpus {source}: {name} leads out of the corpus by a link: it {link_way_out(root, name)}",
            kind="corpus",
        )
    try:
        return text_of((root / name).read_bytes())
    except ValueError as error:
        raise UsageError(f"corpus {source}: {name}: {error}", kind="corpus") from None


def text_of(data: bytes) -> str:
    """Decode a list: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises
    ------
    ValueError
        For anything else, with how to convert it.
    """
    marked = len(data) > 2 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8 text (byte {error.start}); convert it, for example with "
            "iconv -f WINDOWS-1252 -t UTF-8 LIST > LIST.utf8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def delimiter_of(header: str) -> str:
    """What separates the cells of a CSV: a tab if its header has one, else ``,``, ``;`` or ``|``."""
    return "\t" if "\t" in header else max(",;|", key=header.count)


def joined_labels(labels: Iterable[Sequence[str]], label_sep: str) -> list[str]:
    """Note labels that look like several in one, and what would separate them."""
    found: dict[str, dict[str, None]] = {}
    for label in (one for several in labels for one in several):
        for mark in ",|;":
            if mark != label_sep and mark in label:
                found.setdefault(mark, {})[label] = None
    return [
        f"{len(names)} class(es) hold {mark!r}, such as {next(iter(names))!r}: each is one class; if it "
        f"separates the labels of a clip, add ?label_sep={spelled(mark)}"
        for mark, names in found.items()
    ]


def folded_entries(
    rows: Sequence[ListRow],
    clip_of: Callable[[dict[str, str], str], Clip],
    *,
    validation_folds: str,
    test_folds: str,
    problems: list[str],
) -> list[Entry]:
    """Make the clip of each row, in the split that its fold serves; folds that are not named train.

    Parameters
    ----------
    rows : sequence of ListRow
        Lines of a list with their places, with a column ``fold``.
    clip_of : callable
        Makes the clip of a line and its split.
    validation_folds, test_folds : str
        Folds joined by ``;``.
    problems : list of str
        Folds that no row has, and folds requested twice, are noted here.
    """
    found = {row["fold"] for _, row in rows}
    split_of = fold_splits(found, validation_folds, test_folds, problems)
    return [Entry(clip_of(row, split_of.get(row["fold"], "train")), place) for place, row in rows]


def fold_splits(
    found: Collection[str], validation_folds: str, test_folds: str, problems: list[str]
) -> dict[str, str]:
    """Map the folds that do not train to their split; `found` are all there are."""
    known = ", ".join(sorted(found, key=lambda fold: (len(fold), fold))) or "none"
    requested = {"validation": _names(validation_folds), "test": _names(test_folds)}
    problems += [
        f"no clip in fold {fold!r} of {split}_folds; folds: {known}"
        for split, folds in requested.items()
        for fold in folds
        if fold not in found
    ]
    problems += [
        f"fold {fold!r} is in validation_folds={validation_folds} and in test_folds={test_folds}; "
        "a fold serves one split, give both options"
        for fold in requested["validation"]
        if fold in requested["test"]
    ]
    return {fold: split for split, folds in requested.items() for fold in folds}


def _names(folds: str) -> list[str]:
    return [name.strip() for name in folds.split(";") if name.strip()]


def drop_missing(
    root: Path, entries: Sequence[Entry], problems: list[str]
) -> tuple[list[Entry], list[str]]:
    """Leave out the listed clips whose file is not there.

    Returns
    -------
    entries : list of Entry
        Those that are there; a broken or outward link counts as there and ends in quarantine.
    notes : list of str
        How many are not, and the first of them. If none is there it is a problem instead.
    """
    there: list[Entry] = []
    missing: list[Entry] = []
    for entry in entries:
        path = entry.clip.path
        # What leads out of the corpus is refused later, whether it is there or not.
        seen = ".." in PurePosixPath(path).parts or os.path.lexists(root / path)
        (there if seen else missing).append(entry)
    if not missing:
        return there, []
    first = missing[0].clip.path
    note = f"{len(missing)} of {len(entries)} listed clips are not there, first: {first}"
    if len(missing) > len(there):
        note += meant_instead(root, first)
    if not there:
        problems.append(note)
    return there, [note]
