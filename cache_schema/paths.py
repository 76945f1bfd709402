"""Paths on the command line: what cannot be read or written there is rejected before anything is."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import click

from cache_schema.folder_kinds import kind_of
from cache_schema.store.address import WEB, Address, CachePath, cache_path, is_address
from cache_schema.store.cloud import check_extra

PICTURE_SUFFIXES = (".png", ".pdf", ".svg")
PAGE_SUFFIXES = (".html", ".htm")


def path_problem(text: str) -> str | None:
    """Explain why `text` names no place on a local disk; None where it does.

    >>> path_problem("s3://bucket/run")
    "'s3://bucket/run' is an address, and only a cache may lie at one; name a local path"
    """
    if not text:
        return "it is empty; name a path"
    if is_address(text):
        return f"{text!r} is an address, and only a cache may lie at one; name a local path"
    return None


class LocalPath(click.Path):
    """A path on a local disk: no address such as ``s3://``, and not empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject what is no local path."""
        if problem := path_problem(os.fspath(value)):
            self.fail(problem, param, ctx)
        return super().convert(value, param, ctx)


class CacheArgument(LocalPath):
    """Where a cache lies: a path on a local disk, or an address such as ``s3://bucket/cache.zarr``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject an address that no cache is read at, or that what reads it is not installed for."""
        return _at_address(value) or super().convert(value, param, ctx)


class OutputPath(LocalPath):
    """A path to write, which lies in no cache, run or export, and is or becomes a plain file or folder.

    A file that is written takes the place of what is there: of a device, a pipe or a link it would make
    a file.

    Parameters
    ----------
    own : str
        What may be there already to be continued: ``"cache"`` or ``"run"``.
    """

    def __init__(self, own: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.own = own

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
        return path


class PicturePath(OutputPath):
    """A picture to draw, in a format that its suffix names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject a suffix that is no format of pictures."""
        path: Path = super().convert(value, param, ctx)
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            known = ", ".join(PICTURE_SUFFIXES)
            self.fail(f"{path} has the suffix {path.suffix!r}; known: {known}", param, ctx)
        return path


class ReportPath(OutputPath):
    """A report to write: one HTML file."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dir_okay=False, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject a suffix that browsers do not open."""
        path: Path = super().convert(value, param, ctx)
        if path.suffix.lower() not in PAGE_SUFFIXES:
            known = ", ".join(PAGE_SUFFIXES)
            self.fail(f"{path} has the suffix {path.suffix!r}; known: {known}", param, ctx)
        return path


class CacheOutput(OutputPath):
    """Where a cache is written: as for `OutputPath`, or at an address on an object store."""

    def __init__(self) -> None:
        super().__init__(own="cache")

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


def _place_problem(path: Path, *, folder: bool) -> str | None:
    """Explain why nothing can be written at `path`; a link to a folder is one where that is wanted."""
    above = next((one for one in path.absolute().parents if os.path.lexists(one)), Path("/"))
    if not above.is_dir():
        return f"{path} cannot be written: {above} is no folder"
    if not os.path.lexists(path) or (folder and path.is_dir()):
        return None
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}; name the place itself"
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return f"{path} is a device or a pipe, and no file is made of it; name another place"
