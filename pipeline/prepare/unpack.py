"""Unpack an archive of a stranger: nothing leaves the folder, and nothing fills the disk.

Every member is looked at before the first is written. Members are files and folders, no links.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import shlex
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from cache_schema.errors import RunError
from cache_schema.text import one_line
from pipeline.prepare.download import check_free_space

# What the libraries raise over damaged archives, and zipfile over what it cannot read.
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError,
    RuntimeError, ValueError, OverflowError,
)  # fmt: skip
# What the system refuses because of the names in an archive; bz2 reports damage without a number.
_OF_ITS_NAMES = (
    None, errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP,
)  # fmt: skip


_BLOCK_BYTES = 1 << 20


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a ``.tar.gz`` or ``.zip`` into a folder; another file is copied there.

    Raises
    ------
    RunError
        For a damaged archive, a member that leads out of the folder or is a link, or one with more
        in it than the disk has room for.
    """
    try:
        if archive.name.endswith((".tar.gz", ".tgz", ".tar")):
            _unpack_tar(archive, folder)
        elif archive.suffix == ".zip":
            _unpack_zip(archive, folder)
        else:
            shutil.copyfile(archive, folder / archive.name)
    except DAMAGE as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.errno not in _OF_ITS_NAMES:
            raise
        raise _damaged(archive, error) from None


def _damaged(archive: Path, error: Exception) -> RunError:
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return RunError(
        f"{archive} cannot be unpacked: {one_line(what)}. Delete it and repeat the command.",
        kind="archive",
    )


def join_parts(last: Path, folder: Path) -> Path:
    """Make one archive of the parts ``.z01``, ``.z02``... and ``.zip`` of a split one.

    Python's zipfile reads no split archives; Info-ZIP's ``zip`` joins them, as the publishers of FSD50K
    say. zip 3.0 loses what spans three parts or more; the members' checksums then show it as they are
    unpacked.

    Returns
    -------
    Path
        The whole archive, in `folder`, also if it is there already.

    Raises
    ------
    RunError
        If there is no ``zip``, or it fails; with the command that does the same.
    """
    whole, partial = (folder / f"{last.stem}.{state}.zip" for state in ("whole", "joining"))
    if whole.exists():
        return whole
    command = ["zip", "-q", "-s", "0", str(last), "--out", str(whole)]
    by_hand = f"Run it where there is one, and repeat the command:\n  {shlex.join(command)}"
    if shutil.which("zip") is None:
        raise RunError(
            f"{last.name} is a split archive, which the program zip joins; it is not on the PATH. "
            f"{by_hand}",
            kind="archive",
        )
    check_free_space(
        folder, sum(p.stat().st_size for p in last.parent.glob(f"{last.stem}.z*")), whole.name
    )
    partial.unlink(missing_ok=True)
    run = subprocess.run(
        [*command[:-1], str(partial)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if run.returncode != 0:
        partial.unlink(missing_ok=True)
        output = (run.stdout + run.stderr).strip()
        raise RunError(f"zip could not join {last}: {output}\n{by_hand}", kind="archive")
    partial.replace(whole)
    return whole


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        odd = [m.name for m in members if not (m.isfile() or m.isdir())]
        _check(archive, folder, [(member.name, member.size) for member in members], odd)
        tar.extractall(folder, members, filter="data")
        while tar.fileobj and tar.fileobj.read(_BLOCK_BYTES):  # its checksum stands at the end
            pass


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as zip_file:
        members = zip_file.infolist()
        odd = [m.filename for m in members if stat.S_ISLNK(m.external_attr >> 16)]
        _check(archive, folder, [(member.filename, member.file_size) for member in members], odd)
        zip_file.extractall(folder, members)


def _check(archive: Path, folder: Path, members: Iterable[tuple[str, int]], odd: list[str]) -> None:
    """Reject members that lead out of the folder, odd ones, and more than there is room for."""
    total_bytes, leaving = 0, []
    for name, size in members:
        total_bytes += size
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            leaving.append(name)
    if leaving or odd:
        what = "leads out of the folder" if leaving else "is a link or no plain file"
        raise RunError(
            f"{archive} is not unpacked: its member {(leaving or odd)[0]!r} {what}. "
            "Delete the archive; what it holds is not the published corpus.",
            kind="archive",
        )
    check_free_space(folder, total_bytes, f"unpacking {archive.name}")
