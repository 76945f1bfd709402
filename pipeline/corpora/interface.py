"""What a corpus is, and the checks that every adapter shares.

An adapter is a function ``read_x(path, *, option=default, ...) -> Corpus``. It lists what it finds
as `Entry` objects, with the place each comes from, and leaves the checking, the header scan and
the one error message to `build_corpus`.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from cache_schema.clip import Clip
from cache_schema.errors import MAX_LISTED, UsageError, bullet_list
from cache_schema.store.address import Address, CachePath, path_below, resolved
from cache_schema.text import ALIKE, alike_names, one_line
from pipeline.audio.decode import AUDIO_SUFFIXES, Header, UnusableAudio, scan_header, segment_frames
from pipeline.corpora.unreadable import unreadable_reasons
from pipeline.corpora.walk import (
    escapes_root,
    files_below,
    leads_into,
    limit_of,
    option_text,
    printable,
)

Ids = Literal["stem", "path"]
NO_LABEL = "none"  # as the name of a column of labels: there is none
MAX_NAME_BYTES = 255  # bytes of one name in a path, on every file system in use
WITH_IDS = ("csv", "jsonl", "folder", "audio-folder")  # kinds that take the option ids
MAX_PATH_BYTES = 4095  # bytes of a path that Linux follows
SCAN_THREADS = 8
MAX_SUFFIXES = 8  # named in a note
DEFAULT_SHARE = 0.1  # of clips for validation, and for test, where splits are chosen
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "validate": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluate": "test",
    "evaluation": "test",
}


class Event(NamedTuple):
    """What sounds in a recording, from when to when."""

    start_s: float
    end_s: float
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A labelled collection of recordings whose headers have been scanned.

    Attributes
    ----------
    root : Path or Address
        Absolute folder, or place on a store or web server, that clip paths are relative to.
    clips : tuple of Clip
        In a stable order that no machine changes; ids are unique.
    classes : tuple of str
        In the order of the logits.
    task : str
        ``"single"`` or ``"multi"``: how many labels a clip may have.
    notes : tuple of str
        What the adapter left out or chose, a line each, worth showing before a run.
    view_steps : tuple of str
        The view recipe that belongs to the corpus; steps that a user adds come after it.
    events : mapping of str to tuple of Event
        By the ids of clips: where their labels lie, for the windows that they are cut into.
    plugin : str
        Distribution and version of the adapter where it is not one of ours; set by `read_corpus`.
    """

    root: CachePath
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    task: Literal["single", "multi"]
    notes: tuple[str, ...] = ()
    view_steps: tuple[str, ...] = ()
    events: Mapping[str, tuple[Event, ...]] = field(default_factory=dict)
    plugin: str = ""

    def below(self, folder: CachePath) -> Corpus:
        """Give the same corpus with paths that begin at a resolved folder above its root."""
        inner = path_below(folder, self.root)
        clips = tuple(
            replace(clip, path=os.path.normpath(inner / clip.path)) for clip in self.clips
        )
        return replace(self, root=folder, clips=clips)


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip as listed, before its header is scanned, and where it was listed."""

    clip: Clip
    place: str


def build_corpus(
    root: CachePath,
    entries: Sequence[Entry],
    *,
    source: str,
    classes: Sequence[str] | None = None,
    task: Literal["auto", "single", "multi"] = "auto",
    problems: Iterable[str] = (),
    hints: Iterable[str] = (),
    notes: Sequence[str] = (),
) -> Corpus:
    """Check everything listed, scan the headers, and make the corpus.

    Parameters
    ----------
    root : Path or Address
        Folder the paths are relative to.
    entries : sequence of Entry
        The clips, in order.
    source : str
        The corpus as the user named it, for messages.
    classes : sequence of str, optional
        The only labels allowed, in order; by default the sorted labels found.
    task : str
        ``"auto"`` is multi-label if any clip has several labels, or none of the classes.
    problems : iterable of str
        What the adapter has already found wrong.
    hints : iterable of str
        How to go on, a line each, if anything is wrong.
    notes : sequence of str
        Passed on to the corpus.

    Raises
    ------
    UsageError
        Once, with every problem found: duplicate or empty ids, paths that leave the root, names that
        are not UTF-8, unknown labels, several labels in a single-label corpus, no clips, no readable
        file. A clip that is a link leading out of the root is no problem of the listing: it is never
        followed, has no frames and ends in quarantine.
    """
    root, found = resolved(root), list(problems)
    found += _text_problems(entries) + _id_problems(entries) + _path_problems(root, entries)
    found += _list_problems(entries)
    found += [] if classes is None else _label_problems(entries, classes)
    several = [entry for entry in entries if _is_multi_label(entry.clip)]
    if task == "single":
        found += [
            f"{entry.place}: {len(entry.clip.labels)} labels in a single-label corpus"
            for entry in several
        ]
    if not entries and not found:
        found.append(_no_clips(root))
    hints = [*_id_hints(entries, source), *_path_hints(root, entries), *hints]
    _raise_if_any(found, hints, source)
    scanned, unsized = _scanned(root, [entry.clip for entry in entries])
    if not any(clip.frames for clip in scanned):
        hints += unreadable_reasons(root, scanned)
        _raise_if_any([_none_can_be_read(root, scanned)], hints, source)
    labels = sorted({label for clip in scanned for label in clip.labels})
    names = tuple(labels if classes is None else classes)
    return Corpus(
        root=root,
        clips=tuple(scanned),
        classes=names,
        task="multi" if task == "multi" or (task == "auto" and several) else "single",
        notes=tuple(map(one_line, (*notes, *unsized, *twin_notes(names)))),
    )


def _no_clips(root: CachePath) -> str:
    """Say what is there instead: recordings of another layout, or files of other kinds."""
    below = files_below(root).files if isinstance(root, Path) else []
    if audio := [name for name in below if name.lower().endswith(AUDIO_SUFFIXES)]:
        return (
            f"no clips; the {len(audio)} audio file(s) below {root} lie where this kind of corpus has "
            f"none, first {printable(audio[0])}"
        )
    return f"no clips; audio files end in {', '.join(AUDIO_SUFFIXES)}"


def twin_notes(classes: Sequence[str]) -> list[str]:
    """Note classes that look alike: one that two systems, or two people, have written in their ways."""
    return [
        f"classes {' and '.join(map(ascii, alike))} {ALIKE}; if they are one class, give it one name"
        for alike in alike_names(classes)
    ]


def _is_multi_label(clip: Clip) -> bool:
    """Whether a clip could be in no single-label corpus."""
    return len(clip.labels) > 1 or clip.none_present


def _none_can_be_read(root: CachePath, clips: Sequence[Clip]) -> str:
    out = sum(escapes_root(root, clip.path) for clip in clips)
    links = f"; {out} lead out of the corpus by a link" if out else ""
    first = printable(clips[0].path)
    return f"none of the {len(clips)} clips can be read, the first is {first}{links}"


def left_out(files: Sequence[str], audio: Sequence[str]) -> list[str]:
    """Note the files that are no recordings by their names, counted by suffix."""
    others = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in files)
    others.subtract(PurePosixPath(name).suffix.lower() for name in audio)
    found = [(suffix, count) for suffix, count in others.most_common() if count > 0]
    if not found:
        return []
    kinds = ", ".join(f"{printable(suffix)} {count}" for suffix, count in found[:MAX_SUFFIXES])
    more = f" and {len(found) - MAX_SUFFIXES} more kinds" if len(found) > MAX_SUFFIXES else ""
    total = sum(count for _, count in found)
    return [f"{total} file(s) without an audio suffix left out: {kinds}{more}"]


def hashed_split(name: str, *, validation: float, test: float) -> str:
    """Choose a split by the hash of a name, so that it never changes as the corpus grows.

    Parameters
    ----------
    name : str
        Of the recording, so that segments of one recording stay together.
    validation, test : float
        Shares of the two splits, from 0 to below 1 together.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < validation:
        return "validation"
    return "test" if place < validation + test else "train"


def check_shares(validation: float, test: float, suffix: str = "") -> None:
    """Reject shares of a hashed split that leave nothing to train on.

    `suffix` is what follows the split in the names of the options.

    Raises
    ------
    UsageError
        With both values.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UsageError(
            f"the shares validation{suffix} and test{suffix} must be at least 0 and below 1 together, "
            f"got validation{suffix}={validation} and test{suffix}={test}",
            kind="options",
        )


def unused_shares(validation: float, test: float, own: str) -> list[str]:
    """Describe shares that choose no split, as clips have their own; one of 0 takes none anyway."""
    shares = {"validation": validation, "test": test}
    return [
        f"{name}={share} is a share of clips whose split is chosen, and {own}; leave it out"
        for name, share in shares.items()
        if share not in (0, DEFAULT_SHARE)
    ]


def check_folder(path: CachePath, kind: str) -> None:
    """Reject a corpus folder that is not there; on a store there are no folders, only objects.

    Raises
    ------
    UsageError
        Naming the path.
    """
    if isinstance(path, Path) and not path.is_dir():
        state = (
            f"is a file, not a folder; name {path.parent}" if path.exists() else "does not exist"
        )
        raise UsageError(f"corpus {kind}:{path}: {path} {state}", kind="missing")


def without_suffix(path: str) -> str:
    """Cut the suffix off a POSIX path: the id of a recording that has no other name."""
    pure = PurePosixPath(path)
    return str(pure.with_suffix("")) if pure.name else path


def clip_name(path: str, ids: Ids) -> str:
    """Name a clip by its path: with its suffix, for files that differ in nothing else, or without."""
    return path if ids == "path" else without_suffix(path)


def _raise_if_any(problems: Sequence[str], hints: Iterable[str], source: str) -> None:
    if not problems:
        return
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    ways = "".join(f"{hint}.\n" for hint in hints)
    raise UsageError(
        f"corpus {source}: {count}\n{bullet_list(problems, MAX_LISTED)}\n{ways}Nothing was written. "
        "Correct the corpus, then repeat the command.",
        kind="corpus",
    )


def _id_problems(entries: Iterable[Entry]) -> list[str]:
    problems = []
    first_place: dict[str, str] = {}
    for entry in entries:
        if not entry.clip.id:
            problems.append(f"{entry.place}: the id is empty")
        elif entry.clip.id in first_place:
            earlier = first_place[entry.clip.id]
            problems.append(f"{entry.place}: id {entry.clip.id!r} is already that of {earlier}")
        else:
            first_place[entry.clip.id] = entry.place
    return problems


def _id_hints(entries: Iterable[Entry], source: str) -> list[str]:
    """Explain how to distinguish files that differ in their suffix alone, if ids are made of paths."""
    if source.partition(":")[0] not in WITH_IDS:
        return []
    first: dict[str, str] = {}
    for entry in entries:
        path, stem = entry.clip.path, without_suffix(entry.clip.path)
        suffix = PurePosixPath(path).suffix
        named_by_path = entry.clip.id.partition("#")[0] == stem
        if named_by_path and first.setdefault(stem, suffix) != suffix:
            return [
                "Ids that are made of paths keep the suffixes that tell files apart with ?ids=path"
            ]
    return []


def _text_problems(entries: Iterable[Entry]) -> list[str]:
    """Find names that no cache can hold: a file's name may be any bytes, text may not."""
    encoding = sys.getfilesystemencoding()
    way = (
        "not UTF-8 text; rename it"
        if encoding == "utf-8"
        else f"no text where names are read as {encoding}; set PYTHONUTF8=1"
    )
    return [
        f"{printable(entry.place)}: its name is {way}"
        for entry in entries
        if printable(text := _texts(entry.clip)) != text
    ]


def _list_problems(entries: Iterable[Entry]) -> list[str]:
    """Find labels that are lists or objects as Python and JSON write them: no class is called so."""
    found = [
        f"{entry.place}: label {label!r}"
        for entry in entries
        for label in dict.fromkeys(
            (*entry.clip.labels, ", ".join(entry.clip.labels))
        )  # divided by ,
        if _is_written_list(label)
    ]
    more = f" (and {len(found) - 1} more)" if found[1:] else ""
    return [
        f"{one}{more} is a list as a program writes it; write the names of the classes alone, several "
        "joined by ;. What has a begin and an end is a row of its own, with start_s and end_s"
        for one in found[:1]
    ]


def _is_written_list(label: str) -> bool:
    """Whether Python or JSON reads a label as several values.

    >>> [_is_written_list(label) for label in ("['a', 'b']", '{"class": null}', "[noise]", "['s Hof]")]
    [True, True, False, False]
    """
    if f"{label[:1]}{label[-1:]}" not in ("[]", "()", "{}"):
        return False
    for read in (json.loads, ast.literal_eval):
        with (
            suppress(ValueError, SyntaxError, RecursionError, MemoryError),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            return isinstance(read(label), list | tuple | set | dict)
    return False


def _texts(clip: Clip) -> str:
    return "".join([clip.id, clip.path, clip.group, *clip.labels])


def inside(root: CachePath, path: str) -> str:
    """Write a path relative to the root if it lies below it, or below what links may lead to.

    Examples
    --------
    >>> inside(Path("/data"), "/data/dog/../a.wav"), inside(Path("/data"), "dog/../../a.wav")
    ('a.wav', '../a.wav')
    """
    if "\0" in path or not (path.startswith("/") or ".." in PurePosixPath(path).parts):
        return path
    if not path.startswith("/") or isinstance(root, Address):
        return os.path.normpath(path)
    real = root.resolve()
    for folder in (Path(os.path.abspath(root)), limit_of(real)):
        if PurePosixPath(os.path.normpath(path)).is_relative_to(folder):
            return os.path.relpath(path, real if folder != Path(os.path.abspath(root)) else folder)
    return path


def _path_problems(root: CachePath, entries: Iterable[Entry]) -> list[str]:
    problems, limit = [], limit_of(root)
    for entry in entries:
        path = entry.clip.path
        if not path:
            problems.append(f"{entry.place}: the path is empty")
        elif "\0" in path or _is_too_long(root, path):
            problems.append(f"{entry.place}: {_short(path)} is not a path that can be followed")
        elif _winds(path) and _lies_in(limit, root, os.path.normpath(path)):
            problems.append(
                f"{entry.place}: {_short(path)} goes up and down again; write {os.path.normpath(path)!r}"
            )
        elif not _lies_in(limit, root, path):
            problems.append(
                f"{entry.place}: path {_short(path)} leaves the corpus folder {printable(str(limit))}"
            )
    return problems


def _is_too_long(root: CachePath, path: str) -> bool:
    if isinstance(root, Path) and len(os.fsencode(root / path)) > MAX_PATH_BYTES:
        return True
    return any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in PurePosixPath(path).parts)


def _lies_in(limit: CachePath, root: CachePath, path: str) -> bool:
    """Return whether a path stays below a folder; one that goes up and down again is not looked into."""
    if not isinstance(root, Path) or not isinstance(limit, Path):
        return leads_into(limit, root / path)
    inside_limit = PurePosixPath(os.path.normpath(root / path)).is_relative_to(limit)
    return inside_limit and not _winds(path)


def _winds(path: str) -> bool:
    """Whether a path goes up and down again, by what may be a link."""
    parts = PurePosixPath(path).parts
    return ".." in parts and parts != PurePosixPath(os.path.normpath(path)).parts


def _path_hints(root: CachePath, entries: Iterable[Entry]) -> list[str]:
    """Explain how paths may lead out of the folder, as far as all of those do that are listed."""
    if isinstance(root, Address):
        return []
    limit = limit_of(root)
    paths = [entry.clip.path for entry in entries if "\0" not in entry.clip.path]
    outside = [os.path.normpath(root / path) for path in paths if not _lies_in(limit, root, path)]
    common = os.path.commonpath([limit, *outside])
    if not outside or common in ("/", str(limit)):  # those that only wind do not lead out
        return []
    return [f"If paths and links may lead to anything below {common}: ?links={option_text(common)}"]


def _short(path: str) -> str:
    return repr(path if len(path) <= 100 else f"{path[:97]}...")


def _label_problems(entries: Iterable[Entry], classes: Sequence[str]) -> list[str]:
    problems, known = [], set(classes)
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        problems.append(f"classes name {', '.join(map(repr, twice[:MAX_LISTED]))} more than once")
    for entry in entries:
        for label in entry.clip.labels:
            if label not in known:
                nearest = difflib.get_close_matches(label, classes, n=1)
                hint = f", did you mean {nearest[0]!r}?" if nearest else ""
                problems.append(f"{entry.place}: unknown label {label!r}{hint}")
    if problems:
        problems.append(f"known labels: {', '.join(classes)}")
    return problems


def _scanned(root: CachePath, clips: Sequence[Clip]) -> tuple[list[Clip], list[str]]:
    """Fill in frames and rate; each file's header is read once, however many segments it has.

    Recordings whose header has no true size are noted.
    """
    paths = list(dict.fromkeys(clip.path for clip in clips))
    limit = limit_of(root)  # read here: threads have bounds of their own

    def header(path: str) -> Header:
        return scan_header(root / path) if leads_into(limit, root / path) else Header(0, 0)

    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        headers = dict(zip(paths, pool.map(header, paths), strict=True))
    unsized = [path for path, header in headers.items() if header.unsized]
    note = (
        f"{len(unsized)} recording(s) have no size in their headers, or no last page, as if written to "
        "a pipe or never closed, and are read to the end of the file, first: "
    )
    notes = [note + printable(unsized[0])] if unsized else []
    return [_measured(clip, headers[clip.path]) for clip in clips], notes


def _measured(clip: Clip, header: Header) -> Clip:
    if not header.frames:
        return clip
    rate_hz = header.rate_hz
    try:
        start, stop = segment_frames(header.frames, rate_hz, clip.start_s, clip.end_s)
    except UnusableAudio:
        return replace(clip, frames=0, source_rate_hz=rate_hz)
    return replace(clip, frames=stop - start, source_rate_hz=rate_hz)
