"""A command writes into a folder of its own: a new or an empty one, or one that it has begun."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.store.files import PARTIAL_SUFFIX

MAX_NAMES = 3


def check_own_folder(
    folder: Path, what: str, command: str, marks: Collection[str], *, option: str = "--out"
) -> None:
    """Refuse to write into a folder that holds other things.

    Parameters
    ----------
    folder : Path
        Where a command is to write; it need not be there.
    what, command : str
        What is made of it and by which command, as ``"cache"`` and ``"precompute-teacher"``.
    marks : collection of str
        Names, or suffixes that begin with a dot, of which it has one once the command has begun.
    option : str
        That names the folder.

    Raises
    ------
    UsageError
        Kind ``"exists"``, naming what is there.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder, as {option} must be: it is to hold the {what}. Choose another "
            f"{option}",
            kind="exists",
        )
    names = sorted(name for name in os.listdir(folder) if not name.endswith(PARTIAL_SUFFIX))
    suffixes = tuple(mark for mark in marks if mark.startswith("."))
    if not names or any(name in marks or name.endswith(suffixes) for name in names):
        return
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    raise UsageError(
        f"{folder} is not empty and is no {what}: it was not made by {command} and holds "
        f"{', '.join(names[:MAX_NAMES])}{more}. Nothing was written. Choose another {option}",
        kind="exists",
    )
