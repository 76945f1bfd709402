"""Nothing of a cache lies outside its folder: no link in it is followed, and only plain files are read.

A cache may come from a stranger. Its documents and array metadata are looked at once, when it is
opened (:func:`refuse_links`); chunks and commit records, of which there may be hundreds of thousands,
as each is read (:func:`open_plain`). The cache's own folder may be a link: that one the user named.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cache_schema.errors import MAX_LISTED, CacheError, listed

# Folders of as many objects as there are work units.
_LARGE = ("c", "commits")


def refuse_links(root: Path) -> None:
    """Refuse a cache with links, devices or pipes where its documents and metadata lie.

    Raises
    ------
    CacheError
        Kind ``"link"``, naming them.
    """
    odd = sorted(path.relative_to(root).as_posix() for path in _odd_entries(root))
    if odd:
        raise CacheError(
            f"{root} is not read: {len(odd)} of its objects are links or no plain files\n"
            f"{listed(odd, MAX_LISTED)}\nA cache has none. Copy what they stand for into their place "
            "(cp -rL), if you trust where they lead.",
            kind="link",
        )


def _odd_entries(root: Path) -> Iterator[Path]:
    folders = [str(root)]  # no recursion: nobody knows how deep a stranger's folders are
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:  # a writer at work has put its draft in place
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _LARGE:
                    folders.append(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def open_plain(path: Path) -> int:
    """Open a stored object for reading, as a file descriptor.

    Raises
    ------
    OSError
        Also where it is a link, lies behind one below its array's ``c``, or is no plain file.
    """
    behind = path.parent
    while behind.name.isdigit():  # c/UNIT/0/0
        if behind.is_symlink():
            raise OSError(errno.ELOOP, "lies behind a link, which is not followed", str(path))
        behind = behind.parent
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "is a link, which is not followed"
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return descriptor


def read_plain(path: Path) -> bytes:
    """Read a stored object whole; raises as :func:`open_plain`."""
    with os.fdopen(open_plain(path), "rb") as file:
        return file.read()
