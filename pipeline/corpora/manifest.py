"""What all manifests share: their fields, how one clip's fields are read, and their options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.corpora.interface import (
    SPLIT_NAMES,
    Corpus,
    Entry,
    build_corpus,
    check_shares,
    hashed_split,
    without_suffix,
)

Task = Literal["auto", "single", "multi"]
Adapter = Callable[..., Corpus]
LABEL_FIELDS = ("label", "labels")
OPTIONAL_FIELDS = ("id", "split", "start_s", "end_s")
ANNOTATION_FIELDS = ("speaker", "keyword_start_s", "keyword_end_s")
KNOWN_FIELDS = ("path", *LABEL_FIELDS, *OPTIONAL_FIELDS, *ANNOTATION_FIELDS)
FIELDS_SHOWN = f"path, label or labels, {', '.join(OPTIONAL_FIELDS + ANNOTATION_FIELDS)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One clip as a manifest lists it.

    Attributes
    ----------
    line : int
        Where it stands in the file, from 1.
    fields : mapping of str to str
        All but the labels, as text without blanks around it.
    labels : sequence of str
        As listed; empty ones and repetitions do no harm. Not one, not even an empty one, says that the
        clip has none of the classes.
    """

    line: int
    fields: Mapping[str, str]
    labels: Sequence[str]


def split_labels(text: str) -> list[str]:
    """Split labels that are joined by ``;``."""
    return [label.strip() for label in text.split(";")]


def field_problems(names: Sequence[str], word: str) -> list[str]:
    """Find missing and unknown fields; `word` is what the format calls one."""
    problems = [] if "path" in names else [f"missing {word}: path"]
    labels = [name for name in LABEL_FIELDS if name in names]
    if not labels:
        problems.append(f"missing {word}: label (or labels)")
    elif len(labels) > 1:
        problems.append(f"{word}s label and labels: only one of them")
    return problems + [f"unknown {word} {name!r}" for name in names if name not in KNOWN_FIELDS]


def read_text(path: Path, kind: str) -> str:
    """Read a manifest's text.

    Raises
    ------
    UsageError
        If it is a folder or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        raise UsageError(
            f"corpus {kind}:{path}: a folder, not a manifest", kind="missing"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"corpus {kind}:{path}: not UTF-8 text (byte {error.start})", kind="corpus"
        ) from None


def manifest_adapter(kind: str, rows_of: Callable[[Path, list[str]], Iterable[Row]]) -> Adapter:
    """Make the adapter of a kind of manifest.

    Parameters
    ----------
    kind : str
        As users name it.
    rows_of : callable
        Yields the rows of a manifest; adds what is wrong with the others to the list it is given.
    """

    def read(
        path: Path,
        *,
        root: str = "",
        classes: str = "",
        task: Task = "auto",
        validation: float = 0.1,
        test: float = 0.1,
    ) -> Corpus:
        """Read a manifest in UTF-8.

        Without an ``id`` a clip is named by its path without suffix, a segment by that, ``#`` and its
        start. Without a ``split`` it is chosen by a hash of the recording's path.

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
            Shares of these splits where the manifest has no ``split``.

        Raises
        ------
        UsageError
            Listing everything wrong with line numbers: see
            `pipeline.corpora.interface.build_corpus`.
        """
        check_shares(validation, test)
        folder = Path(root).expanduser() if root else path.parent
        if not folder.is_dir():
            raise UsageError(f"corpus {kind}:{path}: root={root} is not a folder", kind="missing")
        problems: list[str] = []
        entries = [_entry(row, validation, test, problems) for row in rows_of(path, problems)]
        return build_corpus(
            folder,
            entries,
            source=f"{kind}:{path}",
            classes=[name for name in classes.split(";") if name] or None,
            task=task,
            problems=problems,
        )

    return read


def _entry(row: Row, validation: float, test: float, problems: list[str]) -> Entry:
    """Make the entry of a row, in its own split or one chosen by a hash."""
    split = row.fields.get("split")
    if split is None:
        name = without_suffix(row.fields["path"])
        split = hashed_split(name, validation=validation, test=test)
    clip, found = _clip(row, SPLIT_NAMES.get(split.lower(), split))
    problems += [f"line {row.line}: {problem}" for problem in found]
    return Entry(clip, f"line {row.line}")


def _clip(row: Row, split: str) -> tuple[Clip, list[str]]:
    """Make the clip of a row, and say what is wrong with it."""
    problems: list[str] = []
    path = row.fields["path"]
    start_s, end_s = (_seconds(row, name, problems) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        problems.append(f"end_s {end_s:g} is not after start_s {start_s or 0.0:g}")
    if not split:
        problems.append("the split is empty; leave it out everywhere to have one chosen")
    name = without_suffix(path)
    if start_s is not None or end_s is not None:
        name = f"{name}#{start_s or 0.0:.10g}"
    clip = Clip(
        id=row.fields.get("id", name),
        path=path,
        labels=tuple(dict.fromkeys(filter(None, row.labels))),
        split=split,
        start_s=start_s or 0.0,
        end_s=end_s,
        none_present=not row.labels,
    )
    return clip, problems


def _seconds(row: Row, name: str, problems: list[str]) -> float | None:
    """Read a number of seconds, None where the field is empty or absent."""
    text = row.fields.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        problems.append(f"{name} must be seconds from 0, got {text!r}")
        return None
    return value
