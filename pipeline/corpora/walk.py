"""The files below a corpus' folder: one walk for every kind, and how far a reading may go.

Below an address on a store they are what the store lists.

Hidden names, folders that file managers and archives leave behind, caches, and what the running
command writes are not read, and named once. Other outputs of ours hold no recordings, and count like
any folder without one: not at all. Links to folders are followed only as far as ``?links=FOLDER``
allows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import overload

from cache_schema.errors import UsageError
from cache_schema.store.address import Address, CachePath
from cache_schema.store.objects import objects_of
from cache_schema.store.safe_open import refusals_reported
from pipeline.audio.members import container_of

# What macOS archives, network disks, Windows and Python put beside the files of a user.
FOREIGN_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information",
     "lost+found", "__pycache__")
)  # fmt: skip
# Of a file .NAME.icloud that macOS keeps in the place of NAME, which it has moved to iCloud.
PLACEHOLDER = ".icloud"
# At the top of a cache, which holds many files and no recording.
CACHE_MARK = "zarr.json"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the reading of a corpus may go.

    Attributes
    ----------
    reach : Path, optional
        Resolved folder that links may lead to anything below; by default they stay in the corpus.
    output : Path, optional
        What the running command writes, which is none of its inputs.
    """

    reach: Path | None = None
    output: Path | None = None


NO_BOUNDS = Bounds()
_bounds: ContextVar[Bounds] = ContextVar("bounds of a corpus", default=NO_BOUNDS)


@contextmanager
def reading_within(bounds: Bounds) -> Iterator[None]:
    """Read a corpus within these bounds."""
    token = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(token)


@overload
def limit_of(root: Path) -> Path: ...
@overload
def limit_of(root: Address) -> Address: ...
def limit_of(root: CachePath) -> CachePath:
    """The folder that what is below a resolved root must not lead out of.

    Raises
    ------
    UsageError
        If links may lead to another folder, but not one that holds the root.
    """
    reach = _bounds.get().reach
    if reach is None or isinstance(root, Address):
        return root
    if not root.is_relative_to(reach):
        raise UsageError(
            f"links={reach} does not hold the corpus' folder {root}; name a folder that holds both "
            f"it and what the links lead to, for example ?links="
            f"{option_text(os.path.commonpath([reach, root]))}",
            kind="options",
        )
    return reach


def escapes_root(root: CachePath, path: str) -> bool:
    """Return whether a path below a resolved root leads out of it, by links or by its own words."""
    return not leads_into(limit_of(root), root / path)


def leads_into(limit: CachePath, path: CachePath) -> bool:
    """Return whether a path, or the container it is in, really lies below a resolved folder."""
    if not isinstance(limit, Path) or not isinstance(path, Path):
        return _names_object_below(limit, path)
    return Path(os.path.realpath(container_of(path))).is_relative_to(limit)


def _names_object_below(limit: CachePath, place: CachePath) -> bool:
    """Return whether an address lies below another by its words; there are no links on a store."""
    return (
        isinstance(limit, Address)
        and isinstance(place, Address)
        and {"", ".", ".."}.isdisjoint(place.key.split("/"))
        and PurePosixPath("/", place.key).is_relative_to(PurePosixPath("/", limit.key))
        and (place.scheme, place.host) == (limit.scheme, limit.host)
    )


def printable(name: str) -> str:
    """Write a file's name as text, with bytes that are none spelled out."""
    return name.encode("utf-8", "backslashreplace").decode()


_IN_OPTIONS = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%?&\n"})


def option_text(path: CachePath | str) -> str:
    """Write a path as it stands in the name of a corpus.

    Examples
    --------
    >>> option_text("what?/100%")
    'what%3F/100%25'
    """
    return str(path).translate(_IN_OPTIONS)


def link_explanation(root: Path, name: str) -> str:
    """Describe where a link leads that is not followed, and how to have it followed.

    Parameters
    ----------
    root : Path
        Folder of the corpus.
    name : str
        Path of the link below it.
    """
    target = Path(os.path.realpath(root / name))
    below = option_text(os.path.commonpath([os.path.realpath(root), target]))
    shown = printable(str(target))
    return f"leads to {shown}, which is not followed; if you trust it, add ?links={below}"


@dataclass(slots=True)
class Found:
    """What a walk found.

    Attributes
    ----------
    files : list of str
        POSIX paths below the root, sorted folder by folder.
    skipped : list of str
        Folders that are never read, as POSIX paths with what they are.
    problems : list of str
        Folders that cannot be listed, and links to folders that are not followed.
    not_downloaded : list of str
        Placeholders of a cloud drive, in the place of files that it has.
    """

    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    not_downloaded: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Lines that name what was skipped, and what is elsewhere, for the notes of a corpus."""
        notes = [f"not read: {', '.join(self.skipped)}"] if self.skipped else []
        if self.not_downloaded:
            first = printable(self.not_downloaded[0])
            notes.append(
                f"{len(self.not_downloaded)} files are placeholders of iCloud, not downloaded, first "
                f"{first}: they are no part of the corpus until they are"
            )
        return notes


def files_below(root: CachePath) -> Found:
    """List all files below a folder but those of hidden and foreign folders and of outputs.

    Raises
    ------
    UsageError
        If it is on a web server, which is never listed.
    """
    if isinstance(root, Address):
        return _objects_below(root)
    found = Found()
    _walk(root, PurePosixPath(), found, {os.path.realpath(root)})
    return found


def _objects_below(root: Address) -> Found:
    """List what a store has below an address, as a walk would find it in a folder."""
    objects = objects_of(root)
    if not objects.lists:
        raise UsageError(
            f"{root} is on a web server, which is not listed; write a list of its recordings beside "
            f"them, and name it: csv:{root}/LIST.csv",
            kind="list",
        )
    keys = [key for key in objects.list() if not _is_hidden(key)]
    caches = {key.removesuffix(CACHE_MARK) for key in keys if key.endswith(f"/{CACHE_MARK}")}
    found = Found()
    for key in sorted(keys, key=lambda key: key.split("/")):
        folders = [key[: slash.end()] for slash in re.finditer("/", key)]
        skipped = next(
            (f for f in folders if f in caches or f.split("/")[-2] in FOREIGN_FOLDERS), ""
        )
        if not skipped:
            found.files.append(key)
        elif (
            named := f"{printable(skipped)}{' (a cache)' * (skipped in caches)}"
        ) not in found.skipped:
            found.skipped.append(named)
    return found


def _is_hidden(key: str) -> bool:
    return any(name.startswith(".") for name in key.split("/"))


def _walk(root: Path, folder: PurePosixPath, found: Found, within: set[str]) -> None:
    """Walk one folder; `within` are the real folders above it, which a link may not lead to again."""
    try:
        with refusals_reported(root / folder), os.scandir(root / folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        found.problems.append(f"{printable(str(folder))}: {error.strerror}")
        return
    for entry in entries:
        name = folder / entry.name
        if entry.name.startswith("."):
            found.not_downloaded += [str(name)] if entry.name.endswith(PLACEHOLDER) else []
            continue
        # A link may lead in a circle, which the entry itself would raise over.
        if not (os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()):
            found.files.append(str(name))
        elif why := _skip_reason(Path(entry.path)):
            found.skipped.append(f"{printable(str(name))}{why}")
        elif entry.is_symlink() and (above := os.path.realpath(entry.path)) in within:
            found.problems.append(
                f"{printable(str(name))}: a link to a folder that holds it, {printable(above)}, which "
                "would be read in a circle; delete the link, or name a folder without it"
            )
        elif entry.is_symlink() and not _followed(root, name):
            found.problems.append(
                f"{printable(str(name))}: a link to a folder that {link_explanation(root, str(name))}"
            )
        else:
            _walk(root, name, found, within | {os.path.realpath(entry.path)})


def _skip_reason(folder: Path) -> str:
    """Describe what a folder is that holds no recordings of the corpus; nothing if it may."""
    if folder.name in FOREIGN_FOLDERS:
        return "/"
    output = _bounds.get().output
    if output is not None and Path(os.path.realpath(folder)) == output:
        return " (--out of this command)"
    return " (a cache)" if os.path.isfile(folder / CACHE_MARK) else ""


def _followed(root: Path, name: PurePosixPath) -> bool:
    """Return whether a link to a folder is followed: if requested, and within reach."""
    return _bounds.get().reach is not None and not escapes_root(root.resolve(), str(name))


def list_folder(root: Path) -> Found:
    """As `files_below`, for readers that a folder which cannot be listed would mislead.

    Raises
    ------
    UsageError
        If there is one, or a link to a folder that is not followed: its clips would pass for missing.
    """
    found = files_below(root)
    if found.problems:
        raise UsageError(f"corpus folder {root}: {found.problems[0]}", kind="corpus")
    return found
