"""A clip of a corpus, decoded: the one way that caching, mixing, fine-tuning and packing take."""

from __future__ import annotations

from cache_schema.clip import Clip
from cache_schema.store.address import CachePath
from pipeline.audio.decode import DecodedClip, UnusableAudio, decode
from pipeline.corpora.walk import escapes_root


def decode_clip(root: CachePath, clip: Clip, sample_rate_hz: int) -> DecodedClip:
    """Decode a clip that a plan lists.

    Parameters
    ----------
    root : Path or Address
        Resolved folder of the corpus.
    clip : Clip
        With the frames that its header had when the corpus was read.
    sample_rate_hz : int
        Rate of the result.

    Raises
    ------
    UnusableAudio
        If the clip's content, or what was listed of it, cannot be used.
    RunError
        If disk, network or memory fail; or if the file of a clip that could be read when the corpus was
        read is no longer there, or no longer what it was.
    """
    if escapes_root(root, clip.path):
        raise UnusableAudio("its path leaves the corpus")
    return decode(
        root / clip.path,
        start_s=clip.start_s,
        end_s=clip.end_s,
        sample_rate_hz=sample_rate_hz,
        planned=clip.frames > 0,
    )
