"""Objects on a local disk: read them, and write them so that a crash leaves the old or the new one.

An object is a file below the cache's root, named by a key with forward slashes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any

from cache_schema.errors import RunError
from cache_schema.store.safe_open import open_for_writing

PARTIAL_SUFFIX = ".partial"
_DRAFT = re.compile(rf"(.+)\.\d+-\d+{re.escape(PARTIAL_SUFFIX)}", re.DOTALL)


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(document: Any) -> bytes:
    """Encode a document so that equal documents have equal bytes."""
    text = json.dumps(
        document, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return text.encode() + b"\n"


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk; a file system that cannot flush a folder need not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with named_in_errors(path):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def change_mode(path: Path, mode: int) -> None:
    """Give a file or folder its mode, where its file system has modes and lets them be changed."""
    with suppress(PermissionError):
        path.chmod(mode)


def umask() -> int:
    """The process' mask of modes, for what a library makes for its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomic(path: Path, data: bytes) -> None:
    """Write an object durably: temporary file, fsync, rename, fsync of the folder.

    Raises
    ------
    OSError
        Naming the object; nothing half-written stays.
    """
    _make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}{PARTIAL_SUFFIX}")
    with named_in_errors(path):
        try:
            _write_draft(partial, data)
            try:
                partial.replace(path)
            except FileNotFoundError:  # who seals takes what is half-written for a killed writer's
                _write_draft(partial, data)
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync(path.parent)


def _write_draft(partial: Path, data: bytes) -> None:
    partial.unlink(missing_ok=True)  # of a killed process that had this number
    with open_for_writing(partial, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def check_in_place(mark: Path, what: str) -> None:
    """Reject a folder that was moved, deleted or unmounted since a command began to write it.

    Else its old place would be filled by what comes after. `mark` is what it has from the beginning.

    Raises
    ------
    RunError
        Kind ``"moved"``.
    """
    if not mark.is_file():
        raise RunError(
            f"{mark.parent} is not there any more: the {what} was moved, deleted or unmounted as it was "
            "written. What was finished is where it is now. Move it back or name that place, and repeat "
            "the command",
            kind="moved",
        )


def _make_folder(folder: Path) -> None:
    """Make a folder with those above it, each durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


@contextmanager
def named_in_errors(path: Path | str) -> Iterator[None]:
    """Name `path` in errors of the disk that name no file, as a full disk's, or its draft."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(PARTIAL_SUFFIX):
            error.filename = str(path)
        raise


def remove_drafts(folder: Path, names: Collection[str]) -> None:
    """Remove the drafts of these files; a writer that is still at work writes its own again."""
    for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
        found = _DRAFT.fullmatch(path.name)
        if found and found[1] in names:
            path.unlink(missing_ok=True)


def remove_partials(root: Path) -> None:
    """Remove what a killed writer left half-written; call it only under the lock."""
    for path in list(root.rglob(f"*{PARTIAL_SUFFIX}")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
