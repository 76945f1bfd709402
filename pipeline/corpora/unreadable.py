"""Why listed clips cannot be read: the reasons, grouped and counted, with a hint for each."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from cache_schema.cautions import few
from cache_schema.clip import Clip
from cache_schema.store.address import CachePath
from cache_schema.store.objects import objects_of
from cache_schema.text import one_line
from pipeline.audio.decode import UnusableAudio, scan_header, segment_frames
from pipeline.audio.members import container_of
from pipeline.audio.source import NO_OBJECT
from pipeline.corpora.walk import (
    files_below,
    leads_into,
    limit_of,
    link_explanation,
    option_text,
)

MAX_READ_AGAIN = 20  # clips whose headers are read again to learn what is wrong


class _Reason(NamedTuple):
    """What is wrong with a clip, a hint that others may share, and what this one alone has."""

    what: str
    hint: str = ""
    example: str = ""


# Of what an address holds, the name of a file.
_DECODED = "decoded (Python's urllib.parse.unquote), up to the ?"
_IN_ADDRESSES = re.compile(r"%[0-9A-Fa-f]{2}|\?")
OTHERS = _Reason("others cannot be read")


def unreadable_reasons(root: CachePath, clips: Sequence[Clip]) -> list[str]:
    """Explain why clips cannot be read.

    Parameters
    ----------
    root : Path or Address
        Resolved folder that their paths are relative to.
    clips : sequence of Clip
        All clips of a corpus; those with frames are passed over.

    Returns
    -------
    list of str
        A line for each reason, the most frequent first: the number of clips, the first of them, a hint.
    """
    finder = _Finder(root)
    counts: dict[tuple[str, str], int] = {}
    first: dict[tuple[str, str], str] = {}
    again = 0
    for clip in clips:
        if clip.frames:
            continue
        reason = _of_place(root, clip, finder)
        if reason is None:
            again += not clip.source_rate_hz
            known = clip.source_rate_hz or again <= MAX_READ_AGAIN
            reason = _of_content(root, clip) if known else OTHERS
        key = reason.what, reason.hint
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, one_line(clip.path + reason.example))
    return [
        f"{count} {what}, first {first[what, hint]}" + (f": {hint}" if hint else "")
        for (what, hint), count in sorted(
            counts.items(), key=lambda item: (item[0][0] == OTHERS.what, -item[1])
        )
    ]


def suggested_path(root: Path, name: str) -> str:
    """Explain how the path of a listed file that is not there may be meant; nothing if unknown."""
    reason = _spelling(name, _Finder(root))
    return reason.example + (f": {reason.hint}" if reason.hint else "")


def _of_place(root: CachePath, clip: Clip, finder: _Finder) -> _Reason | None:
    """What is wrong with where a clip lies; nothing if its file is there, or may be."""
    if not isinstance(root, Path):
        there = finder.has(clip.path) or not objects_of(root).lists
        return None if there else _spelling(clip.path, finder)
    path = container_of(root / clip.path)
    if not leads_into(limit_of(root), root / clip.path):
        return _Reason(
            "lead out of the corpus by a link", "", f", which {link_explanation(root, clip.path)}"
        )
    if not os.path.exists(path):
        if os.path.islink(path):
            return _Reason("are links to nothing")
        return _spelling(clip.path, finder)
    if os.path.isdir(path):
        return _Reason("are folders")
    if not os.path.isfile(path):
        return _Reason("are no regular files")
    return None if os.path.getsize(path) else _Reason("are empty files")


def _spelling(name: str, finder: _Finder) -> _Reason:
    """How the path of a file that is not there may be meant."""
    plain = name.replace("\\", "/")
    hint, alike = "", list[str]()
    if re.match(r"[A-Za-z]:[\\/]", name):
        hint = "paths begin with a drive; write them relative to the corpus' folder"
    elif re.match(r"file:", name, re.IGNORECASE):
        hint = "paths are file:// addresses; write them without file://"
    elif re.match(r"[a-z][a-z0-9+.-]*:/", name, re.IGNORECASE):
        hint = (
            "paths are addresses; csv and jsonl read those below one: "
            "?root=s3://BUCKET&prefix=s3://BUCKET"
        )
    elif plain != name and finder.has(plain):
        hint = "paths use backslashes; write /"
    elif finder.has(unquote(name)):
        hint = f"paths are percent-encoded; write them {_DECODED}"
    elif finder.has(unquote(name.partition("?")[0])):
        hint = f"paths have queries of addresses; write them {_DECODED}"
    elif above := finder.above(plain):
        hint = f"they are below {above}: csv and jsonl take root={option_text(above)}"
    elif alike := finder.like(plain):
        several = "several files are called so; write each path with its folder"
        hint = several if alike[1:] else _difference(plain, alike[0])
    return _Reason("are not there", hint, f" (there is {few(alike)})" if alike else "")


def _difference(name: str, there: str) -> str:
    """Describe in what a listed path differs from the file that is there."""
    has, lacks = PurePosixPath(there).suffix, PurePosixPath(name).suffix
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", there):
        return "names differ in their Unicode form"
    if name.casefold() == there.casefold():
        return "names differ in upper and lower case"
    if f"{name}{has}".casefold() == there.casefold():
        return f"paths lack the suffix {has}"
    if name.removesuffix(lacks) == there.removesuffix(has):
        return f"names differ in their suffix, {lacks} and {has}"
    if there.endswith(f"/{name}"):
        folder = there.removesuffix(name)
        return (
            f"paths lack the folder {folder}: write them with it (or, if all are in it, csv and jsonl "
            f"take root=FOLDER/{folder.rstrip('/')})"
        )
    return "files of these names lie elsewhere in the corpus"


MAX_ABOVE = 3  # folders


class _Finder:
    """Finds files that are called like one that is not there; the folder is walked once, if at all."""

    def __init__(self, root: CachePath) -> None:
        self._root = root

    @cached_property
    def _files(self) -> dict[str, None]:
        return dict.fromkeys(files_below(self._root).files)

    def has(self, name: str) -> bool:
        """Whether a file is there; a store's are looked up in its list."""
        if isinstance(self._root, Path):
            return os.path.exists(self._root / name)
        return objects_of(self._root).lists and name in self._files

    @cached_property
    def _by_key(self) -> dict[str, dict[str, None]]:
        found: dict[str, dict[str, None]] = {}
        for file in self._files:
            for key in self._keys(file):
                found.setdefault(key, {})[file] = None
        return found

    def above(self, name: str) -> Path | None:
        """The nearest folder above that has a path, as where lists have a folder of their own."""
        if not isinstance(self._root, Path):
            return None
        parents = self._root.absolute().parents[:MAX_ABOVE]
        return next((folder for folder in parents if os.path.isfile(folder / name)), None)

    def like(self, name: str) -> list[str]:
        """The files that differ in case, Unicode form, suffix or folder alone."""
        found = (self._by_key[key] for key in self._keys(name) if key in self._by_key)
        return [*next(found, ())]

    @staticmethod
    def _keys(name: str) -> Iterator[str]:
        """What a path is found by: all of it or its last part, with and without suffix."""
        plain = unicodedata.normalize("NFC", name).casefold()
        for text in (plain, PurePosixPath(plain).name):
            yield text
            yield str(PurePosixPath(text).with_suffix("")) if PurePosixPath(text).name else text


def _of_content(root: CachePath, clip: Clip) -> _Reason:
    """What a decoder reports of the header of a file that is there, or where its end is."""
    header = scan_header(root / clip.path)
    if header.problem == NO_OBJECT:  # of a web server, which is not listed
        hint = f"write names as the server has them, {_DECODED}"
        return _Reason("are not there", hint if _IN_ADDRESSES.search(clip.path) else "")
    if not header.frames:
        unknown = "Format not recognised" in header.problem  # libsndfile's words
        hint = "convert what it does not know, such as M4A, AMR or WMA, to WAV or FLAC"
        return _Reason(f"cannot be decoded ({header.problem})", hint if unknown else "")
    try:
        segment_frames(header.frames, header.rate_hz, clip.start_s, clip.end_s)
    except UnusableAudio as problem:
        hint = _unit_hint(clip, header.frames / header.rate_hz, header.rate_hz)
        return _Reason("have stretches outside their files", hint, f" ({problem.reason})")
    return OTHERS


LEAST_SHARE = 0.01  # of a recording, behind which a stretch in another unit would end


def _unit_hint(clip: Clip, length_s: float, rate_hz: int) -> str:
    """Note if the ends of a stretch would fit as milliseconds or as samples."""
    last = clip.end_s or clip.start_s
    for unit, of_a_second in (("milliseconds", 1000), ("samples", rate_hz)):
        if last > length_s >= last / of_a_second >= LEAST_SHARE * length_s:
            return f"start_s and end_s look like {unit}; write seconds"
    return ""
