"""The folder that an export is made in: beside its place, and moved there when all of it is done."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_schema.errors import RunError, UsageError
from cache_schema.own_folder import check_own_folder
from cache_schema.store.files import PARTIAL_SUFFIX, change_mode, named_in_errors, sync, umask

_DRAWN = 8  # characters that `tempfile` draws


@contextmanager
def draft_of(out: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `out` at the end, or is removed where an error ends it.

    Its name is drawn anew, so that nothing of anybody else's is ever taken for it. Where `out` is a
    link to a folder, it is made beside that one, on the same disk.

    Raises
    ------
    UsageError
        If something is at `out` already, before anything is made.
    RunError
        If something has come there since; it stays.
    OSError
        If nothing can be written there, likewise.
    """
    out = _place(out)
    _check_free(out)
    parents = [folder for folder in out.absolute().parents if not folder.exists()]
    draft: Path | None = None
    try:
        with named_in_errors(out):
            out.absolute().parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.mkdtemp(
                prefix=_prefix(out), suffix=PARTIAL_SUFFIX, dir=out.absolute().parent
            )
        draft = Path(made)
        yield draft
        change_mode(draft, 0o777 & ~umask() | draft.stat().st_mode & stat.S_ISGID)
        _check_still_free(out)
        draft.replace(out)
        sync(out.absolute().parent)
    except BaseException:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        for folder in parents:
            if folder.is_dir() and not os.listdir(folder):
                folder.rmdir()
        raise


def drafts_left(out: Path) -> list[Path]:
    """Drafts of `out` that are there: of exports that were killed, or are under way."""
    out = _place(out)
    pattern = f"{glob.escape(_prefix(out))}{'?' * _DRAWN}{PARTIAL_SUFFIX}"
    return sorted(out.absolute().parent.glob(pattern))


def _place(out: Path) -> Path:
    return out.resolve() if out.is_dir() else out


def _prefix(out: Path) -> str:
    return f"{out.absolute().name[:100]}."


def _check_free(out: Path) -> None:
    if out.is_symlink():
        raise UsageError(f"{out} is a link. Choose another --out", kind="exists")
    check_own_folder(out, "export", "export-student", ())
    if out.is_dir() and os.listdir(out):
        raise UsageError(f"{out} is not empty. Choose another --out", kind="exists")


def _check_still_free(out: Path) -> None:
    if os.path.lexists(out) and not (out.is_dir() and not os.listdir(out)):
        raise RunError(
            f"{out} was made or filled by something else while this export was under way, and is left "
            "as it is. Choose another --out",
            kind="exists",
        )
