"""SONYC urban sound tagging (Cartwright et al. 2019): DCASE 2019 task 5, and version 2 of 2020.

The folder holds ``annotations.csv`` (or ``annotations-dev.csv``) and the recordings, in any folders
below it: ``audio`` or ``train``, ``validate`` and ``test``, as the releases differ. A line is what one
annotator marked in one recording.

As in the challenge's baseline, volunteers (annotators above 0) decide what trains: a tag is present if
at least one of them marked it. What validates and tests was verified, which is annotator 0. A
presence of -1 means that the annotator did not judge it and counts for nothing.

A recording with none of the tags is a negative of all of them, and trains and is scored as one. One
that has only fine classes numbered X is none: it counts as unlabelled at the fine level.

The fine classes numbered X, such as ``engine-of-uncertain-size``, mean that some fine class of the group
is or may be there. They are no classes, there as here. But there the loss leaves out the group's fine
tags for such a recording; here those that nobody named count as absent, and a note gives how many
recordings that touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cache_schema.clip import Clip
from pipeline.corpora.interface import Corpus, Entry, build_corpus, check_folder, without_suffix
from pipeline.corpora.listings import audio_by_stem, check_lists, drop_without_path, each_row

Aggregation = Literal["any", "majority"]

LISTS = ("annotations.csv", "annotations-dev.csv")
PRESENCE = {"1": 1, "0": 0, "-1": -1}
SPLITS = {"train": "train", "validate": "validation", "test": "test"}
COARSE = (
    "1_engine", "2_machinery-impact", "3_non-machinery-impact", "4_powered-saw", "5_alert-signal",
    "6_music", "7_human-voice", "8_dog",
)  # fmt: skip
FINE = (
    "1-1_small-sounding-engine", "1-2_medium-sounding-engine", "1-3_large-sounding-engine",
    "2-1_rock-drill", "2-2_jackhammer", "2-3_hoe-ram", "2-4_pile-driver",
    "3-1_non-machinery-impact",
    "4-1_chainsaw", "4-2_small-medium-rotating-saw", "4-3_large-rotating-saw",
    "5-1_car-horn", "5-2_car-alarm", "5-3_siren", "5-4_reverse-beeper",
    "6-1_stationary-music", "6-2_mobile-music", "6-3_ice-cream-truck",
    "7-1_person-or-small-group-talking", "7-2_person-or-small-group-shouting",
    "7-3_large-crowd", "7-4_amplified-speech",
    "8-1_dog-barking-whining",
)  # fmt: skip
OPEN_ENDED = (
    "1-X_engine-of-uncertain-size", "2-X_other-unknown-impact-machinery",
    "4-X_other-unknown-powered-saw", "5-X_other-unknown-alert-signal",
    "6-X_music-from-uncertain-source", "7-X_other-unknown-human-voice",
)  # fmt: skip


def read_sonyc_ust(
    path: Path,
    *,
    labels: Literal["coarse", "fine"] = "coarse",
    aggregation: Aggregation = "any",
) -> Corpus:
    """Read SONYC-UST with its own split.

    Parameters
    ----------
    path : Path
        The folder with the annotations and the recordings.
    labels : str
        ``"coarse"``, 8 classes, or ``"fine"``, 23.
    aggregation : str
        When a tag of a training clip is present: if ``"any"`` volunteer marked it, which is the
        baseline's rule, or the ``"majority"`` of those who judged it, more than half.

    Raises
    ------
    UsageError
        For missing annotations or columns, cells that cannot be read, or if no recording is there:
        see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "sonyc-ust")
    source = f"sonyc-ust:{path}"
    listing = next((name for name in LISTS if (path / name).is_file()), LISTS[0])
    check_lists(source, path, (listing,))
    problems: list[str] = []
    tags = COARSE if labels == "coarse" else FINE
    wanted_tags = tags if labels == "coarse" else FINE + OPEN_ENDED
    recordings = _recordings(path, source, listing, wanted_tags, problems)
    files = audio_by_stem(path, "", problems)
    usable = {name: recording for name, recording in recordings.items() if recording.votes}
    entries = [
        recording.entry(name, files, tags, aggregation) for name, recording in usable.items()
    ]
    kept, notes = drop_without_path(entries, listing)
    if not kept:
        problems.append(f"none of the recordings listed in {listing} is there")
    return build_corpus(
        path,
        kept,
        source=source,
        classes=[_class_name(tag) for tag in tags],
        task="multi",
        problems=problems,
        notes=notes + _left_out(recordings) + _open_ended(list(usable.values()), aggregation),
    )


@dataclass(slots=True)
class _Recording:
    """What the annotators that count marked in one recording: presences by tag."""

    split: str
    place: str
    votes: list[dict[str, int]] = field(default_factory=list)

    def has(self, tag: str, aggregation: Aggregation) -> bool:
        """Return whether a tag is present; a presence of -1 is no vote."""
        votes = [vote for each in self.votes if (vote := each.get(tag, -1)) >= 0]
        return sum(votes) > (len(votes) / 2 if aggregation == "majority" else 0)

    def entry(
        self, name: str, files: dict[str, str], tags: Sequence[str], aggregation: Aggregation
    ) -> Entry:
        """Make the clip, without a path where the recording is not there."""
        stem = without_suffix(name)
        present = tuple(_class_name(tag) for tag in tags if self.has(tag, aggregation))
        clip = Clip(
            id=stem,
            path=files.get(stem, ""),
            labels=present,
            split=self.split,
            none_present=not any(self.has(tag, aggregation) for tag in (*tags, *OPEN_ENDED)),
        )
        return Entry(clip, self.place)


def _class_name(tag: str) -> str:
    return tag.partition("_")[2]


def _recordings(
    path: Path, source: str, listing: str, tags: Sequence[str], problems: list[str]
) -> dict[str, _Recording]:
    """Collect the annotations that count by recording: volunteers' for training, else verified."""
    columns = ("split", "audio_filename", "annotator_id", *(f"{tag}_presence" for tag in tags))
    recordings: dict[str, _Recording] = {}
    for place, row in each_row(source, path, listing, columns, problems):
        split = SPLITS.get(row["split"])
        if split is None:
            problems.append(f"{place}: split {row['split']!r}, expected one of {', '.join(SPLITS)}")
            continue
        recording = recordings.setdefault(row["audio_filename"], _Recording(split, place))
        if recording.split != split:
            problems.append(f"{place}: split {split}, but {recording.split} in {recording.place}")
        try:
            annotator = int(row["annotator_id"])
            votes = {tag: PRESENCE[row[f"{tag}_presence"]] for tag in tags}
        except (ValueError, KeyError) as error:
            problems.append(
                f"{place}: {error} is neither an annotator nor a presence of 1, 0 or -1"
            )
            continue
        if (annotator > 0) if split == "train" else (annotator == 0):
            recording.votes.append(votes)
    return recordings


def _left_out(recordings: dict[str, _Recording]) -> list[str]:
    """Note which recordings nobody annotated who counts."""
    names = [without_suffix(name) for name, recording in recordings.items() if not recording.votes]
    if not names:
        return []
    note = (
        f"{len(names)} of {len(recordings)} recordings left out: no volunteer's annotation (train) or "
        f"no verified one (validate, test), first: {names[0]}"
    )
    return [note]


def _open_ended(recordings: Sequence[_Recording], aggregation: Aggregation) -> list[str]:
    """Note how many recordings have fine tags that nobody can know."""
    count = sum(
        any(recording.has(tag, aggregation) for tag in OPEN_ENDED) for recording in recordings
    )
    note = (
        f"{count} of {len(recordings)} recordings have an unknown fine class (numbered X): the fine "
        "tags of that group count as absent unless named"
    )
    return [note] if count else []
