"""A manifest: a CSV or TSV file with one clip to a line.

Columns: ``path``; ``label`` or ``labels`` (several joined by ``;``, empty for unlabelled); and,
where wanted, ``id``, ``split``, ``start_s``, ``end_s``. ``speaker``, ``keyword_start_s`` and
``keyword_end_s`` may stand there as annotations and are not read. Any other column is an error, so
that a misspelt ``split`` does not pass for none. Cells are separated by tabs if the header has one, else
by commas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from cache_schema.errors import UsageError, listed
from pipeline.corpora.manifest import (
    FIELDS_SHOWN,
    LABEL_FIELDS,
    Row,
    field_problems,
    manifest_adapter,
    read_text,
    split_labels,
)


def _rows(path: Path, problems: list[str]) -> Iterator[Row]:
    """Yield the lines, cells stripped of blanks; note ill-fitting ones."""
    text = read_text(path, "csv")
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(path, columns)
        label = next(name for name in LABEL_FIELDS if name in columns)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(columns):
                problems.append(
                    f"line {reader.line_num}: {len(cells)} cells, the header has {len(columns)}"
                )
                continue
            fields = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
            yield Row(reader.line_num, fields, split_labels(fields.pop(label)))
    except csv.Error as error:
        raise UsageError(
            f"corpus csv:{path}: line {reader.line_num}: {error}", kind="corpus"
        ) from None


def _check_columns(path: Path, columns: list[str]) -> None:
    """Refuse missing, doubled and unknown columns, all in one message."""
    problems = field_problems(columns, "column")
    problems += [
        f"column {name!r} stands twice"
        for name in dict.fromkeys(columns)
        if columns.count(name) > 1
    ]
    if problems:
        raise UsageError(
            f"corpus csv:{path}: wrong columns\n{listed(problems)}\n"
            f"found:  {', '.join(columns) or 'none'}\nknown:  {FIELDS_SHOWN}",
            kind="columns",
        )


read_csv = manifest_adapter("csv", _rows)
