"""What containers begin with: taken as bare samples they would be noise."""

from __future__ import annotations

SNIFFED_BYTES = 12
"""So many bytes tell all containers but MP3 and AAC, of which the first frame and a head more do."""
FOREIGN = ("MP4", "WebM or Matroska", "gzip", "AMR", "AAC")
"""Those that libsndfile does not read as a file either."""
# Where the mark lies, the mark, and the name.
_MARKS = (
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    *((0, b"ID3" + bytes([version]), "MP3") for version in (2, 3, 4)),
    (0, b"RF64", "RF64"),
    (0, b"BW64", "BW64"),
    (0, b"RIFX", "RIFX"),
    (0, b"riff", "W64"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"caff", "CAF"),
    (0, b"NIST", "NIST"),
    (0, b"Creative", "VOC"),
    (0, b"2BIT", "AVR"),
    (0, b" paf", "PAF"),
    (0, b"PVF1", "PVF"),
    (0, b"ALawSoundFil", "WVE"),
    *((0, bytes([0x64, 0xA3, maker, 0]), "IRCAM") for maker in (1, 2, 3, 4)),
    (0, b"\x00\x01\xa3\x64", "IRCAM"),
    (0, b"MATLAB 5.0", "MAT5"),
    (0, b"Extended Ins", "XI"),
    (0, b"\xf0\x7e\x00\x01", "SDS"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"#!AMR", "AMR"),
)
# Of MPEG-1, and of the halved rates of MPEG-2 and 2.5.
_KBIT_S = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}  # by the bits of the version; 1 is none


def container_of(head: bytes) -> str:
    """Name the container that begins like this; empty if it is none that is known.

    >>> container_of(b"fLaC" + bytes(8)), container_of(bytes(12))
    ('FLAC', '')
    """
    for place, mark, name in _MARKS:
        if head[place:].startswith(mark):
            return name
    for frame_bytes, name in ((mp3_frame_bytes, "MP3"), (aac_frame_bytes, "AAC")):
        size = frame_bytes(head)
        if size and frame_bytes(head[size:]):
            return name
    return ""


def first_frame_bytes(head: bytes) -> int:
    """Length of the frame of an MP3 or of AAC that these bytes begin, 0 if they begin none."""
    return mp3_frame_bytes(head) or aac_frame_bytes(head)


def aac_frame_bytes(head: bytes) -> int:
    """Length of the frame of AAC (ADTS, ISO 13818-7) that these bytes begin, 0 if they begin none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0  # its own head


def mp3_frame_bytes(head: bytes) -> int:
    """Length of the frame of an MP3 that these bytes begin, 0 if they begin none.

    ISO 11172-3 and 13818-3, layer III. Two samples may look like the head of one frame, hardly like that
    of another, too, where it would end.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bits = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version not in _RATE_DIVISORS or rate == 3 or bits in (0, 15):
        return 0
    first = version == 3
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISORS[version]
    padding = head[2] >> 1 & 1
    return (144_000 if first else 72_000) * _KBIT_S[first][bits] // rate_hz + padding
