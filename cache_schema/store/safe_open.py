"""Nothing of a cache or a run lies outside its folder: no link in it is followed, to read or to write.

Either may come from a stranger. A reader looks at a cache's documents and array metadata once, when
it is opened (:func:`check_no_links`), and at chunks and commit records, of which there may be hundreds
of thousands, as each is read (:func:`open_plain`). Whoever writes looks at all there is before anything
is written, and opens its files by :func:`open_for_writing`. The folder itself may be a link: that one
the user named.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from cache_schema.errors import MAX_LISTED, AftersoundError, CacheError, RunError, bullet_list

READABLE = "Make it readable there (disk, network, mount, permissions)"
# Folders of as many objects as there are work units.
_LARGE = ("c", "commits")
_MANIFEST = "manifest.json"
_NOT_MADE_AGAIN = (_MANIFEST, "plan.json")
# What lies at a path, or does not, is for its reader to judge.
_ABOUT_THE_PATH = (
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO,
    errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY,
)  # fmt: skip


def check_no_links(
    root: Path,
    what: str = "cache",
    *,
    large: bool = True,
    error: type[AftersoundError] = CacheError,
) -> None:
    """Reject a folder with links, devices or pipes in it; nothing where there is no folder.

    Parameters
    ----------
    root : Path
        The folder.
    what : str
        What it is.
    large : bool
        Look at chunks and commit records too, as whoever writes must.
    error : type
        What is raised.

    Raises
    ------
    AftersoundError
        Kind ``"link"``, naming them.
    """
    odd = sorted(key for key, entry in entries_below(root, large=large) if _is_odd(entry))
    if odd:
        raise error(
            f"{root} is not used: {len(odd)} of its objects are links or no plain files\n"
            f"{bullet_list(odd, MAX_LISTED)}\nNo {what} has any. Delete them, or copy what "
            "they stand for into place (cp -rL) if you trust where they lead.",
            kind="link",
        )


def _is_odd(entry: os.DirEntry[str]) -> bool:
    """Whether it is neither a folder nor a plain file."""
    return not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False)


def entries_below(root: Path, *, large: bool) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that lies below a folder, with its key there, following no link."""
    folders = [""]  # no recursion: a folder from outside may be of any depth
    while folders:
        prefix = folders.pop()
        try:
            entries = list(os.scandir(f"{root}/{prefix}"))
        except (
            FileNotFoundError,
            NotADirectoryError,
        ):  # a writer at work has put its draft in place
            continue
        for entry in entries:
            yield prefix + entry.name, entry
            if entry.is_dir(follow_symlinks=False) and (large or entry.name not in _LARGE):
                folders.append(f"{prefix}{entry.name}/")


def is_refusal(error: Exception) -> bool:
    """Distinguish what disk, network, permissions or memory refuse from what lies at a path."""
    return isinstance(error, OSError) and error.errno not in (None, *_ABOUT_THE_PATH)


@contextmanager
def refusals_reported(path: Path) -> Iterator[None]:
    """Let nobody take for damage what disk, network, permissions or memory refuse.

    Raises
    ------
    RunError
        Kind ``"unreadable"``, naming the path.
    """
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise
        raise RunError(
            f"{path} cannot be read: {os.strerror(error.errno or 0)}. "
            f"{READABLE}, and repeat the command.{_if_lost(path, error)}",
            kind="unreadable",
        ) from None


def _if_lost(path: Path, error: OSError) -> str:
    """Tell how an object of a cache is made again where the disk will never give it back."""
    root = next((one for one in path.parents if os.path.lexists(one / _MANIFEST)), None)
    if error.errno != errno.EIO or root is None or path.name in _NOT_MADE_AGAIN:
        return ""
    return (
        f" If the disk has lost it for good, delete it and make it again: rm {shlex.quote(str(path))}, "
        f"then precompute-teacher CORPUS --teacher TEACHER --out {shlex.quote(str(root))} --repair"
    )


def open_plain(path: Path) -> int:
    """Open a stored object for reading, as a file descriptor.

    Raises
    ------
    OSError
        Where there is none, it is a link, lies behind one below its array's ``c``, or is no plain file.
    RunError
        If disk, network, permissions or memory refuse it.
    """
    check_no_linked_folders(path)
    try:
        with refusals_reported(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "is a link, which is not followed"
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return descriptor


def read_plain(path: Path, most_bytes: int | None = None) -> bytes:
    """Read a stored object whole; raises as :func:`open_plain`, and if it has more bytes."""
    with refusals_reported(path), os.fdopen(open_plain(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if most_bytes is not None and size > most_bytes:
            problem = f"has {size} bytes, at most {most_bytes} are read"
            raise OSError(errno.EINVAL, problem, str(path))
        return file.read()


def check_no_linked_folders(path: Path) -> None:
    """Reject a chunk that lies behind a link below its array; above, :func:`check_no_links` looks.

    Raises
    ------
    OSError
        Naming the chunk.
    """
    behind = path.parent
    while behind.name.isdigit() or behind.name == "c":  # c/UNIT/0/0
        if behind.is_symlink():
            raise OSError(errno.ELOOP, "lies behind a link, which is not followed", str(path))
        behind = behind.parent


def open_for_writing(path: Path, mode: Literal["ab", "wb", "xb"]) -> IO[bytes]:
    """Open a plain file to be written or appended to; what is none is refused and not waited for.

    Raises
    ------
    OSError
        Naming it.
    """

    def opened(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "is no plain file", name)
        return descriptor

    file: Any = open(path, mode, opener=opened)  # noqa: SIM115 - the caller closes it
    return file  # type: ignore[no-any-return]
