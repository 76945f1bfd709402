"""A manifest in JSON Lines: one JSON object to a line, one clip to an object.

The fields are the columns of a CSV manifest (`pipeline.corpora.formats.csv_manifest`). ``labels`` may
also be a list, whose labels may then hold any character, and which is empty if the clip has none of
the classes; labels may be whole numbers, seconds numbers or text; null is as good as no field. Lines
may differ in the fields they have, except that ``split`` stands in all or none.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from json import JSONDecoder
from typing import Any

from cache_schema.errors import UsageError
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.formats.manifest import (
    ManifestRow,
    manifest_adapter,
    read_manifest,
)
from pipeline.corpora.formats.manifest_advice import next_step
from pipeline.corpora.formats.manifest_columns import (
    FIELDS_SHOWN,
    GROUP,
    LABEL_FIELDS,
    OPTIONAL_FIELDS,
    Listing,
)
from pipeline.corpora.list_syntax import json_value
from pipeline.corpora.listings import nearest_hint
from pipeline.corpora.walk import printable

_NUMBER = (str | int | float, "a number")
_TYPES: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(LABEL_FIELDS, (str | int, "text or a list of texts")),
    **dict.fromkeys(("start_s", "end_s", "keyword_start_s", "keyword_end_s"), _NUMBER),
    "split": (str | int, "text or a whole number"),
    GROUP: (str | int, "text or a whole number"),
}


def _rows(listing: Listing) -> Iterator[ManifestRow]:
    """Yield the objects that can be read; note what is wrong with the others."""
    found = _Lines(listing)
    content = read_manifest(listing.path, "jsonl")
    if filter_of_jq := _filter_of_jq(listing, content):
        raise UsageError(
            f"corpus jsonl:{listing.path}: objects are not a line each; write them so, as "
            f"jq -c {shlex.quote(filter_of_jq)} LIST.json > LIST.jsonl",
            kind="corpus",
        )
    # Not str.splitlines: text within JSON may hold separators of lines that are no newline.
    for line, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            continue
        try:
            document = found.without_nulls(_document(text))
        except ValueError as error:
            listing.problems.append(f"line {line}: {error}")
            continue
        wrong_fields, wrong_values = found.problems(line, document)
        listing.problems += [f"line {line}: {problem}" for problem in wrong_values]
        if not wrong_fields and not wrong_values:
            yield found.row(line, document)
    found.end()
    if listing.problems and not re.search(r"^\s*\{", content, re.MULTILINE):
        listing.hints.append("No line is a JSON object; a table with a header is read by csv:")


def _filter_of_jq(listing: Listing, content: str) -> str:
    """The filter of jq that gives the objects of JSON that is no list of lines; empty of what is one."""
    try:
        document, end = JSONDecoder().raw_decode(content, len(content) - len(content.lstrip()))
    except (ValueError, RecursionError):
        return ".[]" if re.match(r"\s*\[\s*\{", content) else ""
    if not isinstance(document, dict):
        return _place_of_rows(document)
    several_lines = "\n" in content[:end].strip()
    if "path" in map(listing.field_of, document):
        return "." * several_lines
    rows = _place_of_rows(document)
    if several_lines:
        return rows or "."
    has_path = any(str(value).lower().endswith(AUDIO_SUFFIXES) for value in document.values())
    return "" if has_path or content[end:].strip() else rows


def _place_of_rows(document: Any, levels: int = 3) -> str:
    """Filter of the first list of objects in a document, as ``.data[]``; empty if there is none.

    >>> _place_of_rows({"meta": 1, "data": {"my-items": [{}]}})
    '.data."my-items"[]'
    """
    if isinstance(document, list):
        return ".[]" if document and isinstance(document[0], dict) else ""
    for key, value in document.items() if isinstance(document, dict) and levels else ():
        if rest := _place_of_rows(value, levels - 1):
            name = key if re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) else json.dumps(key)
            return f".{name}{rest.removeprefix('.') if rest.startswith('.[') else rest}"
    return ""


class _Lines:
    """What is known of all lines together: names of fields, and in which form classes are written."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._left_out: dict[str, None] = {}
        self._seen: set[str] = set()
        self._wrong: dict[str, list[int]] = {}
        self._odd: list[str] | None = None
        self._split_lines: dict[bool, int] = {}
        self._texts: dict[str, int] = {}
        self._numbers: dict[str, int] = {}

    def without_nulls(self, document: dict[str, Any]) -> dict[str, Any]:
        """Leave out fields that are null; a label that is means unlabelled."""
        labels = {name for name in document if self._listing.field_of(name) in LABEL_FIELDS}
        given = {n: "" if v is None and n in labels else v for n, v in document.items()}
        return {name: value for name, value in given.items() if value is not None}

    def problems(self, line: int, document: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Find what is wrong with an object: its fields, which `end` reports, and their values."""
        names = list(document)
        fields, unknown = self._listing.fields_of(names)
        self._seen |= set(names)
        self._split_lines.setdefault("split" in fields.values(), line)
        self._left_out |= dict.fromkeys(unknown)
        wrong = self._listing.column_problems(names, "field", alike=False)
        if wrong and self._odd is None:
            self._odd = names
        for problem in wrong:
            self._wrong.setdefault(problem, []).append(line)
        return wrong, _value_problems({fields[name]: document[name] for name in fields})

    def row(self, line: int, document: dict[str, Any]) -> ManifestRow:
        """Make a row of values of the right types."""
        names, _ = self._listing.fields_of(document)
        fields = {known: document[name] for name, known in names.items()}
        labels = next((fields.pop(name) for name in LABEL_FIELDS if name in fields), "")
        listed = labels if isinstance(labels, list) else [labels]
        for label in listed:
            (self._texts if isinstance(label, str) else self._numbers).setdefault(str(label), line)
        texts = {name: str(value).strip() for name, value in fields.items()}
        if isinstance(labels, str):
            return ManifestRow(line, texts, self._listing.split_labels(labels))
        return ManifestRow(line, texts, [str(label).strip() for label in listed])

    def end(self) -> None:
        """Note what only all lines together show."""
        problems = self._listing.problems
        problems += [
            f"line {lines[0]}: {problem}" + (f" (and {len(lines) - 1} more)" if lines[1:] else "")
            for problem, lines in self._wrong.items()
        ]
        if len(self._split_lines) == 2:
            without, with_split = self._split_lines[False], self._split_lines[True]
            problems.append(f"line {without} has no split, line {with_split} has one")
        problems += [
            f"line {self._numbers[name]}: label {name} is a number, text in line {self._texts[name]}"
            for name in self._numbers
            if name in self._texts
        ]
        problems += [
            f"{known}={column}: no line has that field; found: {', '.join(sorted(self._seen))}"
            f"{nearest_hint(column, self._seen)}"
            for known, column in self._listing.columns.items()
            if column not in self._seen and known in (*OPTIONAL_FIELDS, GROUP)
        ]
        if self._odd is not None:
            self._listing.hints += [
                f"known fields: {FIELDS_SHOWN}",
                next_step(self._listing, self._odd, "field"),
            ]
        elif self._left_out:
            self._listing.notes.append(f"fields not read: {', '.join(self._left_out)}")


def _document(text: str) -> dict[str, Any]:
    """Read the object of a line."""
    document = json_value(text)
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, got {text.strip()[:60]}")
    return document


def _value_problems(fields: dict[str, Any]) -> list[str]:
    """Find values that are not of their field's type, and text that no file can hold."""
    problems = []
    for name, value in fields.items():
        texts = value if isinstance(value, list) and name in LABEL_FIELDS else [value]
        types, wanted = _TYPES.get(name, (str, "text"))
        if not all(isinstance(one, types) and not isinstance(one, bool) for one in texts) or (
            len({*map(type, texts)}) > 1  # texts and numbers may mean the same class
        ):
            whole = " or as a whole number" * (types is not str)
            numbers = [one for one in texts if type(one) in (int, float)]
            hint = f"; write it as text{whole}" * (not all(isinstance(n, types) for n in numbers))
            hint += "; numbers and texts are not mixed" * ({*map(type, texts)} == {int, str})
            problems.append(f"{name} must be {wanted}, got {json.dumps(value)[:60]}{hint}")
        elif printable("".join(map(str, texts))) != "".join(map(str, texts)):
            problems.append(f"{name} is not text that UTF-8 can hold: {json.dumps(value)[:60]}")
    return problems


read_jsonl = manifest_adapter("jsonl", _rows)
