"""What lies behind the frames that a decoder reads: a tag, more frames, or another file."""

from __future__ import annotations

from cache_schema.flac_frames import flac_goes_on, joined_to_flac
from cache_schema.mp3_frames import first_mp3_frame, joined_to_mp3
from cache_schema.ogg_pages import joined_to_ogg
from cache_schema.recording_heads import Stream, head_again, several_files

# What comes behind the first ones is seen where their header is read. What has no header, or one of
# small numbers alone, may have samples like its first bytes.
_NOT_SEARCHED = ("AIFF", "AU", "CAF", "MP3", "RF64", "W64", "WAV", "WAVEX", "RAW", "MAT4")


def problem_of_joining(stream: Stream, kind: str) -> str:
    """Return why a file holds several recordings, joined, and not one; empty if it is one.

    `kind` is libsndfile's name of the container. Of a kind that does not state where its samples end,
    all of the file is read.
    """
    if kind == "FLAC":
        return joined_to_flac(stream)
    if kind == "OGG":
        return joined_to_ogg(stream)
    second = None if kind in _NOT_SEARCHED else head_again(stream)
    return "" if second is None else several_files(second)


def problem_behind_decoded(stream: Stream, kind: str, frames: int, *, stopped: bool) -> str:
    """Return why a file without a count does not end where its decoder did; empty if it does.

    Parameters
    ----------
    stream : Stream
        Where the decoder left it.
    kind : str
        libsndfile's name of the container.
    frames : int
        Frames that it decoded.
    stopped : bool
        It reported damage.
    """
    if kind == "MP3":
        goes_on = stopped and first_mp3_frame(stream, stream.seek(0, 1)) is not None
        joined = joined_to_mp3(stream)
    elif kind == "FLAC":
        goes_on, joined = flac_goes_on(stream, frames), joined_to_flac(stream)
    else:
        goes_on, joined = stopped, ""
    if joined or not goes_on:
        return joined
    return f"truncated or damaged: decoding stopped after {frames} frames, before the file's end"
