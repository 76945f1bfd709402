"""What all manifests share: their fields, how one clip's fields are read, and their options."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal
from urllib.parse import unquote

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.store.address import WEB, CachePath, cache_path, is_address
from cache_schema.store.objects import objects_of
from cache_schema.text import visible
from pipeline.corpora.events import overlapping, recordings_of, spelled_twice
from pipeline.corpora.formats.manifest_advice import group_column
from pipeline.corpora.formats.manifest_columns import (
    GROUP,
    Listing,
)
from pipeline.corpora.interface import (
    DEFAULT_SHARE,
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
from pipeline.corpora.listings import (
    fold_splits,
    joined_labels,
    marks_as_labels,
    missing_as_labels,
    text_of,
)
from pipeline.corpora.stratify import stratified
from pipeline.corpora.walk import option_text, printable

Task = Literal["auto", "single", "multi"]
Rows = Literal["clip", "label", "event"]
Adapter = Callable[..., Corpus]


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

    @property
    def group(self) -> str:
        """Its group; two systems write letters with accents in two ways, and add marks."""
        return visible(self.fields.get(GROUP, ""))


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
        if not listed and not listing.problems:
            listing.problems.append("no clips: the list has no rows")
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
    labels = [entry.clip.labels for entry in entries]
    joined = joined_labels(labels, listing.label_sep)
    return build_corpus(
        folder,
        entries,
        source=f"{listing.kind}:{listing.path}",
        classes=fixed,
        task=task,
        problems=listing.problems,
        hints=[*listing.hints, *(joined if fixed else [])],
        notes=[
            *listing.notes,
            *joined,
            *missing_as_labels(labels),
            *(marks_as_labels(labels) if listing.notes else []),
        ],
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
            self._check_times(rows)
            joined, events = recordings_of(entries, self.ids, self.listing.problems)
            self.listing.problems += spelled_twice(self.folder, joined)
            self.events.update(events)
        else:
            self._note_empty(entries)
            joined = _joined(entries)
            if one_row_is == "label":
                joined, torn = _untorn(joined)
                self.listing.problems += torn
            self.listing.notes += overlapping(joined)
            self.listing.hints += _one_name_in_several_groups(entries)
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

    def _check_times(self, rows: Sequence[ManifestRow]) -> None:
        """Reject events of which none has a time: each would sound all the while."""
        if rows and not any(row.fields.get(name) for row in rows for name in ("start_s", "end_s")):
            self.listing.problems.append(
                "rows=event, and no row says when: name the columns of the begin and the end, as in "
                "?start_s=COLUMN&end_s=COLUMN"
            )
            self.listing.hints += self.listing.notes  # which columns were not read

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
        path = inside(self.folder, self._below_prefix(row.fields["path"]))
        split = row.fields.get("split")
        if split is None:
            name = row.group or without_suffix(path)
            split = hashed_split(name, validation=self.validation, test=self.test)
        elif split_of is not None:
            split = split_of.get(split, "train")
        clip, found = _clip(row, path, SPLIT_NAMES.get(split.lower(), split), self.ids)
        if self.empty == "negative" and not clip.labels:
            clip = replace(clip, none_present=True)
        self.listing.problems += [f"{row.place}: {problem}" for problem in found]
        return Entry(clip, row.place)

    def _below_prefix(self, path: str) -> str:
        """Cut off the prefix; what is left of a web address is percent-encoded, as all of it is."""
        cut = _cut(path, self.prefix) if self.prefix else path
        on_web = not isinstance(self.folder, Path) and self.folder.scheme in WEB
        return unquote(cut) if on_web and cut != path and is_address(path) else cut

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
        path = next((p for p in paths if _is_absolute(p) or is_address(p)), "/")
        scheme = f"{path.partition('://')[0]}://" if is_address(path) else ""
        rest = path.removeprefix(scheme)
        root, *parts = PurePosixPath("/", rest).parts
        for start in range(bool(scheme), len(parts)):
            if os.path.exists(self.folder.joinpath(*parts[start:])):
                above = PurePosixPath(root if rest.startswith("/") else "", *parts[:start])
                prefix = option_text(f"{scheme}{above}")
                self.listing.hints.append(f"If {prefix} stands for {self.folder}: ?prefix={prefix}")
                return


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or PureWindowsPath(path).is_absolute()


def _cut(path: str, prefix: str) -> str:
    """Cut off what stands for the corpus' folder, where a path begins with it.

    Windows does not tell capital letters in it from small ones.
    """
    windows, above = PureWindowsPath(path), PureWindowsPath(prefix)
    if above.is_absolute() and windows.is_relative_to(above):
        return windows.relative_to(above).as_posix()
    listed, folder = PurePosixPath(_with_slashes(path)), PurePosixPath(_with_slashes(prefix))
    return str(listed.relative_to(folder)) if listed.is_relative_to(folder) else path


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


def _one_name_in_several_groups(entries: Sequence[Entry]) -> list[str]:
    """Explain that recorders on one schedule name their files alike, each in its own folder."""
    groups: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        groups.setdefault((entry.clip.id, entry.clip.path), set()).add(entry.clip.group)
    return [
        "Where folders hold files of the same names, a path has its folder, perhaps "
        + printable(f"{min(several)}/{path}")
        for (_, path), several in groups.items()
        if len(several) > 1
    ][:1]


def _untorn(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Leave out what is of a clip that has been listed in another group or split, and name it."""
    first: dict[tuple[str, str], Entry] = {}
    kept, problems = [], []
    for entry in entries:
        clip = entry.clip
        earlier = first.setdefault((clip.id, clip.path), entry)
        torn = [w for w in ("group", "split") if getattr(clip, w) != getattr(earlier.clip, w)]
        problems += [
            f"{entry.place}: {printable(clip.id)} is in {what} {printable(getattr(clip, what))}, in "
            f"{earlier.place} in {printable(getattr(earlier.clip, what))}; a clip has one {what}"
            for what in torn[:1]
        ]
        if not torn:
            kept.append(entry)
    return kept, problems


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
        group=row.group,
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
