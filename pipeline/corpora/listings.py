"""What readers of published corpora share: the lists that come with them, and audio listed once.

Their lists run to two million lines and their folders to as many files, of which some are no longer
to be had. So every folder is listed once and no single file is examined, and a clip that is
listed but not there is counted, not refused.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from cache_schema.errors import UsageError, bullet_list
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.interface import Entry
from pipeline.corpora.lists import delimiter_of, read_list
from pipeline.corpora.walk import listed_folder, printable


def check_lists(source: str, root: Path, names: Sequence[str]) -> None:
    """Refuse a folder without its lists.

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
    if missing := [name for name in names if not (root / name).is_file()]:
        raise UsageError(
            f"corpus {source}: {len(missing)} of its lists are missing\n{bullet_list(missing)}\n"
            "Put them there as published, then repeat the command.",
            kind="missing",
        )


def each_row(
    source: str, root: Path, name: str, columns: Sequence[str], problems: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a long list in CSV one by one, each with its place.

    Parameters
    ----------
    source, root, name
        As for `pipeline.corpora.lists.read_list`.
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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        if missing := [column for column in columns if column not in header]:
            raise UsageError(
                f"corpus {source}: {name} lacks the column(s) {', '.join(missing)}; "
                f"found: {', '.join(header) or 'none'}; needed: {', '.join(columns)}",
                kind="columns",
            )
        for cells in reader:
            place = f"{name} line {reader.line_num}"
            if len(cells) == len(header):
                yield place, dict(zip(header, cells, strict=True))
            elif cells:
                problems.append(f"{place}: {len(cells)} cells, the header has {len(header)}")
    except csv.Error as error:
        raise UsageError(
            f"corpus {source}: {name} line {reader.line_num}: {error}", kind="corpus"
        ) from None


def audio_below(root: Path) -> Iterator[str]:
    """Yield the paths below a folder of all audio files, sorted folder by folder.

    What `pipeline.corpora.walk.files_below` skips is left out.

    Raises
    ------
    UsageError
        If a folder cannot be listed, or is a link that is not followed.
    """
    for name in listed_folder(root).files:
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
