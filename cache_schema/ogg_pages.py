"""The pages of an Ogg (RFC 3533): whether all are there, end where they should, and are one stream's.

Of a stream without its last pages libsndfile decodes those that are there, as if they were all; of one
whose first are missing, those behind.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cache_schema.mp3_frames import mp3_begins
from cache_schema.recording_heads import (
    Stream,
    found_behind,
    head_at,
    several_files,
    several_streams,
)

_PAGE_BYTES = 27
_FIRST_PAGE, _LAST_PAGE = 2, 4  # flags
_HEAD = re.compile(rb"OggS\0[\x02\x06]")
_MAX_STREAMS = 64
_HEADLESS = (
    "damaged: its stream lacks its first page, which says how the others are to be decoded; it may have "
    "been recorded from the middle on, or cut"
)


class _Page(NamedTuple):
    """Flags, the serial number of its stream, its number in that, and all its bytes."""

    flags: int
    serial: bytes
    number: int
    size: int


def ogg_end(stream: Stream) -> tuple[str, bool]:
    """Compare the last page with the bytes left for it, and its stream with the first.

    Returns what is wrong, and whether the last page does not say that it is the last, as of a recorder
    that was stopped.
    """
    size = stream.seek(0, 2)
    # The largest page has 255 segments of 255 bytes.
    stream.seek(max(0, size - _PAGE_BYTES - 255 - 255 * 255))
    tail = stream.read()
    last = tail.rfind(b"OggS\0")
    if last < 0 and not tail.strip(b"\0"):
        way = "'ffmpeg -i IN.ogg OUT.flac' writes what is there"
        return (
            f"damaged: zeros stand behind its pages, as of a copy that was not finished; {way}",
            False,
        )
    if last < 0 and (problem := joined_to_ogg(stream)):
        return problem, False
    page = tail[last:]
    segments = page[26] if len(page) >= _PAGE_BYTES else 255
    declared = _PAGE_BYTES + segments + sum(page[_PAGE_BYTES : _PAGE_BYTES + segments])
    if len(page) < declared:
        return (
            f"truncated: the last page declares {declared} bytes, the file holds {len(page)} of them",
            False,
        )
    # libsndfile ends with the first of several streams that follow one another.
    serials, _ = _first_streams(stream)
    if not serials:
        return _HEADLESS, False
    problem = "" if page[14:18] in serials else several_streams("OGG")
    return problem, not page[5] & _LAST_PAGE


def joined_to_ogg(stream: Stream) -> str:
    """Return why not all of an Ogg file is decoded; empty if it is.

    A stream begins behind those that begin the file, whatever its serial number; another file does
    behind the last page; or a page is missing.
    """
    _, place = _first_streams(stream)
    if found_behind(stream, _HEAD, place) is not None:
        return several_streams("OGG")
    place = 0
    numbers: dict[bytes, int] = {}
    while (page := _page(stream, place)) is not None:
        before = numbers.get(page.serial, page.number)
        if page.number > before + 1:
            return (
                f"damaged: behind page {before} of its OGG stream the next {page.number - before - 1} "
                "are missing; 'ffmpeg -i IN.ogg OUT.flac' writes what is there"
            )
        numbers[page.serial] = page.number
        place += page.size
    return several_files(place) if head_at(stream, place) or mp3_begins(stream, place) else ""


def _first_streams(stream: Stream) -> tuple[set[bytes], int]:
    """Serial numbers of the streams that begin where the file does, and where their first pages end."""
    serials: set[bytes] = set()
    place = 0
    for _ in range(_MAX_STREAMS):
        page = _page(stream, place)
        if page is None or not page.flags & _FIRST_PAGE:
            break
        serials.add(page.serial)
        place += page.size
    return serials, place


def _page(stream: Stream, place: int) -> _Page | None:
    """Read the header of the page that begins at a place; None if none does."""
    stream.seek(place)
    head = stream.read(_PAGE_BYTES + 255)
    if head[:4] != b"OggS" or len(head) < _PAGE_BYTES:
        return None
    segments = head[_PAGE_BYTES : _PAGE_BYTES + head[26]]
    number = int.from_bytes(head[18:22], "little")
    return _Page(head[5], head[14:18], number, _PAGE_BYTES + len(segments) + sum(segments))
