"""What a corpus holds and what a training on it will lack, in a few lines before any pass over it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from cache_schema.cautions import (
    few,
    few_clips,
    imbalance,
    known_groups,
    missing_classes,
    one_class,
    shared_groups,
)
from cache_schema.clip import Clip
from cache_schema.text import one_line
from pipeline.audio.decode import is_entered, is_too_long, longest_clip_s
from pipeline.corpora.interface import SPLIT_NAMES, Corpus
from pipeline.corpora.unreadable import unreadable_reasons
from pipeline.corpora.walk import option_text

# Decoding in vain is named from here on: about a minute of a core for compressed speech.
NAMED_DECODING_S = 10 * 3600.0
NAMED_DECODING_RATIO = 10
# By number, month or day.
FOLD = re.compile(
    r"(fold|f|cv|split)?[ _-]?\d{1,2}|\d{4}[-_./]?\d{2}([-_./]?\d{2})?", re.IGNORECASE
)
FEW_WHOLES = 20  # of which a hash may give none to a split, whatever its share
MIN_FOLDS = 3  # one each to train, validate and test


def corpus_summary(
    corpus: Corpus,
    kind: str,
    teacher_classes: Sequence[str] | None = None,
    *,
    wrong_length: Sequence[Clip] = (),
    takes: str = "",
) -> list[str]:
    """Sum up a corpus: classes, splits, clips that cannot be read, and warnings.

    Parameters
    ----------
    corpus : Corpus
        As it was read.
    kind : str
        As the user named it, for the options of that kind.
    teacher_classes : sequence of str, optional
        Classes of the teacher whose logits are to be cached.
    wrong_length : sequence of Clip
        Clips of a length that the teacher does not take.
    takes : str
        Which lengths it takes.

    Returns
    -------
    list of str
        A line each. What a training will lack begins with ``warning:``.
    """
    unusable = sum(not clip.frames for clip in corpus.clips) + len(wrong_length)
    reasons = unreadable_reasons(corpus.root, corpus.clips)
    too_long = [clip for clip in wrong_length if is_too_long(clip.frames, clip.source_rate_hz)]
    if too_long:
        rate_hz = too_long[0].source_rate_hz
        reasons.append(
            f"{len(too_long)} longer than is decoded at once ({longest_clip_s(rate_hz):.10g} s at "
            f"{rate_hz} Hz), first {one_line(too_long[0].id)}: ?window_s=10 cuts them"
        )
    others = [clip for clip in wrong_length if not is_too_long(clip.frames, clip.source_rate_hz)]
    if others:
        first = one_line(others[0].id)
        reasons.append(f"{len(others)} not of {takes}, as the teacher takes them, first {first}")
    if wrong_length:
        outside = {clip.id for clip in wrong_length}
        clips = (replace(c, frames=0) if c.id in outside else c for c in corpus.clips)
        corpus = replace(corpus, clips=tuple(clips))
    decoding = _decoding_line(corpus)
    warnings = [
        *_class_warnings(corpus, kind),
        *_split_warnings(corpus, kind),
        *(_teacher_warnings(corpus, teacher_classes) if teacher_classes else []),
    ]
    return [
        f"classes   {_classes_line(corpus)}",
        f"clips     {_splits_line(corpus)}",
        *([f"unusable  {unusable} of {len(corpus.clips)} by their headers"] if unusable else []),
        *(f"  {reason}" for reason in reasons),
        *([f"decoding  {decoding}"] if decoding else []),
        *(f"warning: {warning}" for warning in warnings),
    ]


def _classes_line(corpus: Corpus) -> str:
    """Count the classes, and the clips of the smallest and largest."""
    if not any(clip.labelled for clip in corpus.clips):
        taken = f"; students learn the teacher's {len(corpus.classes)}" if corpus.classes else ""
        return f"no clip is labelled{taken}"
    counts = Counter(dict.fromkeys(corpus.classes, 0))
    counts.update(label for clip in corpus.clips for label in clip.labels)
    (largest, most), (smallest, least) = counts.most_common()[0], counts.most_common()[-1]
    sizes = f"{least} clip(s) of {one_line(smallest)} to {most} of {one_line(largest)}"
    return f"{len(corpus.classes)} ({corpus.task}-label), {sizes}"


def _splits_line(corpus: Corpus) -> str:
    """Count clips by split, those that are labelled where not all are, and those without a class."""
    clips = Counter(clip.split for clip in corpus.clips)
    labelled = Counter(clip.split for clip in corpus.clips if clip.labelled)
    negative = Counter(clip.split for clip in corpus.clips if clip.none_present)
    ordered = sorted(clips, key=lambda split: (_order(split), split))

    def details(split: str) -> str:
        found = [f"{labelled[split]} labelled"] if labelled[split] < clips[split] else []
        found += [f"{negative[split]} with none of the classes"] if negative[split] else []
        return f" ({', '.join(found)})" if found else ""

    return ", ".join(f"{one_line(split)}: {clips[split]}{details(split)}" for split in ordered)


def _order(split: str) -> int:
    known = ("train", "validation", "test")
    return known.index(split) if split in known else len(known)


def _decoding_line(corpus: Corpus) -> str:
    """Name what is decoded in vain where windows of recordings cannot be entered in the middle.

    One recording of each suffix and rate is looked at: those of an archive are made alike.
    """
    kinds: dict[tuple[str, int], list[Clip]] = {}
    for clip in corpus.clips:
        if clip.frames and clip.start_s:
            suffix = PurePosixPath(clip.path).suffix.lower()
            kinds.setdefault((suffix, clip.source_rate_hz), []).append(clip)
    within = {
        kind: clips
        for kind, clips in kinds.items()
        if _is_mostly_in_vain(clips) and not is_entered(corpus.root / clips[0].path)
    }
    clips = [clip for own in within.values() for clip in own]
    if not clips:
        return ""
    kept_s, decoded_s = _decoded_s(clips)
    recordings, suffixes = {c.path for c in clips}, few(sorted({suffix for suffix, _ in within}))
    return (
        f"{len(clips):,} clips within {len(recordings):,} {suffixes} recording(s), each from its "
        f"recording's beginning: {decoded_s / 3600:,.1f} h for {kept_s / 3600:,.1f} h of clips; of FLAC "
        "copies the clips alone are read"
    )


def _is_mostly_in_vain(clips: Sequence[Clip]) -> bool:
    kept_s, decoded_s = _decoded_s(clips)
    return decoded_s >= max(NAMED_DECODING_S, NAMED_DECODING_RATIO * kept_s)


def _decoded_s(clips: Sequence[Clip]) -> tuple[float, float]:
    """Seconds of clips, and of all from their recordings' beginnings to their ends."""
    kept_s = sum(clip.frames / clip.source_rate_hz for clip in clips)
    return kept_s, kept_s + sum(clip.start_s for clip in clips)


def _class_warnings(corpus: Corpus, kind: str) -> list[str]:
    """What the classes lack, where clips are labelled."""
    if not any(clip.labelled for clip in corpus.clips):
        return []
    found = one_class(corpus.classes, corpus.task)
    if kind == "folder":
        found += _folder_warnings(corpus)
    labels: dict[str, Counter[str]] = {}
    paths: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    groups: dict[str, set[str]] = {}
    for clip in corpus.clips:
        if clip.frames:
            labels.setdefault(clip.split, Counter()).update(clip.labels)
            paths.setdefault(clip.split, []).append((clip.path, clip.labels))
            groups.setdefault(clip.split, set()).add(clip.group)
    test = sum(clip.labelled for clip in corpus.clips if clip.frames and clip.split == "test")
    return [
        *found,
        *missing_classes({split: list(counts) for split, counts in labels.items()}, corpus.classes),
        *imbalance(labels.get("train", {}), corpus.task),
        *few_clips(test, "test"),
        *(
            known_groups(groups)
            if any(own - {""} for own in groups.values())
            else shared_groups(paths, corpus.classes)
        ),
    ]


def _folder_warnings(corpus: Corpus) -> list[str]:
    """What names of folders say that are hardly those of classes."""
    if len(corpus.classes) > 1 and all(map(FOLD.fullmatch, corpus.classes)):
        folds = f"the classes ({few(corpus.classes)}) look like folds"
        if any(_folder_below(clip) for clip in corpus.clips):
            return [f"{folds}: {_fold_option('folder', corpus.classes)}"]
        spoken = any(name.isdigit() for name in corpus.classes)
        way = "list the clips with their classes, and their folds as split (csv:FILE)"
        return [] if spoken else [f"{folds}, and hold no folders of classes: {way}"]
    if note := _classes_below(corpus):
        return [note]
    named = [name for name in corpus.classes if name.lower() in SPLIT_NAMES]
    return [f"classes named like splits: {few(named)}"] if named else []


def _classes_below(corpus: Corpus) -> str:
    """Note classes that hold the same folders each, as sites do that hold the classes."""
    below: dict[str, set[str]] = {}
    for clip in corpus.clips:
        if folder := _folder_below(clip):
            below.setdefault(clip.labels[0], set()).add(folder)
    sets = list(below.values())
    alike = len(below) == len(corpus.classes) > 1 and all(own == sets[0] for own in sets)
    if not alike or len(sets[0]) < 2:
        return ""
    return (
        f"each of the classes ({few(corpus.classes)}) holds the same folders ({few(sorted(sets[0]))}): "
        "if those are the classes, name which of these validate and test (?validation_folds=NAME&"
        "test_folds=NAME), or list the clips (csv:FILE)"
    )


def _folder_below(clip: Clip) -> str:
    """Folder in that of a clip's class where the clip lies; empty if it lies in the latter itself."""
    folders = clip.path.split("/")[:-1]
    own = next((label for label in clip.labels if label in folders[:-1]), None)
    return "" if own is None else folders[folders.index(own) + 1]


def _split_warnings(corpus: Corpus, kind: str) -> list[str]:
    """What the splits lack: a clip that is usable and, where any is labelled, a labelled one."""
    splits = dict.fromkeys(clip.split for clip in corpus.clips)
    usable = {clip.split for clip in corpus.clips if clip.frames}
    labelled = {clip.split for clip in corpus.clips if clip.frames and clip.labelled}
    positive = {clip.split for clip in corpus.clips if clip.frames and clip.labels}
    found = []
    folds = [split for split in splits if FOLD.fullmatch(split)]
    are_folds = len(folds) == len(splits) >= MIN_FOLDS
    if are_folds:
        found.append(f"the splits ({few(folds)}) look like folds: {_fold_option(kind, folds)}")
    lacks = {
        "train": "there is nothing to train a student on",
        "validation": "students keep their last epoch, and finetune-teacher needs one",
        "test": "students have no test score",
    }
    wholes = {clip.group or clip.path for clip in corpus.clips}
    for split, meaning in lacks.items():
        if split not in splits and len(wholes) < len(lacks):
            grouped = any(clip.group for clip in corpus.clips)
            found.append(
                f"no split {split}: {meaning}. The clips are of {len(wholes)} recording(s) or group(s), "
                "and each is in one split as a whole: add others"
                + ("" if grouped else ", or cut a long recording into files")
            )
        elif split not in splits:
            chosen = split != "train" and kind in ("csv", "folder", "jsonl") and not are_folds
            share = "" if len(wholes) < FEW_WHOLES else f"a larger share (?{split}=0.2) or "
            way = (
                f". Give clips of it; or, where no clip has its own split, {share}stratify=true, for "
                "which a list needs three recordings or groups"
                if chosen
                else ""
            )
            if split == "train" and kind == "folder":
                way = (
                    ". If one of the folders is to train, name the others, as in ?test_folds=FOLDER"
                )
            found.append(f"no split {split}: {meaning}{way}")
        elif split not in usable:
            found.append(f"no clip of {split} is usable: {meaning}")
        elif labelled and split not in labelled:
            found.append(f"no clip of {split} is labelled")
        elif labelled and split not in positive:
            found.append(
                f"every labelled clip of {split} has none of the classes: no score has a value"
            )
    return found


def _fold_option(kind: str, folds: Sequence[str]) -> str:
    """The option by which a kind of corpus takes folds as splits."""
    *rest, validation, test = map(option_text, sorted(folds, key=lambda fold: (len(fold), fold)))
    if kind == "hugging-face":
        train = f"train={';'.join(rest)}&" if rest else ""
        return f"?{train}validation={validation}&test={test}"
    return f"?validation_folds={validation}&test_folds={test}"


def _teacher_warnings(corpus: Corpus, teacher_classes: Sequence[str]) -> list[str]:
    """Which classes the teacher's logits do not cover."""
    known = set(teacher_classes)
    outside = [name for name in corpus.classes if name not in known]
    if not outside:
        return []
    warning = (
        f"{len(outside)} of {len(corpus.classes)} classes are none of the teacher's {len(known)} "
        f"({few(outside)}): --distill logits will need train-student --class-map FILE.toml, or a "
        "teacher fine-tuned on them"
    )
    return [warning]
