"""Recordings in every container and codec that libsndfile writes, and their headers altered."""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path

import numpy as np
import soundfile

RATES_HZ = (16_000, 8_000, 48_000)
FRAMES = 6000
# Nothing but their names shows what they are: SD2 is two files, RAW has no header.
BY_NAME_ALONE = ("RAW", "SD2")
# Where a header counts the bytes of samples: what comes before the field, its form and offset.
SIZE_FIELDS = {
    "WAV": (b"data", "<I", 4),
    "WAVEX": (b"data", "<I", 4),
    "RF64": (b"ds64", "<Q", 16),
    "W64": (b"data\xf3\xac", "<Q", 16),
    "AU": (b".snd", ">I", 8),
    "AIFF": (b"SSND", ">I", 4),
    "CAF": (b"data", ">q", 4),
}
WHOLE_FIELDS = {"WAV": ("<I", 4), "WAVEX": ("<I", 4), "AIFF": (">I", 4), "W64": ("<Q", 16)}
PLACEHOLDERS = {
    "I": (0, 0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF, 2_000_000_000),
    "Q": (0, 0x7FFF_FFFF, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1),
    "q": (0, -1),
}


def kinds() -> list[tuple[str, str]]:
    """Every container and codec that libsndfile lists and can be opened by its content."""
    return [
        (container, subtype)
        for container in soundfile.available_formats()
        for subtype in soundfile.available_subtypes(container)
        if container not in BY_NAME_ALONE
    ]


@functools.cache
def encoded(container: str, subtype: str, frames: int = FRAMES) -> tuple[bytes, int] | None:
    """A file of a tone, and its rate; None if libsndfile reads such files but does not write them."""
    wave = 0.3 * np.sin(np.arange(frames) / 9)
    for rate_hz in RATES_HZ:
        content = io.BytesIO()
        try:
            soundfile.write(content, wave, rate_hz, format=container, subtype=subtype)
        except soundfile.LibsndfileError:
            continue
        return content.getvalue(), rate_hz
    return None


def frames_read(content: bytes) -> int | None:
    """Frames that libsndfile itself reads of a file, from its beginning to its end."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            return len(sound.read(10 * FRAMES, "float32"))
    except (soundfile.LibsndfileError, RuntimeError):
        return None


def with_sample_size(content: bytes, container: str, size: int) -> bytes:
    """The file with another size of the samples, and that of the whole as it is."""
    mark, form, offset = SIZE_FIELDS[container]
    data = bytearray(content)
    struct.pack_into(form, data, data.index(mark) + offset, size)
    return bytes(data)


def with_size(content: bytes, container: str, size: int) -> bytes:
    """The file with other sizes, as of a writer that cannot go back to its header."""
    data = bytearray(with_sample_size(content, container, size))
    if container in WHOLE_FIELDS:
        form, place = WHOLE_FIELDS[container]
        struct.pack_into(form, data, place, size)
    if container == "RF64":  # the size of the whole lies before that of the samples
        struct.pack_into("<Q", data, data.index(b"ds64") + 8, size)
    return bytes(data)


def without_flac_count(content: bytes) -> bytes:
    """A FLAC whose STREAMINFO counts no samples, as of an encoder that writes to a pipe."""
    data = bytearray(content)
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


def without_mp3_count(content: bytes) -> bytes:
    """An MP3 whose first frame is silence and no longer states how many follow."""
    return content.replace(b"Xing", b"none", 1).replace(b"Info", b"none", 1)


ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x03\0\0\0\0\0\x20" + bytes(32)
APE = b"APETAGEX" + bytes(24)
# What taggers and file systems leave behind the last frame.
TAILS = {"ID3v1": ID3V1, "APE": APE, "zeros": bytes(4096), "junk": b"junk" * 50}
# What lies before the first frame of an MP3.
BEFORE_MP3 = {
    "zeros": bytes(20),
    "junk": b"no mp3 \xff\xfb" * 60,
    "APEv2": b"APETAGEX\xd0\x07\0\0" + (500).to_bytes(4, "little") + bytes(516),
    "ID3 and zeros": b"ID3\x04\0\0\0\0\x02\x01" + bytes(257 + 500),
    "two ID3": (b"ID3\x04\0\0\0\0\x02\x01" + bytes(257)) * 2,
}


# Containers of which hardly a file is left.
RARE = ("AVR", "IRCAM", "NIST", "PAF", "PVF", "SDS", "SVX", "VOC", "WVE", "XI")


def joined() -> dict[str, bytes]:
    """Files that `cat a b > c` makes, of which libsndfile decodes the first alone."""
    made = {
        kind: tone(kind)
        for kind in ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "MP3", "FLAC", "OGG")
    }
    files = {f"x.{kind.lower()}": content * 2 for kind, content in made.items()}
    mp3, flac, other_rate = made["MP3"], made["FLAC"], tone("MP3", 22_050)
    files |= {
        "tag between.mp3": mp3 + ID3V2 + mp3,
        "tags between.mp3": mp3 + ID3V1 + ID3V2 + mp3,
        "count without gaps.mp3": mp3.replace(b"LAME", b"none") + mp3,
        "second without a count.mp3": mp3 + without_mp3_count(mp3),
        "other rate, no count.mp3": without_mp3_count(mp3) + other_rate,
        "tag between.flac": flac + ID3V2 + flac,
        "first without a count.flac": without_flac_count(flac) + flac,
        "tag first.flac": ID3V2 + flac + flac,
        "odd.w64": tone("W64", frames=6001) + tone("W64"),
        "no count, then WAV.flac": without_flac_count(flac) + made["WAV"],
        "tag and MP3.wav": made["WAV"] + ID3V2 + mp3,
        "chunk between.wav": made["WAV"] + b"LIST\4\0\0\0INFO" + flac,
        "long second.ogg": made["OGG"] + tone("WAV", frames=50_000),
    }
    ends = ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "MP3", "OGG")
    pairs = zip(ends, ends[1:] + ends[:1], strict=True)
    files |= {f"{other} behind.{kind.lower()}": made[kind] + made[other] for kind, other in pairs}
    files |= {f"WAV behind.{kind.lower()}": rare(kind) + made["WAV"] for kind in (*RARE, "FLAC")}
    return files | {f"x.{kind.lower()}": rare(kind) * 2 for kind in RARE}


def rare(kind: str) -> bytes:
    """A file of a container that does not state where its samples end, or is not read for it."""
    made = (encoded(kind, subtype) for subtype in soundfile.available_subtypes(kind))
    return next(content for content, _ in filter(None, made))


def tone(kind: str, rate_hz: int = 16_000, frames: int = FRAMES) -> bytes:
    """A file of a container's usual codec."""
    content = io.BytesIO()
    soundfile.write(content, 0.3 * np.sin(np.arange(frames) / 9), rate_hz, format=kind)
    return content.getvalue()


def ogg_pages(content: bytes) -> list[bytes]:
    """The pages of an Ogg, whose packets hold no page's mark."""
    return [b"OggS\0" + page for page in content.split(b"OggS\0")[1:]]


def write_all(folder: Path) -> dict[str, bytes]:
    """Write a good file of every kind; returns their contents by name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for container, subtype in kinds():
        made = encoded(container, subtype)
        if made is not None:
            name = f"{container}-{subtype}.{container.lower()}"
            files[name] = made[0]
            (folder / name).write_bytes(made[0])
    return files
