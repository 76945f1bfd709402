"""AudioSet (Gemmeke et al. 2017): ten-second pieces of YouTube videos, 527 classes, multi-label.

The folder holds the published lists (``balanced_train_segments.csv``, ``eval_segments.csv``,
``class_labels_indices.csv`` and, for the full set, ``unbalanced_train_segments.csv``), at its top or
in ``metadata``, and the audio in folders of any name and depth. AudioSet itself has no audio: each
downloader names its files in its own way. Understood are, with any audio suffix and with or without a
``Y`` in front, ``ID``, ``ID_START`` and ``ID_START_END`` (a hyphen will do for each underscore),
where ID is YouTube's and START the segment's start in seconds or milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.interface import (
    Corpus,
    Entry,
    build_corpus,
    check_folder,
    hashed_split,
)
from pipeline.corpora.listings import (
    audio_below,
    check_lists,
    drop_without_path,
    each_row,
    read_list,
)

CLASS_LIST = "class_labels_indices.csv"
BALANCED, UNBALANCED = "balanced_train_segments.csv", "unbalanced_train_segments.csv"
EVALUATION = "eval_segments.csv"
# No two parts match the same character, so that a line takes time in proportion to its length.
SEGMENT = re.compile(
    r'([\w-]{11}) *, *(\d+(?:\.\d+)?) *, *(\d+(?:\.\d+)?) *, *"?([^" ]*)"?', re.ASCII
)
FILE_NAME = re.compile(r"Y?([\w-]{11})(?:[_-](\d+(?:\.\d+)?)(?:[_-]\d+(?:\.\d+)?)?)?", re.ASCII)
MAX_SEGMENT_S = 11  # a segment has at most 10 s; codecs pad


class Segment(NamedTuple):
    """A line of a list: a stretch of a video in seconds, and the classes present."""

    video: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]


def read_audioset(
    path: Path,
    *,
    train: Literal["balanced", "full"] = "balanced",
    validation: float = 0.1,
) -> Corpus:
    """Read AudioSet; the evaluation list is the test set, clips are called by their video.

    Parameters
    ----------
    path : Path
        The folder with the lists and, below it, the audio, cut to the segments.
    train : str
        ``"balanced"``, or ``"full"`` for the balanced and the unbalanced list together.
    validation : float
        Share of the training clips, chosen by a hash of the video, that validates: AudioSet has no
        validation set. Published results train on all of them, which 0 does.

    Raises
    ------
    UsageError
        For missing lists, lines that cannot be read, unknown classes, or if no listed clip is there:
        see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "audioset")
    if not 0 <= validation < 1:
        raise UsageError(
            f"validation must be at least 0 and below 1, got validation={validation}",
            kind="options",
        )
    source = f"audioset:{path}"
    lists = (BALANCED, UNBALANCED, EVALUATION) if train == "full" else (BALANCED, EVALUATION)
    folder = "metadata/" if (path / "metadata" / CLASS_LIST).is_file() else ""
    check_lists(source, path, [folder + name for name in (CLASS_LIST, *lists)])
    problems: list[str] = []
    name_of = _classes(path, folder + CLASS_LIST, source, problems)
    files, notes = _audio_by_segment(path)
    entries: list[Entry] = []
    for name in lists:
        text = read_list(source, path, folder + name)
        every = [
            Entry(_clip(segment, files, _split(name, segment.video, validation)), place)
            for place, segment in parse_segments(text, name, name_of, problems)
        ]
        kept, gone = drop_without_path(every, name)
        entries += kept
        notes += gone
    if not entries:
        problems.append(
            "none of the listed clips is there; files are named ID or ID_START and end in "
            f"{', '.join(AUDIO_SUFFIXES)}"
        )
    corpus = build_corpus(
        path,
        entries,
        source=source,
        classes=tuple(name_of.values()),
        task="multi",
        problems=problems,
        notes=notes,
    )
    return replace(corpus, notes=(*corpus.notes, *_whole_videos(corpus)))


def parse_segments(
    text: str, name: str, name_of: Mapping[str, str], problems: list[str]
) -> Iterator[tuple[str, Segment]]:
    """Yield the segments of a list with the place of each; note lines that are none.

    Lines that begin with ``#`` and empty ones are passed over.

    Parameters
    ----------
    text, name : str
        The list and what it is called.
    name_of : mapping of str to str
        Class of each mid.
    problems : list of str
        Grows by a line for each that is no segment.

    Examples
    --------
    >>> line = '-0RWZT-miFs, 420.000, 430.000, "/m/0k4j"'
    >>> [(_, segment)] = parse_segments(line, "eval_segments.csv", {"/m/0k4j": "Car"}, [])
    >>> segment
    Segment(video='-0RWZT-miFs', start_s=420.0, end_s=430.0, labels=('Car',))
    """
    labels_of: dict[str, tuple[str, ...]] = {}  # the same few labels stand on many lines
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        place = f"{name} line {number}"
        match = SEGMENT.fullmatch(stripped)
        if match is None:
            problems.append(f'{place}: expected ID, start, end, "mid,mid", got {stripped[:100]!r}')
            continue
        video, start, end, mid_text = match.groups()
        if mid_text not in labels_of:
            mids = dict.fromkeys(mid_text.split(","))
            if unknown := [mid for mid in mids if mid not in name_of]:
                problems.append(f"{place}: {', '.join(map(repr, unknown))} not in {CLASS_LIST}")
                continue
            labels_of[mid_text] = tuple(name_of[mid] for mid in mids)
        segment = Segment(video, float(start), float(end), labels_of[mid_text])
        if segment.end_s > segment.start_s:
            yield place, segment
        else:
            problems.append(f"{place}: end {end} is not after start {start}")


def _classes(path: Path, listing: str, source: str, problems: list[str]) -> dict[str, str]:
    """Map each mid to its class, in order."""
    columns = ("index", "mid", "display_name")
    name_of: dict[str, str] = {}
    for place, row in each_row(source, path, listing, columns, problems):
        if row["index"] != str(len(name_of)):
            problems.append(f"{place}: index {row['index']}, expected {len(name_of)}")
        name_of[row["mid"]] = row["display_name"]
    return name_of


def _audio_by_segment(path: Path) -> tuple[dict[tuple[str, int | None], str], list[str]]:
    """Map video, and start if the name has one in whole seconds or milliseconds, to the path."""
    files: dict[tuple[str, int | None], str] = {}
    copies = 0
    for file in audio_below(path):
        match = FILE_NAME.fullmatch(file[file.rfind("/") + 1 : file.rfind(".")])
        if match is None:
            continue
        video, start = match.groups()
        key = (video, None if start is None else int(float(start)))
        copies += files.setdefault(key, file) != file
    note = f"{copies} file(s) hold a clip that another file holds; the first by path is used"
    return files, [note] if copies else []


def _clip(segment: Segment, files: Mapping[tuple[str, int | None], str], split: str) -> Clip:
    """Make the clip of a segment, without a path where the audio is not there."""
    video, start_s = segment.video, segment.start_s
    path = files.get((video, None))
    if path is None:
        starts = (int(start_s), round(1000 * start_s))
        path = next((files[video, start] for start in starts if (video, start) in files), "")
    return Clip(id=video, path=path, labels=segment.labels, split=split)


def _split(listing: str, video: str, validation: float) -> str:
    if listing == EVALUATION:
        return "test"
    return hashed_split(video, validation=validation, test=0.0)


def _whole_videos(corpus: Corpus) -> list[str]:
    """Note files that are longer than any segment: they would be used from end to end."""
    long = [clip.id for clip in corpus.clips if clip.frames > MAX_SEGMENT_S * clip.source_rate_hz]
    if not long:
        return []
    note = (
        f"{len(long)} clip(s) are longer than {MAX_SEGMENT_S} s, which no segment is: whole videos? "
        f"Cut them to their segments. First: {long[0]}"
    )
    return [note]
