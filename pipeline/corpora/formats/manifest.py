"""What all manifests share: their fields, how one clip's fields are read, and their options."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.plugins import nearest_name
from cache_schema.store.address import CachePath, cache_path
from cache_schema.store.objects import objects_of
from cache_schema.text import shell_word
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.events import overlapping, recordings_of
from pipeline.corpora.interface import (
    DEFAULT_SHARE,
    NO_LABEL,
    SPLIT_NAMES,
    Corpus,
    Entry,
    Event,
    Ids,
    build_corpus,
    check_shares,
    clip_name,
    hashed_split,
    inside,
    unused_shares,
    without_suffix,
)
from pipeline.corpora.listings import fold_splits, joined_labels, nearest_hint, text_of
from pipeline.corpora.stratify import stratified
from pipeline.corpora.walk import option_text

Task = Literal["auto", "single", "multi"]
Rows = Literal["clip", "label", "event"]
Adapter = Callable[..., Corpus]
LABEL_FIELDS = ("label", "labels")
OPTIONAL_FIELDS = ("id", "split", "start_s", "end_s")
GROUP = "group"  # no field of the format: an option names the column
ANNOTATION_FIELDS = ("speaker", "keyword_start_s", "keyword_end_s")
KNOWN_FIELDS = ("path", *LABEL_FIELDS, *OPTIONAL_FIELDS, *ANNOTATION_FIELDS)
FIELDS_SHOWN = f"path, label or labels, {', '.join(OPTIONAL_FIELDS + ANNOTATION_FIELDS)}"
FIRST_LINE = "; if the first line is no header, write one above it: path,label"
# What other lists call the fields, as `_plain` writes it, in the order in which they are proposed.
OTHER_NAMES = {
    "path": (
        "filepath", "file_path", "filename", "file_name", "file", "audio_filepath", "audio_path",
        "audio_file", "audio", "wav", "fname", "slice_file_name", "clip", "recording",
        "begin_file", "path",
    ),
    "label": (
        "class", "category", "class_name", "classname", "target", "tag", "tags", "primary_label",
        "sound", "word", "command", "y", "classid", "class_id", "species", "annotation",
        "event_label", "label", "labels",
    ),
    "split": ("subset", "partition", "set", "fold", "split"),
    "id": ("clip_id", "id"),
    "start_s": ("start", "onset", "start_time", "begin", "begin_time", "start_s", "offset"),
    "end_s": ("end", "offset", "stop", "end_time", "end_s"),
}  # fmt: skip
DURATIONS = ("duration", "duration_s", "dur", "length", "length_s")
# Columns that name what a clip was recorded of, at or in.
GROUP_NAMES = (
    "speaker", "speaker_id", "client_id", "session", "session_id", "site", "place", "location",
    "recorder", "subject", "patient",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One clip as a manifest lists it.

    Attributes
    ----------
    line : int
        Where it stands in the file, from 1.
    fields : mapping of str to str
        All but the labels, as text without blanks around it.
    labels : sequence of str
        As listed; empty ones and repetitions do no harm. Not one, not even an empty one, means that the
        clip has none of the classes.
    file : str
        Name of the manifest, where there are several.
    """

    line: int
    fields: Mapping[str, str]
    labels: Sequence[str]
    file: str = ""

    @property
    def place(self) -> str:
        """Where a message finds it."""
        return f"{self.file} line {self.line}".lstrip()


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
        found = list(fields.values())
        problems = [
            f"{word} {column!r} cannot be both {' and '.join(several)}; name another with ?{several[0]}="
            for column, several in self._shared_columns(names).items()
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
        labels = [name for name in LABEL_FIELDS if name in found]
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

    def _shared_columns(self, names: Sequence[str]) -> dict[str, list[str]]:
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

    def next_step(self, names: Sequence[str], word: str) -> str:
        """How a list with such columns can be read: the options that name them, or what to rename."""
        if self.main is not None:
            return (
                f"The lists of one corpus have the same {word}s: give {self.path.name} those of "
                f"{self.main.name}"
            )
        if twice := self.doubled(names):
            return f"Rename all but one {word} {twice[0]!r} in the header, and repeat the command"
        if self.columns.get(GROUP, "") not in ("", *names):
            alike = [name for name in names if name.lower() == self.columns[GROUP].lower()]
            others = alike or [name for name in names if self.field_of(name) in (None, "speaker")]
            if not others:
                return f"No {word} is left to group by: leave group={self.columns[GROUP]} out"
            return f"group=... names one of the {word}s that are there: {', '.join(others)}"
        if other := _instead_of_header(names):
            return other
        shared = self._shared_columns(names)
        there = {
            known: column
            for known, column in self.columns.items()
            if (column in names and column not in shared) or (known, column) == ("label", NO_LABEL)
        }
        if {*LABEL_FIELDS} <= {*names} and "label" not in there:
            there["label"] = "label"
        fields, unknown = replace(self, columns=there).fields_of(names)
        have = {*fields.values(), *there}
        have |= {"label"} if "labels" in have else set()
        plain = {_plain(name): name for name in reversed(unknown)}
        proposed = {
            known: plain[other]
            for known, others in OTHER_NAMES.items()
            for other in reversed(others)
            if known not in have and other in plain
        }
        lasts = next((plain[name] for name in DURATIONS if name in plain), None)
        if "offset" in plain and proposed.get("start_s") == proposed.get("end_s"):
            del proposed["end_s" if lasts else "start_s"]  # where it begins, or where it ends
        if lasts and "start_s" in {*have, *proposed} and "end_s" not in {*have, *proposed}:
            begins = proposed.get("start_s") or there.get("start_s", "start_s")
            return (
                f"Rows begin at {begins} and last {lasts}: add a {word} end_s, the sum of both, and "
                "repeat the command"
            )
        free = set(unknown) - set(proposed.values())
        proposed |= {
            known: nearest
            for known, column in self.columns.items()
            if known not in there and (nearest := nearest_name(column, sorted(free)))
        }
        if not {"path", "label"} <= {*have, *proposed}:
            return (
                f"Name the {word}s of the path and of the class, as in "
                f"?path=filename&label=category, or label={NO_LABEL} for unlabelled clips"
                f"{FIRST_LINE if word == 'column' else ''}"
            )
        if not {"split", GROUP} & {*have, *proposed} and (group := group_column(names)):
            proposed[GROUP] = group
        options = [f"{known}={option_text(name)}" for known, name in {**there, **proposed}.items()]
        options += ["unknown=ignore"] if set(unknown) - set(proposed.values()) else []
        corpus = f"{self.kind}:{option_text(self.path)}"
        return _reading(corpus, options, stretches={"start_s", "end_s"} <= {*have, *proposed})

    def split_labels(self, text: str) -> list[str]:
        """Split the labels of a clip."""
        parts = text.split(self.label_sep) if self.label_sep else [text]
        return [label.strip() for label in parts]


def _plain(name: str) -> str:
    """Write a column's name as other lists do, without the unit.

    >>> _plain("Begin Time (s)"), _plain("file-name")
    ('begin_time', 'file_name')
    """
    return re.sub(r"[\s-]+", "_", re.sub(r"\((s|sec|seconds)\)$", "", name.lower()).strip())


def _reading(corpus: str, options: Sequence[str], *, stretches: bool) -> str:
    """Name the options that read a list, whose rows may be stretches of recordings."""
    query = f"?{'&'.join(options)}" if options else ""
    way = f"Read it as {shell_word(corpus + query)}, with your other options"
    if stretches:
        way += "; where rows are events in longer recordings, with &rows=event&window_s=5"
    return way


def _instead_of_header(names: Sequence[str]) -> str:
    """What to do about a first line that is a comment or a clip; empty for any other."""
    if names and names[0].startswith("#"):
        return "The first line is the header, and # begins no comment: delete what stands above it"
    if any(name.lower().endswith(AUDIO_SUFFIXES) for name in names):
        return "The first line seems to be a clip and no header; write one above it: path,label"
    return ""


def _in_seconds(text: str) -> str:
    """Name the seconds of a time with a comma, or with hours and minutes.

    >>> _in_seconds("0,1"), _in_seconds("01:02:03.5"), _in_seconds("soon")
    ('; write 0.1', '; write 3723.5', '')
    """
    if re.fullmatch(r"\d{1,9},\d{1,9}", text):
        return f"; write {text.replace(',', '.')}"
    if not re.fullmatch(r"(\d{1,9}:){1,2}\d{1,9}(\.\d{1,9})?", text):
        return ""
    *larger, seconds = text.split(":")
    minutes = sum(int(part) * 60**place for place, part in enumerate(reversed(larger)))
    return f"; write {60 * minutes + float(seconds):.10g}"


def group_column(names: Iterable[str]) -> str:
    """The first column that seems to name speakers, sessions or places; empty if none does."""
    return next((name for name in names if name.lower() in GROUP_NAMES), "")


def read_manifest(path: CachePath, kind: str) -> str:
    """Read a manifest's text.

    Raises
    ------
    UsageError
        If it is a folder or not text, or not there.
    """
    try:
        data = (
            path.read_bytes() if isinstance(path, Path) else objects_of(path.parent).get(path.name)
        )
        return text_of(data)
    except FileNotFoundError:
        raise UsageError(f"corpus {kind}:{path}: there is no such list", kind="missing") from None
    except IsADirectoryError:
        raise UsageError(
            f"corpus {kind}:{path}: a folder, not a manifest", kind="missing"
        ) from None
    except ValueError as error:
        raise UsageError(f"corpus {kind}:{path}: {error}", kind="corpus") from None


def manifest_adapter(kind: str, rows_of: Callable[[Listing], Iterable[ManifestRow]]) -> Adapter:
    """Make the adapter of a kind of manifest.

    Parameters
    ----------
    kind : str
        As users name it.
    rows_of : callable
        Yields the rows of a listing; adds what is wrong with the others to its problems.
    """

    def read(
        manifest: CachePath,
        *,
        root: str = "",
        prefix: str = "",
        classes: str = "",
        task: Task = "auto",
        validation: float = DEFAULT_SHARE,
        test: float = DEFAULT_SHARE,
        path: str = "",
        label: str = "",
        id: str = "",  # noqa: A002 - the option is called like the field
        split: str = "",
        start_s: str = "",
        end_s: str = "",
        unknown: Literal["refuse", "ignore"] = "refuse",
        group: str = "",
        stratify: bool = False,
        label_sep: str = ";",
        empty: Literal["unlabelled", "negative"] = "unlabelled",
        rows: Rows = "clip",
        validation_folds: str = "",
        test_folds: str = "",
        validation_list: str = "",
        test_list: str = "",
        ids: Ids = "stem",
    ) -> Corpus:
        """Read a manifest in UTF-8, or in UTF-16 with a byte order mark.

        Without an ``id`` a clip is named by its path without suffix, a segment by that, ``#`` and its
        start. Without a ``split`` it is chosen by a hash of the recording's path, or of its ``group``.

        Parameters
        ----------
        manifest : Path or Address
            The manifest.
        root : str
            Folder or address the paths are relative to; by default the manifest's own folder.
        prefix : str
            What paths begin with that stands for that folder, as on another machine.
        classes : str
            Classes in order, joined by ``;``; other labels are errors. By default the sorted labels
            found.
        task : str
            ``"auto"`` is multi-label if any clip has several labels.
        validation, test : float
            Shares of these splits where the manifest has no ``split``.
        path, label, id, split, start_s, end_s : str
            What the file calls these fields, where it has another name; ``label=none`` leaves all
            clips unlabelled.
        unknown : str
            Whether columns that are no field are an error or passed over.
        group : str
            What the file calls the speaker, session or place. Its clips stay in one split where the
            manifest has none, and are scored by themselves too.
        stratify : bool
            Whether chosen splits share out each class alike, as far as groups (or recordings) can be:
            see `pipeline.corpora.stratify.stratified_splits`.
        label_sep : str
            What separates the labels of a clip; empty if nothing does.
        empty : str
            What a clip without a label is: ``"unlabelled"``, or a ``"negative"`` of all classes.
        rows : str
            ``"label"``: a row is one label of a clip, whose rows are joined into one; ``"event"``: a
            row is what sounds in a recording from ``start_s`` to ``end_s``, and ``window_s`` cuts the
            recording into windows with the labels of the events of which half lies in them.
        validation_folds, test_folds : str
            Values of ``split`` that are folds and serve these splits, joined by ``;``; the others
            train.
        validation_list, test_list : str
            Manifests of these splits, beside this one unless absolute; then all of this one trains.
        ids : str
            Whether ids that are made of paths keep the suffix (``"path"``) or not (``"stem"``).

        Raises
        ------
        UsageError
            Listing everything wrong with line numbers: see
            `pipeline.corpora.interface.build_corpus`.
        """
        check_shares(validation, test)
        folder = _root_folder(kind, manifest, root)
        named = {"path": path, "label": label, "id": id, "split": split}
        named |= {"start_s": start_s, "end_s": end_s, GROUP: group}
        columns = {known: column for known, column in named.items() if column}
        listing = Listing(kind, manifest, columns, label_sep, unknown == "ignore")
        folds = (validation_folds, test_folds)
        making = _Making(listing, folder, prefix, validation, test, folds, ids, stratify, empty)
        lists = {"validation": validation_list, "test": test_list}
        lists = {of: name for of, name in lists.items() if name}
        if lists and any(folds):
            raise UsageError(
                f"corpus {kind}:{manifest}: validation_list and test_list take a list for each split, "
                "validation_folds and test_folds the folds of one; leave out the ones or the others",
                kind="options",
            )
        listed = _rows_of_lists(listing, lists, rows_of) if lists else list(rows_of(listing))
        entries = making.entries(listed, one_row_is=rows)
        task = "multi" if rows == "event" and task == "auto" else task
        corpus = _corpus(listing, folder, entries, classes=classes, task=task)
        return replace(corpus, events=making.events)

    return read


def _root_folder(kind: str, manifest: CachePath, root: str) -> CachePath:
    """Folder or address that paths of a manifest are relative to."""
    folder = cache_path(os.path.expanduser(root)) if root else manifest.parent
    if isinstance(folder, Path) and not folder.is_dir():
        raise UsageError(f"corpus {kind}:{manifest}: root={root} is not a folder", kind="missing")
    return folder


def _corpus(
    listing: Listing, folder: CachePath, entries: Sequence[Entry], *, classes: str, task: Task
) -> Corpus:
    """Make the corpus of entries; without `classes` of all labels found."""
    fixed = [name for name in classes.split(";") if name] or None
    joined = joined_labels((entry.clip.labels for entry in entries), listing.label_sep)
    return build_corpus(
        folder,
        entries,
        source=f"{listing.kind}:{listing.path}",
        classes=fixed,
        task=task,
        problems=listing.problems,
        hints=[*listing.hints, *(joined if fixed else [])],
        notes=[*listing.notes, *joined],
    )


def _rows_of_lists(
    listing: Listing,
    lists: Mapping[str, str],
    rows_of: Callable[[Listing], Iterable[ManifestRow]],
) -> list[ManifestRow]:
    """Rows of a manifest for each split: `lists` names those beside the one that trains."""
    files = {"train": listing.path}
    files |= {split: listing.path.parent / os.path.expanduser(n) for split, n in lists.items()}
    found = []
    for split, file in files.items():
        if isinstance(file, Path) and not file.is_file():
            raise UsageError(
                f"corpus {listing.kind}:{listing.path}: {split}_list={lists[split]} names no file "
                f"({file}); it is looked for beside the manifest",
                kind="missing",
            )
        main = None if file == listing.path else listing.path
        for row in rows_of(replace(listing, path=file, main=main)):
            if "split" in row.fields:
                listing.problems.append(
                    f"{file.name} line {row.line}: split {row.fields['split']!r} in a manifest of one "
                    "split"
                )
            found.append(replace(row, fields={**row.fields, "split": split}, file=file.name))
    return found


@dataclass(frozen=True, slots=True)
class _Making:
    """Makes the clips of rows; what is wrong with them goes to the listing."""

    listing: Listing
    folder: CachePath
    prefix: str
    validation: float
    test: float
    folds: tuple[str, str]
    ids: Ids
    stratify: bool
    empty: str
    events: dict[str, tuple[Event, ...]] = field(default_factory=dict)

    def entries(self, rows: Sequence[ManifestRow], *, one_row_is: Rows) -> list[Entry]:
        """Make the entries of all rows; a row may be one label of a clip, or an event in it."""
        split_of = self._folds(rows)
        if self.stratify and any("split" in row.fields for row in rows):
            self.listing.problems.append(
                "stratify=true chooses splits, and the list has its own; leave one of them out"
            )
        if rows and all("split" in row.fields for row in rows):
            own = "every clip of the list has its own"
            self.listing.problems += unused_shares(self.validation, self.test, own)
        entries = [self._entry(row, split_of) for row in rows]
        self._note_prefix(entries)
        self._note_group(rows)
        if one_row_is == "event":
            joined, events = recordings_of(entries, self.ids, self.listing.problems)
            self.events.update(events)
        else:
            self._note_empty(entries)
            joined = _joined(entries)
            self.listing.notes += overlapping(joined)
        if self.stratify:
            groups = [entry.clip.group or without_suffix(entry.clip.path) for entry in joined]
            joined = stratified(joined, groups, validation=self.validation, test=self.test)
        if one_row_is == "clip" and len(joined) < len(entries):
            self.listing.hints.append(
                "If a clip has a row for each of its labels, add ?rows=label; if each row is an event "
                "in a long recording, name its times: ?start_s=COLUMN&end_s=COLUMN&rows=event&window_s=5"
            )
            return entries
        return joined

    def _folds(self, rows: Sequence[ManifestRow]) -> Mapping[str, str] | None:
        """The split of each fold that does not train, if splits are given as folds."""
        if not any(self.folds) or not rows:  # without rows nothing is known of folds
            return None
        found = {fold for row in rows if (fold := row.fields.get("split")) is not None}
        if not found:
            self.listing.problems.append(
                "validation_folds and test_folds need the field split; name it with ?split=fold"
            )
        problems = self.listing.problems
        return fold_splits(found, *self.folds, problems)

    def _entry(self, row: ManifestRow, split_of: Mapping[str, str] | None) -> Entry:
        """Make the entry of a row, in its own split or one chosen by a hash."""
        listed, prefix = (
            PurePosixPath(_with_slashes(row.fields["path"])),
            _with_slashes(self.prefix),
        )
        stands = prefix and listed.is_relative_to(prefix)
        path = str(listed.relative_to(prefix)) if stands else row.fields["path"]
        path = inside(self.folder, path)
        split = row.fields.get("split")
        if split is None:
            name = row.fields.get(GROUP) or without_suffix(path)
            split = hashed_split(name, validation=self.validation, test=self.test)
        elif split_of is not None:
            split = split_of.get(split, "train")
        clip, found = _clip(row, path, SPLIT_NAMES.get(split.lower(), split), self.ids)
        if self.empty == "negative" and not clip.labels:
            clip = replace(clip, none_present=True)
        self.listing.problems += [f"{row.place}: {problem}" for problem in found]
        return Entry(clip, row.place)

    def _note_group(self, rows: Sequence[ManifestRow]) -> None:
        """Note a column of speakers that could keep each of them in one split, and does not."""
        names = dict.fromkeys(name for row in rows for name in row.fields)
        column = group_column(names)
        if column and not {GROUP, "split"} & names.keys():
            self.listing.notes.append(
                f"splits are chosen by recording; if each {column} is to stay in one, add "
                f"?group={column}"
            )

    def _note_empty(self, entries: Sequence[Entry]) -> None:
        """Note clips without a label beside others of several, which may have none of the classes."""
        empty = sum(not entry.clip.labelled for entry in entries)
        if empty and any(len(entry.clip.labels) > 1 for entry in entries):
            self.listing.notes.append(
                f"{empty} clip(s) without a label count as unlabelled; if they have none of the "
                "classes, add ?empty=negative"
            )

    def _note_prefix(self, entries: Sequence[Entry]) -> None:
        """Note what absolute paths begin with, if the rest of one is there."""
        if not isinstance(self.folder, Path):
            return
        paths = (_with_slashes(entry.clip.path) for entry in entries)
        root, *parts = PurePosixPath(next(filter(_is_absolute, paths), "/")).parts
        for start in range(len(parts)):
            if os.path.exists(self.folder.joinpath(*parts[start:])):
                prefix = option_text(str(PurePosixPath(root, *parts[:start])))
                self.listing.hints.append(f"If {prefix} stands for {self.folder}: ?prefix={prefix}")
                return


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or PureWindowsPath(path).is_absolute()


def _with_slashes(path: str) -> str:
    r"""Write an absolute Windows path with slashes; others may have backslashes in their names.

    >>> _with_slashes(r"C:\clips\dog.wav"), _with_slashes(r"dog\1.wav")
    ('C:/clips/dog.wav', 'dog\\1.wav')
    """
    windows = PureWindowsPath(path)
    return windows.as_posix() if windows.is_absolute() else path


def _joined(entries: Sequence[Entry]) -> list[Entry]:
    """Join entries of the very same clip and split into one with the labels of all."""
    first: dict[Clip, Entry] = {}
    labels: dict[Clip, list[Clip]] = {}
    for entry in entries:
        key = replace(entry.clip, labels=(), none_present=False)
        first.setdefault(key, entry)
        labels.setdefault(key, []).append(entry.clip)
    return [
        Entry(
            replace(
                key,
                labels=tuple(dict.fromkeys(label for clip in labels[key] for label in clip.labels)),
                none_present=all(clip.none_present for clip in labels[key]),
            ),
            entry.place,
        )
        for key, entry in first.items()
    ]


def _clip(row: ManifestRow, path: str, split: str, ids: Ids) -> tuple[Clip, list[str]]:
    """Make the clip of a row, and report what is wrong with it."""
    problems: list[str] = []
    start_s, end_s = (_seconds(row, name, problems) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        problems.append(f"end_s {end_s} is not after start_s {start_s or 0.0}")
    if not split:
        problems.append("the split is empty; leave it out everywhere to have one chosen")
    name = clip_name(path, ids)
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
        group=row.fields.get(GROUP, ""),
    )
    return clip, problems


def _seconds(row: ManifestRow, name: str, problems: list[str]) -> float | None:
    """Read a number of seconds, None where the field is empty or absent."""
    text = row.fields.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        problems.append(f"{name} must be seconds from 0, got {text!r}{_in_seconds(text)}")
        return None
    return value
