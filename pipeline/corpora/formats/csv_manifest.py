"""A manifest: a CSV or TSV file with one clip to a line.

Columns: ``path``; ``label`` or ``labels`` (several joined by ``;``, empty for unlabelled); and,
where wanted, ``id``, ``split``, ``start_s``, ``end_s``. ``speaker``, ``keyword_start_s`` and
``keyword_end_s`` may stand there as annotations and are not read. Columns of other names are named by
options. Any further column is an error, so that a misspelt ``split`` does not pass for none, unless
``unknown=ignore``; one without a name, such as an index, is passed over. Cells are separated by tabs if
the header has one, else by commas, semicolons or vertical bars.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from cache_schema.errors import UsageError, bullet_list
from cache_schema.text import one_line
from pipeline.corpora.formats.manifest import (
    ManifestRow,
    manifest_adapter,
    read_manifest,
)
from pipeline.corpora.formats.manifest_advice import next_step
from pipeline.corpora.formats.manifest_columns import (
    FIELDS_SHOWN,
    LABEL_FIELDS,
    Listing,
)
from pipeline.corpora.list_syntax import csv_rows
from pipeline.corpora.listings import delimiter_of

# The index of a data frame has no name, or one of these.
UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")

BYTE_ORDER_MARK = "\ufeff"

# What Excel takes as the separator, above the header.
SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?')


def _rows(listing: Listing) -> Iterator[ManifestRow]:
    """Yield the lines, cells stripped of blanks; note ill-fitting ones."""
    text = read_manifest(listing.path, "csv")
    first = text.partition("\n")[0]
    declared = SEPARATOR_LINE.fullmatch(first.strip())
    delimiter = declared[1] if declared else delimiter_of(first)
    lines = csv_rows(text, delimiter)
    too_long = False
    try:
        if declared:
            next(lines)
        _, header = next(lines, (1, []))
        names = [name.strip() for name in header]
        columns = _columns(listing, names)
        for line, cells in lines:
            if not any(cell.strip() for cell in cells):  # a spreadsheet's rows below the last
                continue
            if len(cells) != len(columns):
                too_long |= len(cells) > len(columns)
                listing.problems.append(
                    f"line {line}: {len(cells)} cells, the header has {len(columns)}"
                )
                continue
            if [cell.lstrip(BYTE_ORDER_MARK).strip() for cell in cells] == names:
                listing.problems.append(
                    f"line {line}: the header a second time, as of files joined by cat; delete the line"
                )
                continue
            pairs = zip(columns, (cell.strip() for cell in cells), strict=True)
            fields = {name: cell for name, cell in pairs if name is not None}
            labels = next((fields.pop(name) for name in LABEL_FIELDS if name in fields), "")
            yield ManifestRow(line, fields, listing.split_labels(labels))
    except csv.Error as error:
        raise UsageError(f"corpus csv:{listing.path}: {error}", kind="corpus") from None
    if too_long:
        listing.hints.append(
            f'A cell that holds {delimiter!r} stands in quotes: "dog{delimiter}cat"'
        )


def _columns(listing: Listing, names: list[str]) -> list[str | None]:
    """The field of each column, None where none is read; rejects wrong columns in one message."""
    named = [name for name in names if not UNNAMED.fullmatch(name)]
    problems = listing.column_problems(named, "column")
    problems += [f"column {name!r} stands twice" for name in listing.doubled(named)]
    if problems:
        path, found = listing.path, ", ".join(map(one_line, names)) or "none"
        raise UsageError(
            f"corpus csv:{path}: wrong columns\n{bullet_list(problems)}\n"
            f"found:  {found}\nknown:  {FIELDS_SHOWN}\n{next_step(listing, named, 'column')}",
            kind="columns",
        )
    fields, unknown = listing.fields_of(named)
    unnamed = len(names) - len(named)
    left = [*unknown, *([f"{unnamed} without a name"] if unnamed else [])]
    listing.notes += [f"columns not read: {', '.join(left)}"] if left else []
    return [fields.get(name) for name in names]


read_csv = manifest_adapter("csv", _rows)
