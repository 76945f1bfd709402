"""Splits in which every class is represented: what ``?stratify=true`` chooses in place of a hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.corpora.interface import Entry

NO_CLASS = ""  # what clips count under that have no label


def stratified(
    entries: Sequence[Entry], groups: Sequence[str], *, validation: float, test: float
) -> list[Entry]:
    """Move entries to splits that share out each class alike.

    Parameters
    ----------
    entries : sequence of Entry
        All clips.
    groups : sequence of str
        What each belongs to: clips of one group get one split.
    validation, test : float
        Shares of these splits, from 0 to below 1 together.
    """
    clips: dict[str, Counter[str]] = {}
    for entry, group in zip(entries, groups, strict=True):
        clips.setdefault(group, Counter()).update(entry.clip.labels or (NO_CLASS,))
    split_of = stratified_splits(clips, validation=validation, test=test)
    return [
        replace(entry, clip=replace(entry.clip, split=split_of[group]))
        for entry, group in zip(entries, groups, strict=True)
    ]


def stratified_splits(
    groups: Mapping[str, Counter[str]], *, validation: float, test: float
) -> dict[str, str]:
    """Choose a split for each group, the rarest class first.

    Greedy, after Sechidis et al. 2011: of the class with the fewest groups left, each group in the
    order of a hash goes to the split that still lacks the class, else to the one that lacks most clips
    of it. A class of three groups or more is then in all splits, unless its groups had to follow
    rarer classes. Names and labels alone decide; unlike splits by hash, those of a corpus that grows
    may change.

    Parameters
    ----------
    groups : mapping of str to Counter
        Clips of each class in each group.
    validation, test : float
        Shares of the clips.
    """
    shares = {"train": 1 - validation - test, "test": test, "validation": validation}
    shares = {split: share for split, share in shares.items() if share}
    members: dict[str, list[str]] = {}
    total: Counter[str] = Counter()
    for group in sorted(groups, key=_place):
        total.update(groups[group])
        for name in groups[group]:
            members.setdefault(name, []).append(group)
    wanted = {s: {c: share * n for c, n in total.items()} for s, share in shares.items()}
    found: dict[str, Counter[str]] = {split: Counter() for split in shares}
    left = Counter({name: len(own) for name, own in members.items()})
    chosen: dict[str, str] = {}
    while left:
        rarest = min(left, key=lambda name: (left[name], name))
        for group in [group for group in members[rarest] if group not in chosen]:
            chosen[group] = _neediest(groups[group], rarest, wanted, found)
            found[chosen[group]].update(groups[group])
            left.subtract(list(groups[group]))
        left = +left  # without those of which none is left
    return chosen


def _neediest(
    own: Counter[str],
    rarest: str,
    wanted: Mapping[str, Mapping[str, float]],
    found: Mapping[str, Counter[str]],
) -> str:
    """The split that lacks a class, then most classes of a group, then most clips; train of equals."""

    def need(split: str) -> tuple[bool, int, float, float]:
        missing = sum(not found[split][name] for name in own)
        clips = sum(wanted[split][name] - found[split][name] for name in own)
        return (
            not found[split][rarest],
            missing,
            wanted[split][rarest] - found[split][rarest],
            clips,
        )

    return max(wanted, key=need)


def _place(group: str) -> bytes:
    return hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
