"""Bytes that begin a recording: whether another lies behind the first, as `cat a b > c` leaves it."""

from __future__ import annotations

import re
from typing import Protocol

# Matched where a file ends by its own account, so short marks are enough.
_HEAD = re.compile(
    rb"(?:RIFF|RIFX|RF64)....WAVE|FORM....(?:AIFF|AIFC|8SVX|16SV)|caff\x00\x01|riff\x2e\x91\xcf\x11"
    rb"|\.snd\x00\x00|dns\..[\x00\x01]\x00\x00|fLaC[\x00\x80]\x00\x00\x22|OggS\x00[\x02\x06]|NIST_1A\n"
    rb"|Creative Voice File|PVF1\n|2BIT| paf|fap |MATLAB 5\.0|Extended Instrument:|ALawSoundFile\*\*",
    re.DOTALL,
)
_LONGEST_HEAD_BYTES = 20
# Found wherever it lies in a file that states no end; WAV as it begins in nearly all files.
_WAVE = re.compile(rb"WAVEfmt ")
_WAVE_PLACE = 8
_OWN_HEAD_BYTES = 12
_BLOCK_BYTES = 1 << 20


class Stream(Protocol):
    """Bytes to read and to move in."""

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, or all that are left."""
        ...

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Move; returns the place."""
        ...


def head_at(stream: Stream, place: int) -> bool:
    """Return whether a recording begins at a place, in any container but bare MP3 frames."""
    stream.seek(place)
    return _HEAD.match(stream.read(_LONGEST_HEAD_BYTES)) is not None


def head_again(stream: Stream) -> int | None:
    """Place where the first bytes of a file lie once more, or a WAV begins; None if neither does."""
    stream.seek(0)
    own = re.compile(re.escape(stream.read(_OWN_HEAD_BYTES)))
    again = found_behind(stream, own, 1)
    return wave_behind(stream, 1) if again is None else again


def wave_behind(stream: Stream, place: int) -> int | None:
    """Place of the first WAV that begins somewhere behind a place; None without any."""
    found = found_behind(stream, _WAVE, place)
    return None if found is None else found - _WAVE_PLACE


def found_behind(stream: Stream, head: re.Pattern[bytes], place: int) -> int | None:
    """Place of the first bytes that begin a stream, at most 12, behind a place; None without any."""
    stream.seek(place)
    kept = b""
    while block := stream.read(_BLOCK_BYTES):
        if found := head.search(kept + block):
            return place - len(kept) + found.start()
        place += len(block)
        kept = block[1 - _OWN_HEAD_BYTES :]
    return None


def several_files(second: int) -> str:
    """Reason to leave out a file that another, of any kind, was joined to at a place."""
    return (
        "several files one after another, of which only the first can be decoded; the second begins "
        f"with byte {second + 1}, as 'tail -c +{second + 1}' reads it"
    )


def several_streams(kind: str) -> str:
    """Reason to leave out a file that several others of its kind were joined to."""
    return (
        f"several {kind} streams one after another, of which only the first can be decoded; "
        f"'ffmpeg -i IN.{kind.lower()} OUT.flac' joins them"
    )
