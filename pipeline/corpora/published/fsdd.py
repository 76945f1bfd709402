"""Free Spoken Digit Dataset: English digits by a few speakers, ``{digit}_{speaker}_{index}.wav``.

The dataset's README sends index 0 to 4 of each digit and speaker to the test set and trains on the
rest. It has no validation set: here index 5 to 9, so that validation is like the test, with every
digit by every speaker as often.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from cache_schema.clip import Clip
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.interface import (
    Corpus,
    Entry,
    build_corpus,
    check_folder,
    left_out,
    without_suffix,
)
from pipeline.corpora.listings import elsewhere
from pipeline.corpora.walk import escapes_root, link_explanation, list_folder, printable

DIGITS = tuple("0123456789")
RECORDINGS = "recordings"
NAME = re.compile(r"([0-9])_([^_]+)_([0-9]{1,9})")
FIRST_VALIDATION_INDEX, FIRST_TRAIN_INDEX = 5, 10


def read_fsdd(path: Path) -> Corpus:
    """Read the Free Spoken Digit Dataset.

    Parameters
    ----------
    path : Path
        The dataset's folder, with ``recordings/`` in it, or the folder of the recordings.

    Raises
    ------
    UsageError
        Listing everything wrong, such as a recording with another name: see
        `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "fsdd")
    folder = path / RECORDINGS if (path / RECORDINGS).is_dir() else path
    entries, problems = [], []
    if folder != path and escapes_root(path.resolve(), RECORDINGS):
        problems.append(
            f"{RECORDINGS}: a link to a folder that {link_explanation(path, RECORDINGS)}"
        )
    files = [name for name in list_folder(folder).files if "/" not in name]
    audio = [file for file in files if PurePosixPath(file).suffix.lower() in AUDIO_SUFFIXES]
    for file in audio:
        stem = without_suffix(file)
        if name := NAME.fullmatch(stem):
            digit, _, index = name.groups()
            clip = Clip(id=stem, path=file, labels=(digit,), split=_split(int(index)))
            entries.append(Entry(clip, file))
        else:
            shown = printable(file)
            problems.append(f"{shown}: not named DIGIT_SPEAKER_INDEX, such as 7_jackson_32.wav")
    return build_corpus(
        folder,
        entries,
        source=f"fsdd:{path}",
        classes=DIGITS,
        task="single",
        problems=problems,
        hints=[] if entries else filter(None, [elsewhere(f"fsdd:{path}", path, [RECORDINGS])]),
        notes=left_out(files, audio),
    )


def _split(index: int) -> str:
    if index < FIRST_VALIDATION_INDEX:
        return "test"
    return "validation" if index < FIRST_TRAIN_INDEX else "train"
