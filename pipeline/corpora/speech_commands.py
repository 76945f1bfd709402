"""Google Speech Commands (Warden 2018, arXiv:1804.03209), as unpacked or as a list with folds.

Two layouts are understood. The official archive has a folder per word, ``_background_noise_``,
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

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from pipeline.audio import AUDIO_SUFFIXES, scan_header
from pipeline.corpora.interface import (
    Corpus,
    Entry,
    build_corpus,
    leads_out,
    need_folder,
    without_suffix,
)

SILENCE, UNKNOWN, NOISE_FOLDER = "_silence_", "_unknown_", "_background_noise_"
WANTED_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    "backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy",
    "house", "learn", "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two",
    "visual", "wow", "zero",
)  # fmt: skip
CLASSES_12 = (SILENCE, UNKNOWN, *WANTED_WORDS)
CLASSES_35 = tuple(sorted(WANTED_WORDS + OTHER_WORDS))
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
    labels: Literal["12", "35"] = "12",
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
        ``"12"`` or ``"35"`` classes.
    seed : int
        Chooses which unknown words and which cuts of noise are taken (official layout, 12 labels).
    validation_folds, test_folds : str
        Folds of these splits, joined by ``;``, by default 8 and 9; the others train. Only with
        ``metadata.csv``.

    Raises
    ------
    UsageError
        Listing everything wrong, such as a folder that is none of the 35 words: see
        `pipeline.corpora.interface.build_corpus`.
    """
    need_folder(path, "speech-commands")
    _refuse_lists_elsewhere(path)
    problems: list[str] = []
    if (path / METADATA).is_file():
        folds = {
            "validation": "8" if validation_folds is None else validation_folds,
            "test": "9" if test_folds is None else test_folds,
        }
        entries = _from_metadata(path, folds, problems)
    else:
        if validation_folds is not None or test_folds is not None:
            problems.append(f"validation_folds and test_folds need a {METADATA}; there is none")
        entries = _from_words(path, problems)
        if labels == "12" and entries:
            entries = _with_twelve_labels(path, entries, seed, problems)
    return build_corpus(
        path,
        entries,
        source=f"speech-commands:{path}",
        classes=CLASSES_12 if labels == "12" else CLASSES_35,
        task="single",
        problems=problems,
    )


def _refuse_lists_elsewhere(path: Path) -> None:
    """Refuse lists that are links leading out of the corpus: whose text is shown, is not read."""
    root = path.resolve()
    links = [name for name in (METADATA, *SPLIT_LISTS.values()) if leads_out(root, name)]
    if links:
        raise UsageError(
            f"corpus speech-commands:{path}: {', '.join(links)} leads out of the corpus by a link; put "
            "a copy there",
            kind="corpus",
        )


def _text(path: Path, file: Path) -> str:
    """Read a list of the corpus."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"corpus speech-commands:{path}: {file.name} is not UTF-8 text (byte {error.start})",
            kind="corpus",
        ) from None


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


def _from_words(path: Path, problems: list[str]) -> list[Entry]:
    """List the recordings of all words, labelled by their folders."""
    split_of = _split_rule(path, problems)
    entries = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if folder.name == NOISE_FOLDER:
            continue
        if folder.name not in CLASSES_35:
            problems.append(f"{folder.name}/: unknown label {folder.name!r}, none of the 35 words")
            continue
        for file in _audio_files(folder):
            name = f"{folder.name}/{file.name}"
            clip_id = without_suffix(name)
            clip = Clip(id=clip_id, path=name, labels=(folder.name,), split=split_of(clip_id))
            entries.append(Entry(clip, name))
    return entries


def _split_rule(path: Path, problems: list[str]) -> Callable[[str], str]:
    """Choose between the archive's lists and its hash."""
    listed = {split: path / name for split, name in SPLIT_LISTS.items() if (path / name).is_file()}
    if not listed:
        return official_split
    if len(listed) < len(SPLIT_LISTS):
        there = next(iter(listed.values())).name
        problems.append(f"{there} is there but not both of {' and '.join(SPLIT_LISTS.values())}")
    known: dict[str, str] = {}
    for split, file in listed.items():
        names = _text(path, file).split()
        known.update({without_suffix(name): split for name in names})
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
    files = _audio_files(folder) if folder.is_dir() else []
    names = [f"{NOISE_FOLDER}/{file.name}" for file in files]
    root = path.resolve()
    headers = [(name, scan_header(root / name)) for name in names if not leads_out(root, name)]
    lengths = [(name, frames / rate_hz) for name, (frames, rate_hz) in headers if frames]
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


def _audio_files(folder: Path) -> list[Path]:
    """List the audio files of one folder, hidden ones left out."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith(".")
    )


def _from_metadata(path: Path, folds: dict[str, str], problems: list[str]) -> list[Entry]:
    """List the clips of ``metadata.csv``."""
    split_of = {
        fold.strip(): split for split, names in folds.items() for fold in names.split(";") if fold
    }
    entries, seen = [], set()
    reader = csv.DictReader(io.StringIO(_text(path, path / METADATA), newline=""), strict=True)
    try:
        _check_columns(path, reader.fieldnames or [])
        for row in reader:
            place = f"{METADATA} line {reader.line_num}"
            if None in row or None in row.values():
                problems.append(f"{place}: not as many cells as the header has columns")
                continue
            seen.add(row["fold"])
            name, split = row["file"], split_of.get(row["fold"], "train")
            clip = Clip(id=without_suffix(name), path=name, labels=(row["label"],), split=split)
            entries.append(Entry(clip, place))
    except csv.Error as error:
        raise UsageError(
            f"corpus speech-commands:{path}: {METADATA} line {reader.line_num}: {error}",
            kind="corpus",
        ) from None
    for fold in sorted(set(split_of) - seen):
        known = ", ".join(sorted(seen)) or "none"
        problems.append(f"no clip in fold {fold!r} of {split_of[fold]}_folds; folds: {known}")
    return entries


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := [name for name in METADATA_COLUMNS if name not in columns]:
        raise UsageError(
            f"corpus speech-commands:{path}: {METADATA} lacks the column(s) {', '.join(missing)}; "
            f"found: {', '.join(columns) or 'none'}; needed: {', '.join(METADATA_COLUMNS)}",
            kind="columns",
        )
