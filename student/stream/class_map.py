"""A teacher's classes as a student's: which of its logits stand for which class.

Shape suffixes: N clips, K teacher classes, C covered classes of the student.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError, bullet_list
from cache_schema.plugins import unknown_name
from cache_schema.text import ALIKE, letters_alone, one_line
from cache_schema.toml_text import toml_document

Names = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Which teacher logits make up the logit of each class that they cover.

    Several teacher classes that stand for one student class are joined: in a single-label task by
    ``log sum exp``, which adds their probabilities; in a multi-label task by the highest, as they
    may all be true at once.

    Attributes
    ----------
    covered : tuple of int
        Positions of the covered classes among the student's, ascending.
    columns : tuple of tuple of int
        The teacher's logits of each of them.
    task : {"single", "multi"}
        Decides how several are joined.
    """

    covered: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]
    task: str

    def apply(self, logits_NK: NDArray[Any]) -> NDArray[Any]:
        """Give the logits of the covered classes: (N, K) → (N, C)."""
        if all(len(columns) == 1 for columns in self.columns):
            return logits_NK[:, [columns[0] for columns in self.columns]]
        join = np.logaddexp if self.task == "single" else np.maximum
        wide_NK = logits_NK.astype(np.float32)
        joined = [join.reduce(wide_NK[:, list(columns)], axis=1) for columns in self.columns]
        return np.stack(joined, axis=1)


def build_class_map(
    classes: Sequence[str], teacher_classes: Sequence[str], names: Names | None, task: str
) -> ClassMap:
    """Match classes by name, or as `names` maps them.

    Parameters
    ----------
    classes, teacher_classes : sequence of str
        The student's and the teacher's.
    names : mapping or None
        Student class → teacher classes that stand for it, none of them if it is empty. A class that
        is not named there is matched by its own name and may go uncovered; so is one of whose names
        this teacher has none, as they may be another teacher's. Without a mapping every class must be
        covered by its own name.
    task : {"single", "multi"}
        See `ClassMap`.

    Raises
    ------
    UsageError
        Listing the classes that nothing covers.

    Examples
    --------
    >>> build_class_map(["dog", "rain"], ["Bark", "Howl"], {"dog": ["Howl", "Bark"]}, "multi").columns
    ((1, 0),)
    """
    if names is None:
        _check_all_covered(classes, teacher_classes)
    column = {name: position for position, name in enumerate(teacher_classes)}
    found = {
        position: tuple(column[n] for n in _names_of(name, names or {}, column))
        for position, name in enumerate(classes)
    }
    covered = tuple(position for position, columns in found.items() if columns)
    if not covered:
        raise UsageError(
            f"the teacher covers none of the classes {_listed(classes)}; its own are "
            f"{_listed(teacher_classes)}. Name pairs of them in the file of --class-map",
            kind="classes",
        )
    return ClassMap(covered, tuple(found[position] for position in covered), task)


def _names_of(name: str, names: Names, known: Container[str]) -> list[str]:
    """Known teacher classes that stand for a class: those named, else its own unless none is wanted."""
    wanted = dict.fromkeys(names.get(name, [name]))
    own = [name] if wanted else []
    return [n for n in wanted if n in known] or [n for n in own if n in known]


def check_names(names: Names, classes: Sequence[str], teacher_classes: Sequence[str]) -> None:
    """Reject a class map with names that nobody has.

    Parameters
    ----------
    names : mapping
        As `build_class_map` takes it.
    classes, teacher_classes : sequence of str
        The student's, and those of all teachers: with several of them each takes from the map what
        is its own.

    Raises
    ------
    UsageError
        Listing every name that one side does not have.
    """
    problems = [
        str(unknown_name(n, classes, "class of the cache")) for n in names if n not in classes
    ]
    wanted = {name for several in names.values() for name in several}
    unknown = sorted(wanted - set(teacher_classes))
    problems += [str(unknown_name(n, teacher_classes, "class of the teacher")) for n in unknown]
    if problems:
        raise UsageError(
            f"class map: {len(problems)} problem(s)\n{bullet_list(problems)}", kind="classes"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(one_line, names))


def _check_all_covered(classes: Sequence[str], teacher_classes: Sequence[str]) -> None:
    missing = [name for name in classes if name not in teacher_classes]
    if missing:
        teachers = {letters_alone(name): name for name in teacher_classes}
        twins = [
            f"{name!a} and the teacher's {teachers[key]!a}"
            for name in missing
            if (key := letters_alone(name)) in teachers
        ]
        alike = f" ({'; '.join(twins)} {ALIKE})" if twins else ""
        raise UsageError(
            f"the cached logits lack {len(missing)} of {len(classes)} classes: {_listed(missing)}; the "
            f"teacher's classes: {_listed(teacher_classes)}{alike}. Name which stand for which in a "
            "file (--class-map FILE.toml), fine-tune a teacher on these classes "
            "(finetune-teacher), or leave out the losses that learn from logits.",
            kind="classes",
        )


def coverage_report(
    class_map: ClassMap, classes: Sequence[str], teacher_classes: Sequence[str]
) -> list[str]:
    """Report which classes the teacher's logits cover, with which of its own, and what is unused."""
    covered = dict(zip(class_map.covered, class_map.columns, strict=True))
    lines = [f"the teacher covers {len(covered)} of {len(classes)} classes"]
    for position, name in enumerate(classes):
        own = [teacher_classes[column] for column in covered.get(position, ())]
        if own != [name]:
            lines.append(
                f"  {name}: {' or '.join(own) or 'not covered, learned from labels alone'}"
            )
    used = {column for columns in class_map.columns for column in columns}
    unused = [name for column, name in enumerate(teacher_classes) if column not in used]
    if unused:
        shown = ", ".join(unused[:8]) + (", ..." if len(unused) > 8 else "")
        lines.append(f"  {len(unused)} of the teacher's classes are not used: {shown}")
    return lines


def read_class_map(path: Path) -> dict[str, list[str]]:
    """Read ``class = "teacher class"`` or ``class = ["one", "another"]`` lines from a TOML file.

    Raises
    ------
    UsageError
        If it is not TOML, or a value is neither a string nor a list of strings.
    """
    entries = toml_document(path.read_bytes(), path)
    names = {name: [value] if isinstance(value, str) else value for name, value in entries.items()}
    wrong = [
        f"{name} = {entries[name]!r}"
        for name, value in names.items()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value)
    ]
    if wrong:
        raise UsageError(
            f"{path}: expected a class name or a list of them for each class\n{bullet_list(wrong)}",
            kind="config",
        )
    return names
