"""A manifest: a CSV or TSV file with one clip to a line.

Columns: ``path``; ``label`` or ``labels`` (several joined by ``;``, empty for unlabelled); and,
where wanted, ``id``, ``split``, ``start_s``, ``end_s``. ``speaker``, ``keyword_start_s`` and
``keyword_end_s`` may stand there as annotations and are not read. Any other column is an error, so
that a misspelt ``split`` does not pass for none.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError, listed
from pipeline.corpora.interface import (
    SPLIT_NAMES,
    Corpus,
    Entry,
    build_corpus,
    check_shares,
    hashed_split,
    without_suffix,
)

LABEL_COLUMNS = ("label", "labels")
OPTIONAL_COLUMNS = ("id", "split", "start_s", "end_s")
ANNOTATION_COLUMNS = ("speaker", "keyword_start_s", "keyword_end_s")


def read_csv(
    path: Path,
    *,
    root: str = "",
    classes: str = "",
    task: Literal["auto", "single", "multi"] = "auto",
    validation: float = 0.1,
    test: float = 0.1,
) -> Corpus:
    """Read a manifest in UTF-8, separated by tabs if its header has one, else by commas.

    Without an ``id`` a clip is named by its path without suffix, a segment by that, ``#`` and its
    start. Without a ``split`` column it is chosen by a hash of the recording's path.

    Parameters
    ----------
    path : Path
        The manifest.
    root : str
        Folder the paths are relative to; by default the manifest's own.
    classes : str
        Classes in order, joined by ``;``; other labels are errors. By default the sorted labels
        found.
    task : str
        ``"auto"`` is multi-label if any clip has several labels.
    validation, test : float
        Shares of these splits where the manifest has no ``split`` column.

    Raises
    ------
    UsageError
        Listing everything wrong with line numbers: see
        `pipeline.corpora.interface.build_corpus`.
    """
    check_shares(validation, test)
    folder = Path(root).expanduser() if root else path.parent
    if not folder.is_dir():
        raise UsageError(f"corpus csv:{path}: root={root} is not a folder", kind="missing")
    problems: list[str] = []
    entries = []
    for line, row in _rows(path, problems):
        parsed = _Row(row)
        if "split" in row:
            split = row["split"]
        else:
            name = without_suffix(row["path"])
            split = hashed_split(name, validation=validation, test=test)
        clip = parsed.clip(SPLIT_NAMES.get(split.lower(), split))
        problems += [f"line {line}: {problem}" for problem in parsed.problems]
        entries.append(Entry(clip, f"line {line}"))
    return build_corpus(
        folder,
        entries,
        source=f"csv:{path}",
        classes=[name for name in classes.split(";") if name] or None,
        task=task,
        problems=problems,
    )


@dataclass(slots=True)
class _Row:
    """One line's cells by column, and what is wrong with them."""

    cells: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def seconds(self, column: str) -> float | None:
        """Read a number of seconds, None where the cell is empty or absent."""
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            self.problems.append(f"{column} must be seconds from 0, got {text!r}")
            return None
        return value

    def clip(self, split: str) -> Clip:
        path, start_s, end_s = self.text("path"), self.seconds("start_s"), self.seconds("end_s")
        if end_s is not None and end_s <= (start_s or 0.0):
            self.problems.append(f"end_s {end_s:g} is not after start_s {start_s or 0.0:g}")
        if not split:
            self.problems.append("the split is empty; leave out the column to have one chosen")
        name = without_suffix(path)
        if start_s is not None or end_s is not None:
            name = f"{name}#{start_s or 0.0:.10g}"
        column = next(name for name in LABEL_COLUMNS if name in self.cells)
        labels = [label.strip() for label in self.text(column).split(";")]
        return Clip(
            id=self.text("id") if "id" in self.cells else name,
            path=path,
            labels=tuple(dict.fromkeys(filter(None, labels))),
            split=split,
            start_s=start_s or 0.0,
            end_s=end_s,
        )


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the lines with their numbers, cells stripped of blanks; note ill-fitting ones."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        raise UsageError(f"corpus csv:{path}: a folder, not a manifest", kind="missing") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"corpus csv:{path}: not UTF-8 text (byte {error.start})", kind="corpus"
        ) from None
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(path, columns)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(columns):
                problems.append(
                    f"line {reader.line_num}: {len(cells)} cells, the header has {len(columns)}"
                )
                continue
            stripped = (cell.strip() for cell in cells)
            yield reader.line_num, dict(zip(columns, stripped, strict=True))
    except csv.Error as error:
        raise UsageError(
            f"corpus csv:{path}: line {reader.line_num}: {error}", kind="corpus"
        ) from None


def _check_columns(path: Path, columns: list[str]) -> None:
    """Refuse missing, doubled and unknown columns, all in one message."""
    known = ("path", *LABEL_COLUMNS, *OPTIONAL_COLUMNS, *ANNOTATION_COLUMNS)
    problems = []
    if "path" not in columns:
        problems.append("missing column: path")
    labels = [name for name in LABEL_COLUMNS if name in columns]
    if not labels:
        problems.append("missing column: label (or labels)")
    elif len(labels) > 1:
        problems.append("columns label and labels: only one of them")
    problems += [
        f"column {name!r} stands twice"
        for name in dict.fromkeys(columns)
        if columns.count(name) > 1
    ]
    problems += [f"unknown column {name!r}" for name in columns if name not in known]
    if problems:
        raise UsageError(
            f"corpus csv:{path}: wrong columns\n{listed(problems)}\n"
            f"found:  {', '.join(columns) or 'none'}\n"
            f"known:  path, label or labels, {', '.join(OPTIONAL_COLUMNS + ANNOTATION_COLUMNS)}",
            kind="columns",
        )
