"""Google Speech Commands (Warden 2018, arXiv:1804.03209), as unpacked or as a list with folds.

Two layouts are understood. The official archive, v0.01 with 30 words or v0.02 with five more, has a
folder per word, ``_background_noise_``,
``validation_list.txt`` and ``testing_list.txt``; without the lists the archive's own rule applies,
a SHA-1 hash of the speaker that sends 10 % to validation and 10 % to test. A folder with a
``metadata.csv`` (``file,label,speaker,fold``) holds labels as they are, split by fold.

The task with 12 labels follows the archive's benchmark: ten words, ``_unknown_`` drawn from the
other words and ``_silence_``, each 10 % of the number of wanted clips in its split, rounded up. One
choice differs. The official input pipeline multiplies its silence by zero; here ``_silence_`` are
one-second cuts of the ``_background_noise_`` recordings at full level, as in the published test set
of 12 classes. Each recording gives its first 80 % to train, then 10 % to validation, 10 % to test.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cache_schema.clip import Clip
from pipeline.audio.decode import scan_header
from pipeline.corpora.interface import Corpus, Entry, build_corpus, check_folder, without_suffix
from pipeline.corpora.listings import (
    audio_below,
    each_row,
    elsewhere,
    folded_entries,
    read_list,
)
from pipeline.corpora.walk import escapes_root, printable

SILENCE, UNKNOWN, NOISE_FOLDER = "_silence_", "_unknown_", "_background_noise_"
WANTED_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    "backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy",
    "house", "learn", "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two",
    "visual", "wow", "zero",
)  # fmt: skip
LATER_WORDS = ("backward", "follow", "forward", "learn", "visual")  # not in v0.01
CLASSES_12 = (SILENCE, UNKNOWN, *WANTED_WORDS)
CLASSES_35 = tuple(sorted(WANTED_WORDS + OTHER_WORDS))
CLASSES_30 = tuple(word for word in CLASSES_35 if word not in LATER_WORDS)
CLASSES = {"12": CLASSES_12, "30": CLASSES_30, "35": CLASSES_35}
SPLITS = ("train", "validation", "test")
SPLIT_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
METADATA = "metadata.csv"
METADATA_COLUMNS = ("file", "label", "speaker", "fold")
# Where the stretch of a noise recording begins that a split may cut from.
NOISE_SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
HASH_RANGE = 2**27 - 1


def read_speech_commands(
    path: Path,
    *,
    labels: Literal["12", "30", "35"] = "12",
    seed: int = 0,
    validation_folds: str | None = None,
    test_folds: str | None = None,
) -> Corpus:
    """Read Speech Commands in either layout.

    Parameters
    ----------
    path : Path
        The unpacked archive, or a folder with ``metadata.csv``.
    labels : str
        How many classes: ``"12"`` of either version, ``"30"`` for the words of v0.01, ``"35"`` for
        those of v0.02. With 35 labels words that are not there are named in a note.
    seed : int
        Chooses which unknown words and which cuts of noise are taken (official layout, 12 labels).
    validation_folds, test_folds : str
        Folds of these splits, joined by ``;``, by default 8 and 9; the others train. Only with
        ``metadata.csv``.

    Raises
    ------
    UsageError
        Listing everything wrong, such as a folder that is none of the words: see
        `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "speech-commands")
    source = f"speech-commands:{path}"
    problems: list[str] = []
    notes: list[str] = []
    if (path / METADATA).is_file():
        folds = {
            "validation_folds": "8" if validation_folds is None else validation_folds,
            "test_folds": "9" if test_folds is None else test_folds,
        }
        entries = _from_metadata(source, path, folds, problems)
    else:
        if validation_folds is not None or test_folds is not None:
            problems.append(f"validation_folds and test_folds need a {METADATA}; there is none")
        words = CLASSES_30 if labels == "30" else CLASSES_35
        entries = _from_words(source, path, words, problems)
        if labels == "12" and entries:
            entries = _with_twelve_labels(path, entries, seed, problems)
        else:
            notes = _absent_words(entries, words)
    return build_corpus(
        path,
        entries,
        source=source,
        classes=CLASSES[labels],
        task="single",
        problems=problems,
        hints=[] if entries else filter(None, [elsewhere(source, path, WANTED_WORDS[:2])]),
        notes=notes,
    )


def official_split(file_name: str) -> str:
    """Split of a recording by the archive's rule: SHA-1 of the name before ``_nohash_``.

    Source: ``which_set`` in the archive's README, with 10 % for validation and 10 % for test.

    Examples
    --------
    >>> official_split("022cd682_nohash_0.wav")
    'test'
    """
    speaker = re.sub(r"_nohash_.*$", "", Path(file_name).name)
    digest = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = (digest % (HASH_RANGE + 1)) * (100.0 / HASH_RANGE)
    if percent < 10:
        return "validation"
    return "test" if percent < 20 else "train"


def _from_words(source: str, path: Path, words: Sequence[str], problems: list[str]) -> list[Entry]:
    """List the recordings of all words, labelled by their folders."""
    split_of = _split_rule(source, path, problems)
    entries = []
    by_word: dict[str, list[str]] = {}
    for name in audio_below(path):
        folder, slash, file = name.partition("/")
        if slash and "/" not in file:
            by_word.setdefault(folder, []).append(name)
    by_word.pop(NOISE_FOLDER, None)
    for word, names in by_word.items():
        if word not in words:
            hint = " of v0.01 (labels=35 has it)" if word in LATER_WORDS else ""
            shown = printable(word)
            problems.append(
                f"{shown}/: unknown label {shown!r}, none of the {len(words)} words{hint}; "
                "words of your own are read by folder: or csv:"
            )
            continue
        for name in names:
            clip_id = without_suffix(name)
            clip = Clip(id=clip_id, path=name, labels=(word,), split=split_of(clip_id))
            entries.append(Entry(clip, name))
    return entries


def _absent_words(entries: Sequence[Entry], words: Sequence[str]) -> list[str]:
    """Note the classes that no clip has, which a student would learn to never predict."""
    there = {label for entry in entries for label in entry.clip.labels}
    absent = [word for word in words if word not in there]
    hint = "; labels=30 has the words of v0.01" if set(absent) == set(LATER_WORDS) else ""
    return [f"no clip of {', '.join(absent)}{hint}"] if absent else []


def _split_rule(source: str, path: Path, problems: list[str]) -> Callable[[str], str]:
    """Choose between the archive's lists and its hash."""
    listed = {split: name for split, name in SPLIT_LISTS.items() if (path / name).is_file()}
    if not listed:
        return official_split
    if len(listed) < len(SPLIT_LISTS):
        there = next(iter(listed.values()))
        problems.append(f"{there} is there but not both of {' and '.join(SPLIT_LISTS.values())}")
    known: dict[str, str] = {}
    for split, name in listed.items():
        names = read_list(source, path, name).split()
        known.update({without_suffix(clip): split for clip in names})
    return lambda clip_id: known.get(clip_id, "train")


def _with_twelve_labels(
    path: Path, entries: Sequence[Entry], seed: int, problems: list[str]
) -> list[Entry]:
    """Keep the wanted words, draw unknown words and cut silence, split by split."""
    noises = _noise_recordings(path)
    if not noises:
        problems.append(
            f"no recording of 10 s or more in {NOISE_FOLDER}/, which {SILENCE} is cut from "
            "(labels=35 needs none)"
        )
    chosen: list[Entry] = []
    for split in SPLITS:
        here = [entry for entry in entries if entry.clip.split == split]
        wanted = [entry for entry in here if entry.clip.labels[0] in WANTED_WORDS]
        others = [entry for entry in here if entry.clip.labels[0] not in WANTED_WORDS]
        tenth = math.ceil(len(wanted) / 10)
        others.sort(key=lambda entry: _draw(seed, entry.clip.id))
        unknown = sorted(others[:tenth], key=lambda entry: entry.clip.id)
        chosen += wanted
        chosen += [Entry(replace(e.clip, labels=(UNKNOWN,)), e.place) for e in unknown]
        if noises:
            chosen += [_silence(noises, split, number, seed) for number in range(tenth)]
    return chosen


def _noise_recordings(path: Path) -> list[tuple[str, float]]:
    """List path and length in seconds of the noise recordings, long ones only."""
    folder = path / NOISE_FOLDER
    files = audio_below(folder) if folder.is_dir() else []
    names = [f"{NOISE_FOLDER}/{file}" for file in files if "/" not in file]
    root = path.resolve()
    headers = [(name, scan_header(root / name)) for name in names if not escapes_root(root, name)]
    lengths = [(name, header.frames / header.rate_hz) for name, header in headers if header.frames]
    # From 10 s on each split has a second of its own.
    return [(name, length_s) for name, length_s in lengths if length_s >= 10]


def _silence(noises: Sequence[tuple[str, float]], split: str, number: int, seed: int) -> Entry:
    """Cut one second of a noise recording, at a whole millisecond of the split's own stretch."""
    clip_id = f"{SILENCE}/{split}-{number:05d}"
    draw = _draw(seed, clip_id)
    name, length_s = noises[draw % len(noises)]
    first_s, last_s = (share * length_s for share in NOISE_SHARES[split])
    places = int((last_s - first_s - 1) * 1000) + 1
    start_s = (math.ceil(first_s * 1000) + (draw // len(noises)) % places) / 1000
    start_s = min(start_s, math.floor((last_s - 1) * 1000) / 1000)
    clip = Clip(
        id=clip_id, path=name, labels=(SILENCE,), split=split, start_s=start_s, end_s=start_s + 1
    )
    return Entry(clip, clip_id)


def _draw(seed: int, name: str) -> int:
    """Draw a number that depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _from_metadata(
    source: str, path: Path, folds: dict[str, str], problems: list[str]
) -> list[Entry]:
    """List the clips of ``metadata.csv``."""
    rows = list(each_row(source, path, METADATA, METADATA_COLUMNS, problems))
    return folded_entries(rows, _listed_clip, **folds, problems=problems)


def _listed_clip(row: dict[str, str], split: str) -> Clip:
    name = row["file"]
    labels = (row["label"],) if row["label"] else ()  # an empty one: nobody labelled the clip
    return Clip(id=without_suffix(name), path=name, labels=labels, split=split)
