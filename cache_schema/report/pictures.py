"""The charts and clips of a report as pictures for a paper, one PNG each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.inspection.plot import plot_chart, require_matplotlib
from cache_schema.own_folder import check_own_folder
from cache_schema.paths import PICTURES, check_access, is_ours
from cache_schema.report.charts.base import Chart
from cache_schema.store.files import remove_drafts, write_atomic

SUFFIX = ".png"
# Lists what a report has drawn into a folder: only that is removed by the next one.
DRAWN = "pictures.txt"


Draw = Callable[[Path], None]
"""Draws a clip into a file."""


def check_pictures(folder: Path, command: str, page: Path) -> None:
    """Reject pictures that could not be drawn, before anything else is done.

    Raises
    ------
    UsageError
        If matplotlib is missing, the folder holds other things than pictures, or is to be the page too.
    """
    if folder.absolute() == page.absolute():
        raise UsageError(f"--png and the page are both to be {page}; name a folder", kind="options")
    require_matplotlib()
    check_own_folder(folder, "folder of pictures", command, (SUFFIX, DRAWN), option="--png")
    if folder.is_dir():
        check_access(folder)


def write_pictures(folder: Path, charts: Mapping[str, Chart], clips: Mapping[str, Draw]) -> int:
    """Draw charts and clips by their names; gives the number of pictures.

    Those of an earlier report are replaced or removed; other pictures in the folder are left alone.

    Raises
    ------
    UsageError
        If a picture that is none of ours has the name of one; nothing was written.
    """
    drawn = {name: chart.static for name, chart in charts.items() if chart.static is not None}
    names = {f"{name}{SUFFIX}" for name in (*drawn, *clips)}
    if foreign := [str(folder / name) for name in sorted(names) if _is_foreign(folder / name)]:
        raise UsageError(
            f"{', '.join(foreign)}: there already, and not drawn by a report. Nothing was written. Move "
            "it away, or choose another --png",
            kind="exists",
        )
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _listed(folder)
    _list(folder, names | earlier)  # so that what a kill leaves is removed by the next report
    for name, static in drawn.items():
        plot_chart(static.draw, static.height_inches, folder / f"{name}{SUFFIX}")
    for name, draw in clips.items():
        draw(folder / f"{name}{SUFFIX}")
    for name in earlier - names:
        if not _is_foreign(folder / name):  # else altered since by somebody, who may want it
            (folder / name).unlink(missing_ok=True)
    remove_drafts(folder, earlier | names)
    _list(folder, names)
    return len(names)


def _is_foreign(file: Path) -> bool:
    if file.is_symlink() or not file.is_file():
        return os.path.lexists(file)
    return not is_ours(file, PICTURES[SUFFIX])


def _listed(folder: Path) -> set[str]:
    """Names of pictures that an earlier report has drawn here; of a list that was altered, no others."""
    file = folder / DRAWN
    names = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    return {name for name in names if name == Path(name).name and name.endswith(SUFFIX)}


def _list(folder: Path, names: set[str]) -> None:
    write_atomic(folder / DRAWN, "".join(f"{name}\n" for name in sorted(names)).encode())
