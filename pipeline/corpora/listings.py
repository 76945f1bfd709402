"""Lists that come with a corpus: their text, rows and folds, the audio beside them, what is not there.

Those of published corpora run to two million lines and their folders to as many files, of which some
are no longer to be had. So every folder is listed once and no single file is examined, and a clip that
is listed but not there is counted, not rejected.
"""

from __future__ import annotations

import codecs
import csv
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cache_schema.cautions import few
from cache_schema.clip import Clip
from cache_schema.errors import UsageError, bullet_list
from cache_schema.paths import absent
from cache_schema.plugins import nearest_name
from cache_schema.text import ALIKE, alike_names, not_utf8, not_utf8_at, shell_word, visible
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.interface import Entry
from pipeline.corpora.list_syntax import csv_rows
from pipeline.corpora.unreadable import suggested_path
from pipeline.corpora.walk import (
    escapes_root,
    link_explanation,
    list_folder,
    option_text,
    printable,
)

ListRow = tuple[str, dict[str, str]]


def check_lists(source: str, root: Path, names: Sequence[str]) -> None:
    """Reject a folder without its lists.

    Parameters
    ----------
    source : str
        The corpus as the user named it, for messages.
    root : Path
        Folder of the corpus.
    names : sequence of str
        Paths of the lists below it.

    Raises
    ------
    UsageError
        Naming every list that is missing.
    """
    if missing := [absent(root, name) for name in names if not (root / name).is_file()]:
        way = elsewhere(source, root, names) or "Put them there as published"
        raise UsageError(
            f"corpus {source}: {len(missing)} of its lists are missing\n{bullet_list(missing)}\n"
            f"{way}, then repeat the command.",
            kind="missing",
        )


MAX_PLACES = 100  # folders that are looked into


def elsewhere(source: str, root: Path, names: Sequence[str]) -> str:
    """Name the folder that has all of some files and folders: above, or one or two below; or nothing."""
    below = sorted(root.glob("*/"))[:MAX_PLACES]
    for place in [
        root.absolute().parent,
        *below,
        *(inner for b in below for inner in b.glob("*/")),
    ]:
        if all((place / name).exists() for name in names):
            kind = source.partition(":")[0]
            return f"They are in {place}: name it, {shell_word(f'{kind}:{option_text(place)}')}"
    return ""


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
            f"corpus {source}: {name} leads out of the corpus by a link: it "
            f"{link_explanation(root, name)}",
            kind="corpus",
        )
    try:
        return text_of((root / name).read_bytes())
    except ValueError as error:
        raise UsageError(f"corpus {source}: {name}: {error}", kind="corpus") from None


# What a list is packed in, by its first bytes, and the way to it.
_PACKED = {
    b"PK\x03\x04": "a spreadsheet or a zip archive: save the sheet as CSV, or unpack it",
    b"\x1f\x8b": "compressed with gzip: gunzip it",
}
_MISSING = ("na", "n/a", "#n/a", "nan", "null")
_BYTES_OF_CHARACTER = 4  # of UTF-32, at most


def text_of(data: bytes) -> str:
    """Decode a list: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises
    ------
    ValueError
        For anything else, with how to convert it.
    """
    if unpacked := next((way for head, way in _PACKED.items() if data.startswith(head)), None):
        raise ValueError(f"no text but {unpacked}")
    marked = len(data) > 2 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        if marked:
            raise ValueError(
                f"it begins as UTF-16 and is none from byte {error.start} on: it was cut there, or what "
                "follows was appended in another encoding. Save it anew as UTF-8"
            ) from None
        raise ValueError(_no_utf8(data, error.start)) from None
    if "\0" in text[:_BYTES_OF_CHARACTER]:
        raise ValueError(
            "not UTF-8 text but, as it holds zeros, probably UTF-32, or UTF-16 without a byte order "
            "mark; convert it, for example with iconv -f UTF-16LE -t UTF-8 LIST > LIST.utf8"
        )
    if zeros := text.count("\0"):
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise ValueError(
            f"line {line} holds a zero byte, of {zeros} in all: something wrote over it, or a program "
            "padded a cell. Mend that line, or leave the zeros out: tr -d '\\0' < LIST > LIST.clean"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_utf8(data: bytes, byte: int) -> str:
    """Name where a list stops being UTF-8, and the way on.

    Of rows in two encodings a conversion of the whole would spoil those that are right.
    """
    others = [row for row in data.splitlines() if not row.isascii() and _is_utf8(row)]
    if others:
        return (
            f"{not_utf8_at(data, byte)}, though {len(others)} other line(s) with letters beyond ASCII "
            "are: rows of two encodings were joined. Convert those of one source before they are joined"
        )
    return not_utf8(data, byte, "LIST")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def delimiter_of(header: str) -> str:
    """What separates the cells of a CSV: a tab if its header has one, else ``,``, ``;`` or ``|``."""
    return "\t" if "\t" in header else max(",;|", key=header.count)


def joined_labels(labels: Iterable[Sequence[str]], label_sep: str) -> list[str]:
    """Note labels that look like several in one, and what would separate them.

    What rarely stands in the name of one class separates several; another mark, if all that it
    separates are classes by themselves.
    """
    found: dict[str, dict[str, None]] = {}
    names = dict.fromkeys(one for several in labels for one in several)
    for label in names:
        for mark in (",", "|", ";", "\n", "+", "/", "&", " "):
            parts = [part.strip() for part in label.split(mark)] if mark in label else []
            if mark != label_sep and parts and (mark in ",|;\n" or names.keys() >= {*parts}):
                found.setdefault(mark, {})[label] = None
    return [
        f"{len(names)} class(es) hold {mark!r}, such as {next(iter(names))!r}: each is one class; if it "
        f"separates the labels of a clip, add ?label_sep={option_text(mark)}"
        for mark, names in found.items()
    ]


def marks_as_labels(labels: Iterable[Sequence[str]]) -> list[str]:
    """Note labels that look like the marks of a sheet with a column for each class."""
    names = dict.fromkeys(one for several in labels for one in several)
    plain = {name.casefold() for name in names}
    if not plain or not plain <= {"x", "0", "1", "true", "false", "?", "-"}:
        return []
    note = (
        f"classes are {few([*names])}: if the list has a column for each class, with marks in it, write "
        "the names of those that are marked into one cell of each clip, joined by ;"
    )
    return [note]


def missing_as_labels(labels: Iterable[Sequence[str]]) -> list[str]:
    """Note labels that programs write where a cell is empty: they are classes as they stand.

    >>> missing_as_labels([("yes",), ("NA",), ("NA",)])
    ["2 clip(s) are of the class 'NA', which programs write for an empty cell: leave it empty if it is"]
    """
    counts = Counter(one for several in labels for one in several if one.casefold() in _MISSING)
    return [
        f"{count} clip(s) are of the class {name!r}, which programs write for an empty cell: leave it "
        "empty if it is"
        for name, count in counts.items()
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
    """Map the folds that do not train to their split; `found` are all there are.

    A fold in two Unicode forms is one; names that differ in case or blanks alone must serve one split.
    """
    forms: dict[str, list[str]] = {}
    for fold in found:
        forms.setdefault(visible(fold), []).append(fold)
    known = ", ".join(sorted(forms, key=lambda fold: (len(fold), fold))) or "none"
    options = {"validation": validation_folds, "test": test_folds}
    requested = {split: _names(text, forms) for split, text in options.items()}
    alone = "; one with ; in its name is given alone, or renamed" * (";" in known)
    problems += [
        f"no clip in fold {fold!r} of {split}_folds; folds: {known}{alone}"
        for split, folds in requested.items()
        for fold in folds
        if fold not in forms
    ]
    problems += [
        f"fold {fold!r} is in validation_folds={validation_folds} and in test_folds={test_folds}; "
        "a fold serves one split, give both options"
        for fold in requested["validation"]
        if fold in requested["test"]
    ]
    serves = {fold: split for split, folds in requested.items() for fold in folds}
    problems += _folds_alike(serves, forms)
    return {name: split for fold, split in serves.items() for name in forms.get(fold, ())}


def _folds_alike(serves: Mapping[str, str], found: Collection[str]) -> list[str]:
    """Folds that seem to be one, written in two ways, of which one serves another split."""
    return [
        f"folds that {ALIKE} serve several splits: "
        + ", ".join(f"{fold!a} ({serves.get(fold, 'train')})" for fold in folds)
        + "; write them alike, or name them together"
        for folds in alike_names(sorted(found))
        if len({serves.get(fold, "train") for fold in folds}) > 1
    ]


def _names(folds: str, known: Collection[str]) -> list[str]:
    """The folds that an option names: one whose own name may hold ``;``, or several joined by it."""
    names = [name for text in folds.split(";") if (name := visible(text))]
    whole = visible(folds)
    return [whole] if whole in known and not {*names} <= {*known} else names


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
        # What leads out of the corpus is rejected later, whether it is there or not.
        seen = ".." in PurePosixPath(path).parts or os.path.lexists(root / path)
        (there if seen else missing).append(entry)
    if not missing:
        return there, []
    first = missing[0].clip.path
    note = f"{len(missing)} of {len(entries)} listed clips are not there, first: {first}"
    if len(missing) > len(there):
        note += suggested_path(root, first)
    if not there:
        problems.append(note)
    return there, [note]


def each_row(
    source: str, root: Path, name: str, columns: Sequence[str], problems: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a long list in CSV one by one, each with its place.

    Parameters
    ----------
    source, root, name
        As for `read_list`.
    columns : sequence of str
        Columns that the header must have; others are kept too.
    problems : list of str
        Grows by a line for each row that has not as many cells as the header.

    Raises
    ------
    UsageError
        For missing columns, and for text that is no CSV.
    """
    text = read_list(source, root, name)
    delimiter = delimiter_of(text.partition("\n")[0])
    lines = csv_rows(text, delimiter)
    try:
        _, header = next(lines, (1, []))
        if missing := [column for column in columns if column not in header]:
            raise UsageError(
                f"corpus {source}: {name} lacks the column(s) {', '.join(missing)}; "
                f"found: {', '.join(header) or 'none'}; needed: {', '.join(columns)}",
                kind="columns",
            )
        for line, cells in lines:
            place = f"{name} line {line}"
            if len(cells) == len(header):
                yield place, dict(zip(header, cells, strict=True))
            elif cells:
                problems.append(f"{place}: {len(cells)} cells, the header has {len(header)}")
    except csv.Error as error:
        raise UsageError(f"corpus {source}: {name} {error}", kind="corpus") from None


def audio_below(root: Path) -> Iterator[str]:
    """Yield the paths below a folder of all audio files, sorted folder by folder.

    What `pipeline.corpora.walk.files_below` skips is left out.

    Raises
    ------
    UsageError
        If a folder cannot be listed, or is a link that is not followed.
    """
    for name in list_folder(root).files:
        if name.lower().endswith(AUDIO_SUFFIXES):
            yield name


def audio_by_stem(root: Path, folder: str, problems: list[str]) -> dict[str, str]:
    """Map the name without suffix of each audio file below a folder to its path below the root.

    Two files of one name are a problem: nothing decides which of them the list means.
    """
    found: dict[str, str] = {}
    if not (root / folder).is_dir():
        return found
    for name in audio_below(root / folder):
        path = (PurePosixPath(folder) / name).as_posix()
        first = found.setdefault(PurePosixPath(name).stem, path)
        if first != path:
            problems.append(f"{printable(path)} has the name of {printable(first)}; keep one")
    return found


def drop_without_path(entries: Sequence[Entry], listing: str) -> tuple[list[Entry], list[str]]:
    """Drop the entries without a path, whose audio is not there.

    Parameters
    ----------
    entries : sequence of Entry
        All that were listed.
    listing : str
        The list they stand in.

    Returns
    -------
    kept : list of Entry
    notes : list of str
        How many are not there; empty if all are.
    """
    kept = [entry for entry in entries if entry.clip.path]
    if len(kept) == len(entries):
        return kept, []
    first = next(entry.clip.id for entry in entries if not entry.clip.path)
    gone = len(entries) - len(kept)
    share = f"{100 * gone / len(entries):.1f} %"
    note = f"{gone} of {len(entries)} listed clips are not there ({share}), first: {first}"
    return kept, [f"{listing}: {note}"]


def nearest_hint(column: str, names: Iterable[str]) -> str:
    """Name the column that was likely meant, to follow a problem; empty if none is near."""
    nearest = nearest_name(column, names)
    return f"; the nearest is {nearest!r}" if nearest else ""
