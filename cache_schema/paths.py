"""Paths on the command line: what cannot be read or written there is rejected before anything is."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import click

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What a folder of ours holds; nothing else is written inside.
_MARKS = {
    "cache": ("manifest.json", "parts"),
    "run": ("config.json", "training-state.pt"),
    "export": ("card.json", "test_vectors.npz"),
}
PICTURE_SUFFIXES = (".png", ".pdf", ".svg")
PAGE_SUFFIXES = (".html", ".htm")


def path_problem(text: str) -> str | None:
    """Explain why `text` names no place on a local disk; None where it does.

    >>> path_problem("s3://bucket/cache.zarr")
    "'s3://bucket/cache.zarr' is an address; only local paths can be read and written so far"
    """
    if not text:
        return "it is empty; name a path"
    if _ADDRESS.match(text):
        return f"{text!r} is an address; only local paths can be read and written so far"
    return None


class LocalPath(click.Path):
    """A path on a local disk: no address such as ``s3://``, and not empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no local path."""
        if problem := path_problem(os.fspath(value)):
            self.fail(problem, param, ctx)
        return super().convert(value, param, ctx)


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
        """Refuse a path inside what must stay as it is."""
        path: Path = super().convert(value, param, ctx)
        if problem := _place_problem(path, folder=self.dir_okay):
            self.fail(problem, param, ctx)
        place = Path(os.path.realpath(path))
        for folder in (place, *place.parents):
            kind = _kind_of(folder)
            if kind and (folder != place or kind != self.own):
                self.fail(
                    f"{path} is, or lies in, the {kind} {folder}; choose another place", param, ctx
                )
        return path


class PicturePath(OutputPath):
    """A picture to draw, in a format that its suffix names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a suffix that is no format of pictures."""
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
        """Refuse a suffix that browsers do not open."""
        path: Path = super().convert(value, param, ctx)
        if path.suffix.lower() not in PAGE_SUFFIXES:
            known = ", ".join(PAGE_SUFFIXES)
            self.fail(f"{path} has the suffix {path.suffix!r}; known: {known}", param, ctx)
        return path


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


def _kind_of(folder: Path) -> str | None:
    for kind, names in _MARKS.items():
        if all(os.path.lexists(folder / name) for name in names):
            return kind
    return None
