"""CSV and JSON as lists are written in them, with errors that say what in the file is wrong."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

# No field holds a number as long; 64-bit floats end with the 309th digit.
_MAX_DIGITS = 308


def csv_rows(text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table, each with the number of its last line, from 1.

    Raises
    ------
    csv.Error
        Naming the line in which the row begins that cannot be read, and what to do about it.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            yield reader.line_num, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        way = (
            "Close it (a cell with a quote of its own stands in quotes, with that one doubled: "
            '"say ""yes"""), and repeat the command'
        )
        if reader.line_num > begin or "unexpected end" in str(error):
            problem = "a quote that opens there is not closed where its cell ends"
        elif "expected after" in str(error):
            problem = f"behind a cell in quotes stands neither {delimiter!r} nor the line's end"
        elif "field limit" in str(error):
            problem = f"a cell of more than {csv.field_size_limit()} characters"
            way = "Shorten it, and repeat the command"
        else:
            problem, way = str(error), "Correct that line, and repeat the command"
        raise csv.Error(f"line {begin}: {problem}. {way}") from None


def json_value(text: str) -> Any:
    """Read JSON.

    Raises
    ------
    ValueError
        If it is none, or holds a field twice, a number that is too long or too many levels.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_int=_whole)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"not JSON ({error.msg}, {line}column {error.colno})") from None
    except RecursionError:
        raise ValueError("JSON of too many levels") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice!r} stands twice")
    return document


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, at most {_MAX_DIGITS} are read")
    return int(digits)
