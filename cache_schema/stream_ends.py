"""What lies behind the frames that a decoder reads: a tag, more frames, or another stream."""

from __future__ import annotations

from cache_schema.flac_frames import flac_follows, flac_goes_on
from cache_schema.mp3_frames import first_mp3_frame, goes_on_behind_count, mp3_changes
from cache_schema.truncation import Stream, ogg_follows, several_streams

_FOLLOWS = {"FLAC": flac_follows, "MP3": goes_on_behind_count, "OGG": ogg_follows}


def problem_behind_count(stream: Stream, kind: str) -> str:
    """Return why a file that counts its frames does not end with them; empty if it does.

    `kind` is libsndfile's name of the container. Of an MP3 little is read, of others the whole file.
    """
    follows = _FOLLOWS.get(kind)
    return several_streams(kind) if follows is not None and follows(stream) else ""


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
        several = mp3_changes(stream)  # which ends the decoding without a word
    elif kind == "FLAC":
        goes_on, several = flac_goes_on(stream, frames), flac_follows(stream)
    else:
        goes_on, several = stopped, False
    if several:
        return several_streams(kind)
    if goes_on:
        return (
            f"truncated or damaged: decoding stopped after {frames} frames, before the file's end"
        )
    return ""
