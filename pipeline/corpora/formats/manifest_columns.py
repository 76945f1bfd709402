"""A manifest that is being read: its fields, and the columns that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cache_schema.store.address import CachePath
from pipeline.corpora.interface import NO_LABEL
from pipeline.corpora.listings import nearest_hint

LABEL_FIELDS = ("label", "labels")
OPTIONAL_FIELDS = ("id", "split", "start_s", "end_s")
GROUP = "group"  # no field of the format: an option names the column
ANNOTATION_FIELDS = ("speaker", "keyword_start_s", "keyword_end_s")
KNOWN_FIELDS = ("path", *LABEL_FIELDS, *OPTIONAL_FIELDS, *ANNOTATION_FIELDS)
FIELDS_SHOWN = f"path, label or labels, {', '.join(OPTIONAL_FIELDS + ANNOTATION_FIELDS)}"


@dataclass(slots=True)
class Listing:
    """A manifest that is being read: how, and what is found.

    Attributes
    ----------
    kind, path
        As the user named it.
    columns : mapping of str to str
        What the file calls a field, where options name it.
    label_sep : str
        What separates the labels of a clip in a text; nothing separates them if empty.
    ignore_unknown : bool
        Whether columns that are no fields are passed over.
    main : Path or Address, optional
        The manifest that was named, where this one is another split's.
    problems, hints, notes : list of str
        What is wrong, how to go on, and what was left out.
    """

    kind: str
    path: CachePath
    columns: Mapping[str, str]
    label_sep: str
    ignore_unknown: bool
    main: CachePath | None = None
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def field_of(self, name: str) -> str | None:
        """The field that a column holds; None if it is none."""
        for known, column in self.columns.items():
            if column == name:
                return known
        mapped = {*self.columns, *(LABEL_FIELDS if "label" in self.columns else ())}
        return name if name in KNOWN_FIELDS and name not in mapped else None

    def fields_of(self, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """The field of each column that holds one, and the columns that hold none."""
        fields = {name: known for name in names if (known := self.field_of(name)) is not None}
        return fields, [name for name in names if name not in fields]

    def column_problems(self, names: Sequence[str], word: str, *, alike: bool = True) -> list[str]:
        """Find missing and unknown columns; `word` is what the format calls one.

        Where rows are not all `alike`, a field that not every row has is no problem.
        """
        fields, unknown = self.fields_of(names)
        shared = self.shared_columns(names)
        found = [*fields.values(), *(known for several in shared.values() for known in several)]
        problems = [
            f"{word} {column!r} cannot be both {' and '.join(several)}; name another with ?{several[0]}="
            for column, several in shared.items()
        ]
        problems += [
            f"{known}={column}: no {word} of that name{nearest_hint(column, names)}"
            for known, column in self.columns.items()
            if column not in names
            and (known, column) != ("label", NO_LABEL)
            and (alike or known not in (*OPTIONAL_FIELDS, GROUP))
        ]
        if "path" not in found and "path" not in self.columns:
            problems.append(f"missing {word}: path")
        labels = sorted({name for name in LABEL_FIELDS if name in found})
        if not labels and "label" not in self.columns:
            problems.append(f"missing {word}: label (or labels)")
        elif len(labels) > 1:
            problems.append(f"{word}s label and labels: only one of them, as ?label= names it")
        if not self.ignore_unknown:
            problems += [f"unknown {word} {name!r}" for name in dict.fromkeys(unknown)]
        return problems

    def doubled(self, names: Sequence[str]) -> list[str]:
        """Columns with a field's name that another has too."""
        fields, _ = self.fields_of(names)
        return [name for name in fields if names.count(name) > 1]

    def shared_columns(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Columns that are to be read as two fields: as options name them, or by their own names."""
        wanted = {known: column for known, column in self.columns.items() if column in names}
        needed = {
            name: "label" if name in LABEL_FIELDS else name
            for name in ("path", *LABEL_FIELDS, "split")
        }
        wanted |= {
            known: name
            for name, known in needed.items()
            if name in names and known not in self.columns
        }
        fields: dict[str, list[str]] = {}
        for known, column in wanted.items():
            fields.setdefault(column, []).append(known)
        return {column: several for column, several in fields.items() if len(several) > 1}

    def split_labels(self, text: str) -> list[str]:
        """Split the labels of a clip."""
        parts = text.split(self.label_sep) if self.label_sep else [text]
        return [label.strip() for label in parts]
