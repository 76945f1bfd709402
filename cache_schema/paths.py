"""Paths on the command line: what cannot be read or written there is rejected before anything is."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cache_schema.folder_kinds import kind_of
from cache_schema.store.address import SCHEMES, WEB, Address, CachePath, cache_path, is_address
from cache_schema.store.cloud import check_extra

# Files that commands write: suffix, and a pattern of what one of ours has near one of its ends.
PICTURES = {
    ".png": rb"Software\0Matplotlib",
    ".pdf": rb"Creator.{,9}Matplotlib",
    ".svg": rb">Matplotlib v",
}
PAGES = dict.fromkeys((".html", ".htm"), rb'name="generator" content="aftersound"')
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})(?=/|$)")
_DRIVE = re.compile(r"([A-Za-z]):[\\/]")
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_END_BYTES = 1 << 16
# What file systems take, and what `.PROCESS-THREAD.partial` adds to it while something is written.
_NAME_BYTES, _DRAFT_BYTES = 255, 40


def path_problem(text: str, *, links: bool = True) -> str | None:
    """Explain why `text` names no place on a local disk; None where it does.

    Without `links`, a link to nothing is left to what reads it, as a file that is missing is.

    >>> path_problem("s3://bucket/run")
    "'s3://bucket/run' is an address, and only caches and corpora lie at one; name a local path"
    """
    if not text:
        return "it is empty; name a path"
    scheme = text.partition(":")[0]
    if scheme in SCHEMES and scheme != text and not os.path.lexists(text) and not is_address(text):
        rest = text.removeprefix(f"{scheme}:").lstrip("/")
        return f"{text!r} lacks a slash: an address is {scheme}://{rest}, a local path ./{text}"
    drive = _DRIVE.match(text)
    if drive and not os.path.lexists(text) and not os.path.isdir(f"{drive[1]}:"):
        there = text[drive.end() :].replace("\\", "/").lstrip("/")
        return f"{text!r} is a path of Windows; under WSL it is /mnt/{drive[1].lower()}/{there}"
    slashed = text.replace("\\", "/")
    if slashed != text and not os.path.lexists(text) and os.path.lexists(slashed):
        return f"{text!r}: backslashes divide no folders here: write {slashed}"
    if is_address(text):
        return f"{text!r} is an address, and only caches and corpora lie at one; name a local path"
    variable = _VARIABLE.match(text)
    if variable and not os.path.lexists(variable[0]):
        return (
            f"{text!r} begins with {variable[0]}, which no shell has replaced (quotes, or a file of "
            f"options): write out what it stands for, or ./{text} if a folder is called so"
        )
    return _link_problem(text) if links else None


def _link_problem(text: str) -> str | None:
    """Explain that links lead nowhere: such a place would be missing under a name that is there."""
    try:
        os.stat(text)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{text!r} leads through links in a circle; name the place itself"
        if error.errno == errno.ENOENT and os.path.islink(text):
            there = os.readlink(text)
            return f"{text!r} is a link to {there!r}, which does not exist; name the place itself"
    return None


def absent(folder: Path, name: str) -> str:
    """Name a file that is not there; what stands in its place would take no copy of it."""
    odd = os.path.lexists(folder / name)
    what = " (in its place is a link to nothing, a folder or a pipe: delete that first)"
    return f"{name}{what * odd}"


class LocalPath(click.Path):
    """A path on a local disk: no address such as ``s3://``, and not empty; ``~`` is the home folder.

    A shell leaves it as it is in ``--out=~/x``, as a configuration does. With ``readable=False`` what
    is at the path is left to what reads it, links to nothing too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject what is no local path."""
        if problem := path_problem(os.fspath(value), links=self.readable):
            self.fail(problem, param, ctx)
        if os.fspath(value).startswith("~") and not os.path.lexists(value):
            value = os.path.expanduser(value)
        return super().convert(value, param, ctx)


class CacheArgument(LocalPath):
    """Where a cache lies: a path on a local disk, or an address such as ``s3://bucket/cache.zarr``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject an address that no cache is read at, or that what reads it is not installed for."""
        return _at_address(value) or super().convert(value, param, ctx)


class OutputPath(LocalPath):
    """A path to write: in no cache, run, export or teacher, and there or to be a plain file or folder.

    A file that is written takes the place of what is there: of a device, a pipe or a link it would make
    a file.

    Parameters
    ----------
    own : str
        What may be there already to be continued: ``"cache"``, ``"run"`` or ``"teacher"``.
    moved_there : bool
        Whether a folder is made beside it and moved to its place, which no folder can be that is in use.
    """

    replaces = False

    def __init__(self, own: str = "", *, moved_there: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.own, self.moved_there = own, moved_there

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject a path inside what must stay as it is."""
        path: Path = super().convert(value, param, ctx)
        if problem := _place_problem(path, folder=self.dir_okay):
            self.fail(problem, param, ctx)
        place = Path(os.path.realpath(path))
        for folder in (place, *place.parents):
            kind = kind_of(folder)
            if kind and (folder != place or kind != self.own):
                self.fail(
                    f"{path} is, or lies in, the {kind} {folder}; choose another place", param, ctx
                )
        if self.moved_there and kind_of(place) != self.own and (used := _use_of(place)):
            self.fail(
                f"{path} is {used}, which no folder can take the place of; name a folder in it",
                param,
                ctx,
            )
        # What goes on in a folder that is there locks it first, which is refused where it may not.
        if not place.is_dir():
            # Whoever made a file read-only wants it kept, though a draft could take its place.
            if place.exists():
                check_access(place)
            if self.replaces or not place.exists():
                check_access(_folder_above(place))
        return path


class OutputFile(OutputPath):
    """A file to write, in a format that its suffix names; it replaces an earlier one of ours alone.

    Parameters
    ----------
    formats : mapping of str to bytes
        Suffixes, each with a pattern that is found near the beginning or the end of what is written.
    """

    replaces = True  # by a draft beside it

    def __init__(self, formats: Mapping[str, bytes]) -> None:
        super().__init__(dir_okay=False)
        self.formats = formats

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject a suffix that is not known, and a file that was not written by such an option."""
        path: Path = super().convert(value, param, ctx)
        pattern = self.formats.get(path.suffix.lower())
        if pattern is None:
            known = ", ".join(self.formats)
            self.fail(f"{path} has the suffix {path.suffix!r}; known: {known}", param, ctx)
        if path.is_file() and not is_ours(path, pattern):
            self.fail(
                f"{path} is there already and was not written by this command; name another file",
                param,
                ctx,
            )
        return path


def is_ours(path: Path, pattern: bytes) -> bool:
    """Whether a file is empty, or has a pattern near one of its ends."""
    with path.open("rb") as file:
        ends = file.read(_END_BYTES)
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        ends += file.read(_END_BYTES)
    return not ends or re.search(pattern, ends, re.DOTALL) is not None


class CacheOutput(OutputPath):
    """Where a cache is written: as for `OutputPath`, or at an address on an object store."""

    def __init__(self) -> None:
        super().__init__(own="cache", moved_there=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject an address on a web server, too, which is only read."""
        address = _at_address(value)
        if isinstance(address, Address) and address.scheme in WEB:
            self.fail(f"{address} is on a web server, which is only read", param, ctx)
        if isinstance(address, Address):
            return address
        return super().convert(value if address is None else address, param, ctx)


def _at_address(value: Any) -> CachePath | None:
    """Read an address, or the local path of a ``file://`` one; None where it is none."""
    if isinstance(value, Address):
        return value
    if not is_address(os.fspath(value)):
        return None
    place = cache_path(value)
    if isinstance(place, Address):
        check_extra()
    return place


def _use_of(folder: Path) -> str:
    """What keeps a folder from being replaced; empty if nothing does."""
    if os.path.ismount(folder):
        return "a mount point"
    return "the working folder" if folder == Path.cwd() else ""


def check_access(place: Path) -> None:
    """Raise before hours of work what writing to a file, or into a folder, would raise after them.

    Raises
    ------
    OSError
        Of a file system that is only read, or of missing rights.
    """
    wanted = os.W_OK | (os.X_OK if place.is_dir() else 0)
    if not os.access(place, wanted):
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(place))


def _folder_above(path: Path) -> Path:
    """What is there of the folders above a path, the nearest."""
    return next((one for one in path.absolute().parents if os.path.lexists(one)), Path("/"))


def _place_problem(path: Path, *, folder: bool) -> str | None:
    """Explain why nothing can be written at `path`; a link to a folder is one where that is wanted."""
    above = _folder_above(path)
    if not above.is_dir():
        return f"{path} cannot be written: {above} is no folder"
    if not os.path.lexists(path):
        return _name_problem(path)
    if folder and path.is_dir():
        return None
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}; name the place itself"
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return f"{path} is a device or a pipe, and no file is made of it; name another place"


def _name_problem(path: Path) -> str | None:
    r"""Explain why a new name is too long, or hardly meant.

    >>> _name_problem(Path(r"runs\neu"))
    "'runs\\\\neu' holds a backslash, which divides no folders here: write /"
    """
    new = [place.name for place in (path, *path.parents) if not os.path.lexists(place)]
    odd = next((found[0] for name in new if (found := _ODD.search(name))), "")
    if odd == "\\":
        return f"{os.fspath(path)!r} holds a backslash, which divides no folders here: write /"
    if odd:
        return (
            f"{os.fspath(path)!r} holds a control character, {odd!r}, which double quotes in a file of "
            "options make of a backslash: write / there"
        )
    size, most = len(os.fsencode(path.name)), _NAME_BYTES - _DRAFT_BYTES
    if size <= most:
        return None
    return (
        f"{path} has a name of {size} bytes; at most {most} leave room for the names of its drafts. "
        "Choose a shorter one"
    )
