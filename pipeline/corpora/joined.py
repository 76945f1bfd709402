"""Several corpora as one: labelled ones beside each other, and unlabelled audio to learn from.

Most audio has no labels. A teacher that runs over it all the same gives a student more to learn from
than any loss does: see tests/experiments/README.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cache_schema.cautions import few
from cache_schema.clip import Clip
from cache_schema.errors import UsageError, bullet_list
from cache_schema.store.address import CachePath, common_place
from pipeline.audio.members import container_of
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import Corpus, twin_notes
from pipeline.corpora.walk import printable

TRAIN = "train"

# A file by its place on the disk, and the member of a container; or the path of what is not there.
Recording = tuple[int | str, ...]


def read_corpora(
    texts: Sequence[str], unlabelled: Sequence[str] = (), *, output: CachePath | None = None
) -> Corpus:
    """Read corpora, each as `read_corpus` does, and join them.

    Paths begin at the folder that holds them all, so that a cache is made again only where they lie
    alike. Ids that two corpora share get the number of their corpus before them.

    Parameters
    ----------
    texts : sequence of str
        Labelled corpora. The first one's classes come first; those of others follow.
    unlabelled : sequence of str
        Corpora whose clips all go to the training split, without their labels. A recording that a
        labelled corpus has too is left out: it may be one to test with. So is a clip whose ``group``
        validates or tests there, or is not there and falls to one of these splits.
    output : CachePath, optional
        What the running command writes; it may lie in a corpus and is none of its inputs.

    Raises
    ------
    UsageError
        As `read_corpus`; or if corpora differ in task or view recipe.
    """
    corpora = [read_corpus(text, output=output) for text in texts]
    if len(corpora) == 1 and not unlabelled:
        return corpora[0]
    _check_alike(texts, corpora)
    more = [_read_unlabelled(text, corpora, output) for text in unlabelled]
    steps = next((c.view_steps for c in (*corpora, *more) if c.view_steps), ())
    root = _common_root((*texts, *unlabelled), [corpus.root for corpus in (*corpora, *more)])
    corpora = [corpus.below(root) for corpus in corpora]
    recording_of = _recordings(root, [*corpora, *(corpus.below(root) for corpus in more)])
    known = {recording_of(clip.path) for corpus in corpora for clip in corpus.clips}
    notes = [note for corpus in (*corpora, *more) for note in corpus.notes]
    notes += _repeated(corpora, recording_of)
    notes += _shared_groups(corpora)
    if any(map(_by_group, corpora)):
        notes += [
            f"warning: {printable(text)} has no group=, so that speakers, sessions or places that "
            "validate or test may be among its clips"
            for text, corpus in zip(unlabelled, more, strict=True)
            if corpus.clips and not _by_group(corpus)
        ]
    for text, corpus in zip(unlabelled, more, strict=True):
        corpora.append(_without_labels(corpus.below(root), known, recording_of))
        left_out = len(corpus.clips) - len(corpora[-1].clips)
        if left_out:
            notes.append(
                f"{left_out} clip(s) of {printable(text)} left out: a labelled corpus has them too"
            )
    classes = tuple(dict.fromkeys(name for corpus in corpora for name in corpus.classes))
    return Corpus(
        root=root,
        clips=tuple(_with_own_ids([corpus.clips for corpus in corpora])),
        classes=classes,
        task=corpora[0].task,
        notes=tuple(dict.fromkeys((*notes, *twin_notes(classes)))),
        view_steps=steps,
        plugin=", ".join(dict.fromkeys(c.plugin for c in (*corpora, *more) if c.plugin)),
    )


def _common_root(texts: Sequence[str], roots: Sequence[CachePath]) -> CachePath:
    """The folder that holds all corpora.

    Raises
    ------
    UsageError
        If they lie on a disk and a store, or on two stores.
    """
    root = common_place(roots)
    if root is None:
        raise UsageError(
            "the corpora lie in different places, and their clips are named from one that holds all\n"
            f"{bullet_list(map(printable, texts))}\nCopy them to one disk or bucket",
            kind="corpus",
        )
    return root


def _read_unlabelled(text: str, labelled: Sequence[Corpus], output: CachePath | None) -> Corpus:
    """Read audio to learn from, without the groups that a labelled corpus validates or tests with.

    A group that none of them has is left out where its own splits do so: splits by hash are chosen by
    the group's name alone, and a labelled corpus may yet grow by the same speakers.
    """
    corpus = read_corpus(_ignoring_labels(text), output=output)
    if not _by_group(corpus):
        return corpus
    known = [clip for one in labelled for clip in one.clips if clip.group]
    trained = {clip.group for clip in known if clip.split == TRAIN}
    held_out = {clip.group for clip in known if clip.split != TRAIN}
    others = [clip for clip in corpus.clips if clip.group not in held_out]
    clips = tuple(clip for clip in others if clip.split == TRAIN or clip.group in trained)
    notes = []
    if theirs := len(corpus.clips) - len(others):
        notes.append(
            f"{theirs} clip(s) of {printable(text)} left out: their groups validate or test"
        )
    if own := len(others) - len(clips):
        notes.append(
            f"{own} clip(s) of {printable(text)} left out: its own splits validate or test with their "
            "groups, which the labelled clips lack (shares do not with ?validation=0&test=0)"
        )
    return replace(corpus, clips=clips, notes=(*corpus.notes, *notes))


def _by_group(corpus: Corpus) -> bool:
    """Whether a corpus names groups of its clips."""
    return any(clip.group for clip in corpus.clips)


def _ignoring_labels(text: str) -> str:
    """Leave the labels of a folder unread: one without labels has no folder for each class."""
    if not text.startswith("folder:") or _has_option(text, "labels"):
        return text
    return f"{text}{'&' if '?' in text else '?'}labels=none"


def _has_option(text: str, name: str) -> bool:
    """Whether ``KIND:PATH?option=value&...`` gives an option; in PATH a ``?`` is written ``%3F``."""
    options = text.partition("?")[2].split("&")
    return any(option.startswith(f"{name}=") for option in options)


def _check_alike(texts: Sequence[str], corpora: Sequence[Corpus]) -> None:
    """Reject corpora that no training could take together."""
    first, problems = corpora[0], []
    for text, corpus in zip(texts[1:], corpora[1:], strict=True):
        for what, one, other in (
            ("task", first.task, corpus.task),
            ("view recipe", " ".join(first.view_steps), " ".join(corpus.view_steps)),
        ):
            if one != other:
                problems.append(
                    f"{what}: {printable(texts[0])} has {one or 'none'}, {printable(text)} has "
                    f"{other or 'none'}"
                )
    if problems:
        alike = (
            "\nOne in which each clip happens to have one label is read as multi-label by ?task=multi "
            "(csv, jsonl, ast-json, hdf5); the clips of a folder in a list of them"
            if len({corpus.task for corpus in corpora}) > 1
            else ""
        )
        raise UsageError(
            f"the corpora do not go together\n{bullet_list(problems)}{alike}\nRead each by itself: "
            "precompute-teacher takes one without labels as --unlabelled",
            kind="corpus",
        )


def _recordings(root: CachePath, corpora: Sequence[Corpus]) -> Callable[[str], Recording]:
    """Find by a clip's path which recording it is: links to a file are that file."""
    if not isinstance(root, Path):
        return lambda path: (path,)
    found: dict[str, Recording] = {}
    for path in dict.fromkeys(clip.path for corpus in corpora for clip in corpus.clips):
        file = str(container_of(root / path))
        member = str(root / path)[len(file) :]
        try:
            state = os.stat(file)
        except OSError:  # it is not there, and none of its clips is usable
            found[path] = (path,)
        else:
            found[path] = (state.st_dev, state.st_ino, member)
    return found.__getitem__


def _repeated(corpora: Sequence[Corpus], recording_of: Callable[[str], Recording]) -> Iterable[str]:
    """Note recordings that two labelled corpora have, and those that are to be learned and tested on."""
    splits: list[Mapping[Recording, set[str]]] = []
    first: dict[Recording, str] = {}
    for corpus in corpora:
        own: dict[Recording, set[str]] = {}
        for clip in corpus.clips:
            own.setdefault(recording_of(clip.path), set()).add(clip.split)
            first.setdefault(recording_of(clip.path), clip.path)
        splits.append(own)
    counts = Counter(recording for own in splits for recording in own)
    several = [recording for recording, count in counts.items() if count > 1]
    apart = [one for one in several if len(set().union(*(own.get(one, ()) for own in splits))) > 1]
    if several:
        yield (
            f"{len(several)} recording(s) are in more than one corpus, first "
            f"{printable(first[several[0]])}"
        )
    if apart:
        yield (
            f"warning: {len(apart)} of them are in different splits, first "
            f"{printable(first[apart[0]])}: what is learned from is tested on. List each once"
        )


def _shared_groups(corpora: Iterable[Corpus]) -> Iterable[str]:
    """Note groups of one name in several labelled corpora: numbers, for one, are given anew in each."""
    counts = Counter(name for corpus in corpora for name in {clip.group for clip in corpus.clips})
    if shared := sorted(name for name, count in counts.items() if name and count > 1):
        yield (
            f"{len(shared)} group(s) have one name in several corpora and count as one ({few(shared)}): "
            "if these are others, name them apart"
        )


def _without_labels(
    corpus: Corpus, known: set[Recording], recording_of: Callable[[str], Recording]
) -> Corpus:
    """All clips for training, without their labels, but those of recordings that are known."""
    clips = tuple(
        replace(clip, labels=(), none_present=False, split=TRAIN)
        for clip in corpus.clips
        if recording_of(clip.path) not in known
    )
    return replace(corpus, clips=clips, classes=())


def _with_own_ids(corpora: Sequence[Sequence[Clip]]) -> Iterable[Clip]:
    """Clips of all corpora; those of a corpus that shares an id get its number before theirs."""
    taken: set[str] = set()
    for number, clips in enumerate(corpora, 1):
        before = ""
        while not taken.isdisjoint(f"{before}{clip.id}" for clip in clips):
            before += f"{number}/"
        own = [replace(clip, id=f"{before}{clip.id}") for clip in clips]
        taken |= {clip.id for clip in own}
        yield from own
