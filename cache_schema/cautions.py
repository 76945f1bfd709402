"""What to know before figures are believed: figures in, sentences out.

Each function gives a list that is empty where there is nothing to warn of. Whoever has the figures
calls them: the summary of a corpus, a training, a comparison, a report.

Shape suffixes: T frames.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.signal_names import teacher_of
from cache_schema.text import letters_alone, one_line

NEARLY_PERFECT = 0.99  # score of a teacher on the clips that it teaches
NEARLY_FLAT = 0.97  # entropy of its attention, as a share of a uniform one's
IMBALANCE = 10  # times the clips of the smallest class
MIN_SEEDS = 3
MIN_CLIPS = 100  # scored ones: of fewer, chance alone moves a score by more than 10 points
MIN_GROUPS, MIN_SHARED, SHARED = 3, 2, 0.2  # of groups in names, and of those on both sides
NEAR_CHANCE = 0.1  # of the way from chance to a perfect score
MAX_NAMES = 5
UNEVEN = 0.05  # of the steps of two trainings that are compared
FEW_GROUPS = 4  # of which a split's score is that of their chance members
_TOKEN = re.compile(r"[_-]+")


def perfect_teacher(
    score: float | None, metric: str, teacher: str = "the teacher", *, unlabelled: int = 0
) -> list[str]:
    """A teacher that is right on what it teaches repeats the labels, where clips have some."""
    if score is None or score < NEARLY_PERFECT:
        return []
    more = (
        f"more clips without labels than these {unlabelled}"
        if unlabelled
        else "clips without labels"
    )
    caution = (
        f"{teacher} is nearly perfect on the labelled clips it teaches ({metric} {score:.4f} on train, "
        f"from {NEARLY_PERFECT} on): its predictions hold little that the labels do not. More views "
        f"(precompute-teacher --views), or {more}, give it something to add"
    )
    return [caution]


def flat_attention(share: float | None, signal: str, *, logits: bool) -> list[str]:
    """Attention that is nearly uniform names no place in time; `logits` of its teacher may be cached."""
    if share is None or share < NEARLY_FLAT:
        return []
    caution = (
        f"{signal} is nearly flat (its entropy is {share:.3f} of a uniform one's, from {NEARLY_FLAT} "
        "on): the loss temporal has next to nothing to give. "
        f"{'Learn from its logits, or let it' if logits else 'Let it'} be sharpened (--distill "
        f"temporal=W:{f'teacher={teacher},' if (teacher := teacher_of(signal)) else ''}sharpen=3)"
    )
    return [caution]


def flatness(attention_T: NDArray[np.floating]) -> float | None:
    """Entropy of a clip's attention as a share of a uniform one's; None of fewer than two frames.

    >>> flatness(np.ones(8))
    1.0
    >>> flatness(np.array([1.0, 0.0]))
    0.0
    """
    weights_T = np.asarray(attention_T, np.float64)
    total = weights_T.sum()
    if len(weights_T) < 2 or not total > 0:
        return None
    shares_T = weights_T[weights_T > 0] / total
    return float(-(shares_T * np.log(shares_T)).sum() / np.log(len(weights_T))) + 0.0


def one_class(classes: Sequence[str], task: str) -> list[str]:
    """A single class leaves nothing to learn."""
    if len(classes) != 1 or task != "single":
        return []
    caution = (
        f"one class alone ({one_line(classes[0])}): any model is always right, and nothing is learnt "
        "from its labels"
    )
    return [caution]


def missing_classes(found: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[str]:
    """Classes without a clip to learn from, or to be scored on.

    Parameters
    ----------
    found : mapping
        Split to the classes that usable clips of it have.
    classes : sequence of str
        All of them.
    """
    cautions = []
    for split, use in (("train", "to learn from"), ("test", "to score them on")):
        here = set(found.get(split, ()))
        lacking = [name for name in classes if name not in here]
        if here and lacking:
            cautions.append(
                f"{len(lacking)} classes have no usable {split} clip {use}: {few(lacking)}"
            )
    return cautions


def no_positives(found: Mapping[str, Sequence[str]]) -> list[str]:
    """A validation split of negatives alone, where training clips have classes; `found` as above."""
    if not found.get("train") or found.get("validation", ["none there"]):
        return []
    return [
        "no clip of validation has any of the classes: no epoch is better by it, and the last is kept"
    ]


def imbalance(clips: Mapping[str, int], task: str) -> list[str]:
    """One class with many times the training clips of another."""
    counts = Counter({name: count for name, count in clips.items() if count})
    if len(counts) < 2:
        return []
    (largest, most), (smallest, least) = counts.most_common()[0], counts.most_common()[-1]
    if most < IMBALANCE * least:
        return []
    score = (
        ": the score over all clips is mostly that of the large classes. Look at each class, or choose "
        "epochs by --metric mAP"
    )
    caution = (
        f"class {one_line(largest)} has {most} training clips, {most / least:.0f} times the {least} of "
        f"{one_line(smallest)} (from {IMBALANCE} times on)"
    )
    # Of several labels the score is a mean over classes as it is.
    return [caution + (score if task == "single" else ". Look at each class")]


def shared_groups(
    clips: Mapping[str, Sequence[tuple[str, Sequence[str]]]], classes: Sequence[str] = ()
) -> list[str]:
    """Names that suggest speakers, sessions or places, which lie on both sides of a split.

    A name's group is its folder, or what it begins with before an underscore or a hyphen. Groups that
    all belong to a few classes are kinds of these, as the words that no keyword is; a group that has
    all clips of a class and of no other is the class by another name, as the digit 0 is ``zero``.

    Parameters
    ----------
    clips : mapping
        Split to the path and the labels of each of its clips.
    classes : sequence of str
        All classes.
    """
    for way, group_of in (("the folder", _folder), ("what a name begins with", _beginning)):
        groups = {split: _groups(own, group_of) for split, own in clips.items()}
        no_group = {"", *classes, *clips, *_class_codes(groups.values())}
        train, test = (
            {g: own for g, own in groups.get(s, {}).items() if g not in no_group}
            for s in ("train", "test")
        )
        shared = sorted(set(train) & set(test))
        concerned = {label for group in shared for label in (train[group] | test[group])}
        if (
            len(test) >= MIN_GROUPS
            and sum(own.total() for own in train.values()) >= 2 * len(train)
            and len(concerned - {""}) >= len(classes) / 2
            and len(shared) >= max(MIN_SHARED, SHARED * len(test))
        ):
            caution = (
                f"{len(shared)} of the {len(test)} groups in test that {way} suggests are in train too "
                f"({few(shared)}): if these are speakers, sessions or places, the test is easier than "
                "what the student will meet. Give splits that keep each on one side"
            )
            return [caution]
    return []


def _groups(
    clips: Sequence[tuple[str, Sequence[str]]], group_of: Callable[[str], str]
) -> dict[str, Counter[str]]:
    """Labels of each group's clips; an unlabelled one counts under an empty name."""
    found: dict[str, Counter[str]] = {}
    for name, labels in clips:
        found.setdefault(group_of(name), Counter()).update(labels or ("",))
    return found


def _class_codes(splits: Iterable[Mapping[str, Counter[str]]]) -> set[str]:
    """Groups that are one class each, and that class no other group's; of all splits together."""
    classes_of: dict[str, set[str]] = {}
    groups_of: dict[str, set[str]] = {}
    for groups in splits:
        for group, labels in groups.items():
            for label in labels.keys() - {""}:
                classes_of.setdefault(group, set()).add(label)
                groups_of.setdefault(label, set()).add(group)
    return {
        group
        for group, own in classes_of.items()
        if len(own) == 1 and all(len(groups_of[label]) == 1 for label in own)
    }


def _folder(name: str) -> str:
    return name.rpartition("/")[0].rpartition("/")[2]


def _beginning(name: str) -> str:
    tokens = _TOKEN.split(name.rpartition("/")[2])
    return tokens[0] if len(tokens) > 1 else ""


def _one_side(twins: Sequence[tuple[str, str]]) -> str:
    """How groups come to lie on one side, each with the name that it has on the other."""
    ways = []
    if any(one != other for one, other in twins):
        ways.append("Write a group alike wherever it is")
    if any(one == other for one, other in twins):
        ways.append(
            "Leave the list's splits out, so that groups choose them, or give splits that keep each on "
            "one side"
        )
    return ". ".join(ways)


def known_groups(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Groups that a corpus names: those on both sides of a split, and splits of few of them.

    Parameters
    ----------
    groups : mapping
        Split to the group of each of its clips; empty names are no groups. Case, Unicode form and
        blanks make no other group.
    """
    found = {split: set(own) for split, own in groups.items()}
    partly = {split for split, own in found.items() if "" in own}
    found = {split: own - {""} for split, own in found.items()}
    train = {letters_alone(name): name for name in sorted(found.get("train", ()))}
    effects = {
        "validation": "the epoch that is kept, and thresholds, are chosen by what was trained on",
        "test": "the test is easier than what the student will meet",
    }
    cautions = []
    for split, effect in effects.items():
        own = sorted(found.get(split, ()))
        twins = [(name, train[key]) for name in own if (key := letters_alone(name)) in train]
        if twins:
            names = [one if one == other else f"{one!a} = {other!a}" for one, other in twins]
            cautions.append(
                f"{len(twins)} of the {len(own)} groups in {split} are in train too ({few(names)}): "
                f"{effect}. {_one_side(twins)}"
            )
    if len(set().union(*found.values())) > 1:
        cautions += [
            f"{split} has clips of {len(own)} group{'s' if len(own) > 1 else ''} alone "
            f"({few(own)}): its score is of these speakers, sessions or places, and others' may "
            "be far from it. Let more groups be in it: by the list, or a larger share where splits are "
            "chosen"
            for split in ("validation", "test")
            if 0 < len(own := sorted(found.get(split, ()))) < FEW_GROUPS
            and split not in partly  # whose other clips are of whoever it may be
        ]
    return cautions


def few_seeds(seeds: int) -> list[str]:
    """Too few runs for an interval."""
    if seeds >= MIN_SEEDS:
        return []
    caution = (
        f"{seeds} seed{'s' if seeds > 1 else ''} a side (an interval needs {MIN_SEEDS}): what another "
        "seed would give is not known, and no difference can be shown"
    )
    return [caution]


def few_clips(clips: int, split: str) -> list[str]:
    """Too few clips for a score to say much of others."""
    if not 0 < clips < MIN_CLIPS:
        return []
    caution = (
        f"{split} has {clips} labelled clip{'s' if clips > 1 else ''} (fewer than {MIN_CLIPS}): of so "
        f"few a share is known to {min(50, 98 / clips**0.5):.0f} points (95 %, at one half), and no "
        "score much better. Differences below that may be chance"
    )
    return [caution]


def near_chance(score: float, chance: float | None, metric: str, who: str) -> list[str]:
    """A score that random answers nearly reach."""
    if chance is None or score >= chance + NEAR_CHANCE * (1 - chance):
        return []
    caution = (
        f"{who} is near chance ({metric} {score:.4f}, at random {chance:.4f}; up to "
        f"{chance + NEAR_CHANCE * (1 - chance):.4f} is less than a tenth of the way to 1): it has "
        "learned next to nothing. Train longer, or look at the labels"
    )
    return [caution]


def above_teacher(student: float, teacher: float | None, metric: str) -> list[str]:
    """A student that its teacher cannot help."""
    if teacher is None or student <= teacher:
        return []
    caution = (
        f"the student alone ({metric} {student:.4f}) is above its teacher ({teacher:.4f}): there is "
        "little to learn from it. A better teacher comes first (finetune-teacher)"
    )
    return [caution]


def below_twin(learned: str, student: float, twin: float, metric: str, seeds: int) -> list[str]:
    """Distillation that harms, or seems to in few runs."""
    if student >= twin:
        return []
    way = "lower its weight, or leave it out"
    if seeds < MIN_SEEDS:
        way = f"that may be chance; train {MIN_SEEDS} seeds before you judge it"
    caution = (
        f"learning from {one_line(learned)} ({metric} {student:.4f}) is below learning from labels "
        f"alone ({twin:.4f}): {way}"
    )
    return [caution]


def uneven_steps(learned: str, steps: float | None, twin: float | None) -> list[str]:
    """Trainings of other lengths, whose scores differ by that too."""
    if steps is None or twin is None or abs(steps - twin) <= UNEVEN * max(steps, twin):
        return []
    caution = (
        f"learning from {one_line(learned)} took {steps:.0f} steps of training, from labels alone "
        f"{twin:.0f}: a part of the difference may be theirs"
    )
    return [caution]


def few(names: Sequence[str]) -> str:
    """List some names of many."""
    shown = [one_line(name) for name in names[:MAX_NAMES]]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(shown) + more
