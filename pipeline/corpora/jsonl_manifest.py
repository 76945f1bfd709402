"""A manifest in JSON Lines: one JSON object to a line, one clip to an object.

The fields are the columns of a CSV manifest (`pipeline.corpora.csv_manifest`). ``labels`` may also be
a list, whose labels may then hold any character, and which is empty if the clip has none of the
classes; seconds may be numbers or text; null is as good as no field. Lines may differ in the fields they
have, except that ``split`` stands in all or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.corpora.manifest import (
    FIELDS_SHOWN,
    KNOWN_FIELDS,
    LABEL_FIELDS,
    Row,
    field_problems,
    manifest_adapter,
    read_text,
    split_labels,
)
from pipeline.corpora.walk import shown_name

_NUMBER = (str | int | float, "a number")
_TYPES: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(LABEL_FIELDS, (str, "text or a list of texts")),
    **dict.fromkeys(("start_s", "end_s", "keyword_start_s", "keyword_end_s"), _NUMBER),
}


def _rows(path: Path, problems: list[str]) -> Iterator[Row]:
    """Yield the objects that can be read; note what is wrong with the others."""
    unknown, with_split, without_split = False, 0, 0
    # Not str.splitlines: text within JSON may hold separators of lines that are no newline.
    for line, text in enumerate(read_text(path, "jsonl").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            fields = _fields(text)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {line}: {error}")
            continue
        unknown |= not set(fields) <= set(KNOWN_FIELDS)
        with_split = with_split or line * ("split" in fields)
        without_split = without_split or line * ("split" not in fields)
        if found := field_problems(list(fields), "field") + _value_problems(fields):
            problems += [f"line {line}: {problem}" for problem in found]
        else:
            yield _row(line, fields)
    if with_split and without_split:
        problems.append(f"line {without_split} has no split, line {with_split} has one")
    if unknown:
        problems.append(f"known fields: {FIELDS_SHOWN}")


def _row(line: int, fields: dict[str, Any]) -> Row:
    """Make a row of values of the right types."""
    labels = fields.pop(next(name for name in LABEL_FIELDS if name in fields))
    return Row(
        line,
        {name: str(value).strip() for name, value in fields.items()},
        split_labels(labels) if isinstance(labels, str) else [label.strip() for label in labels],
    )


def _fields(text: str) -> dict[str, Any]:
    """Read the object of a line, without nulls; a label that is null means unlabelled."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"field {twice[0]!r} stands twice")
        return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, got {text.strip()[:60]}")
    given = {name: "" if name in LABEL_FIELDS and v is None else v for name, v in document.items()}
    return {name: value for name, value in given.items() if value is not None}


def _value_problems(fields: dict[str, Any]) -> list[str]:
    """Find values that are not of their field's type, and text that no file can hold."""
    problems = []
    for name, value in fields.items():
        texts = value if isinstance(value, list) and name in LABEL_FIELDS else [value]
        types, wanted = _TYPES.get(name, (str, "text"))
        if not all(isinstance(one, types) and not isinstance(one, bool) for one in texts):
            problems.append(f"{name} must be {wanted}, got {json.dumps(value)[:60]}")
        elif shown_name("".join(map(str, texts))) != "".join(map(str, texts)):
            problems.append(f"{name} is not text that UTF-8 can hold: {json.dumps(value)[:60]}")
    return problems


read_jsonl = manifest_adapter("jsonl", _rows)
