"""Fetch a published file: to a part beside it, resumed where it stopped, named once it is verified."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from cache_schema.errors import RunError
from cache_schema.inspection.summary import human_bytes
from cache_schema.store.safe_open import open_for_writing
from pipeline.prepare.archives import Archive

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0
PAGE_BYTES = 256
PAGE = re.compile(rb"\s*<(!doctype\s+html|html)\b", re.IGNORECASE)
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

Report = Callable[[str], None]


class _TransferInterrupted(Exception):  # noqa: N818 - a finding about a connection, raised as a RunError
    """The server sends no more; the message is why."""


def fetch(archive: Archive, folder: Path, report: Report) -> Path:
    """Download a file into a folder, or take the one that is there.

    A lost connection is taken up again as long as it brings something; what has come stays in
    ``NAME.part`` and is requested no second time. Without a checksum a file is always fetched in one
    piece: nothing would show if its pieces were of two versions.

    Raises
    ------
    RunError
        If the server does not give the file, or it is not the published one. Then there is nothing
        under its name.
    """
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    if target.exists():
        if problem := digest_problem(archive, target, report):
            raise RunError(f"{problem}\nDelete {target} and repeat the command.", kind="digest")
        return target
    if archive.digest is None:
        part.unlink(missing_ok=True)
    _receive_all(archive, part, report)
    if problem := digest_problem(archive, part, report):
        part.unlink()
        raise RunError(
            f"{problem}\nWhat came from {archive.url} was deleted. Repeat the command; if it happens "
            "again, get the file in another way and name its folder with --from.",
            kind="digest",
        )
    part.replace(target)
    return target


def is_web_page(path: Path) -> bool:
    """Whether a file is what a proxy sends in the place of others; none of ours is."""
    with path.open("rb") as file:
        return PAGE.match(file.read(PAGE_BYTES)) is not None


def digest_problem(archive: Archive, path: Path, report: Report) -> str | None:
    """Compare a file with its published checksum; returns what is wrong, with both values."""
    algorithm, _, expected = (archive.digest or "sha256:").partition(":")
    if is_web_page(path):
        return f"{archive.name} is a web page, as of a proxy or a network to sign in to"
    with path.open("rb") as file:
        found = hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
    if not expected:
        report(f"{archive.name}: no checksum is published; found sha256:{found}")
    elif found != expected:
        return (
            f"{archive.name} is not the published file\n"
            f"  expected {algorithm}:{expected}\n  found    {algorithm}:{found}"
        )
    else:
        report(f"{archive.name}: {algorithm}:{found}, as published")
    return None


def check_free_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Reject what the disk has no room for.

    Raises
    ------
    RunError
        With both values.
    """
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        needed, free = human_bytes(needed_bytes), human_bytes(free_bytes)
        if needed == free:  # they differ by less than is rounded off
            needed, free = f"{needed_bytes:,} B", f"{free_bytes:,} B"
        raise RunError(
            f"{what} needs {needed} in {folder}, {free} are free. "
            "Free some space there, or choose another place to write, and repeat the command.",
            kind="disk",
        )


def _receive_all(archive: Archive, part: Path, report: Report) -> None:
    """Fetch a file, going on after a lost connection."""
    before = -1
    while True:
        try:
            _receive(archive, part, report)
        except _TransferInterrupted as stopped:
            came = part.stat().st_size if part.exists() else 0
            if archive.digest is None or came <= max(before, 0):
                raise RunError(
                    f"{archive.name} could not be fetched whole: {stopped}\n"
                    f"  from {archive.url}\n  {came} bytes have come\nRepeat the command to go on, or "
                    "get the file in another way and name its folder with --from.",
                    kind="download",
                ) from None
            before = came
            report(f"{archive.name}: {stopped}; going on after {human_bytes(came)}")
        else:
            return


def _receive(archive: Archive, part: Path, report: Report) -> None:
    """Append what one connection brings."""
    had = part.stat().st_size if part.exists() else 0
    with _opened(archive.url, had) as response:
        start, total = _extent(response, had)
        if start is None:
            part.unlink()
            raise _TransferInterrupted("the server has another file than the part that was here")
        if start and start == total:
            return
        size = "of unknown size" if total is None else human_bytes(total)
        report(f"{archive.name}: {size} from {archive.url}")
        check_free_space(part.parent, (total or start) - start, archive.name)
        with open_for_writing(part, "ab" if start else "wb") as file:
            for chunk in _chunks(response):
                file.write(chunk)
                _report_tenths(archive.name, file.tell(), len(chunk), total, report)
            came = file.tell()
    if total is not None and came != total:
        raise _TransferInterrupted(f"the connection ended after {came} of {total} bytes")


def _opened(url: str, start: int) -> HTTPResponse:
    """Request a file from a byte on."""
    headers = {"User-Agent": "aftersound"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == 416 and start:
            return error  # type: ignore[return-value]  # an HTTPError is the response too
        error.close()
        raise _TransferInterrupted(
            f"the server responded with {error.code} {error.reason}"
        ) from None
    except URLError as error:
        raise _TransferInterrupted(f"no connection ({error.reason})") from None
    except (OSError, HTTPException) as error:
        raise _TransferInterrupted(f"no connection ({error})") from None
    return response


def _extent(response: HTTPResponse, had: int) -> tuple[int | None, int | None]:
    """Return which byte the response begins at, None where it fits no part, and how long the file is."""
    if response.status == 416:
        whole = response.headers.get("Content-Range") == f"bytes */{had}"
        return (had, had) if whole else (None, None)
    if response.status == 206:
        content_range = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        ours = content_range and int(content_range[1]) == had
        return (had, int(content_range[2])) if content_range and ours else (None, None)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length is not None else None


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Yield what comes; only what the network does is caught here, not what the disk does."""
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _TransferInterrupted(f"the connection broke ({error})") from None


def _report_tenths(name: str, came: int, chunk: int, total: int | None, report: Report) -> None:
    """Report each tenth of a file of more than ten chunks."""
    if total and total > 10 * CHUNK_BYTES and 10 * came // total > 10 * (came - chunk) // total:
        report(f"{name}: {human_bytes(came)} of {human_bytes(total)}")
