"""Both versions of Speech Commands: v0.01 with 30 words, v0.02 with five more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from small_corpora import speech_commands

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.published.speech_commands import (
    CLASSES_12,
    CLASSES_30,
    CLASSES_35,
    LATER_WORDS,
    OTHER_WORDS,
)


def test_version_1_has_thirty_words() -> None:
    assert len(CLASSES_30) == 30
    assert set(CLASSES_35) - set(CLASSES_30) == set(LATER_WORDS) < set(OTHER_WORDS)


def test_version_1_is_read_with_its_thirty_words(tmp_path: Path) -> None:
    corpus = read_corpus(f"{speech_commands.write(tmp_path, CLASSES_30)}?labels=30")
    assert (corpus.classes, corpus.notes) == (CLASSES_30, ())
    counts = Counter((clip.split, clip.labels[0]) for clip in corpus.clips)
    for word in CLASSES_30:
        assert [counts[s, word] for s in ("train", "validation", "test")] == [4, 2, 2]


def test_version_1_is_read_with_twelve_labels(tmp_path: Path) -> None:
    corpus = read_corpus(speech_commands.write(tmp_path, CLASSES_30))
    assert corpus.classes == CLASSES_12
    counts = Counter((clip.split, clip.labels[0]) for clip in corpus.clips)
    for split, each in {"train": 4, "validation": 2, "test": 2}.items():
        assert {counts[split, name] for name in CLASSES_12} == {each}
    assert corpus.notes == ()


def test_version_1_with_35_labels_names_the_words_that_are_not_there(tmp_path: Path) -> None:
    corpus = read_corpus(f"{speech_commands.write(tmp_path, CLASSES_30)}?labels=35")
    assert corpus.classes == CLASSES_35
    assert corpus.notes == (
        "no clip of backward, follow, forward, learn, visual; labels=30 has the words of v0.01",
    )


def test_version_2_is_not_read_with_the_words_of_version_1(tmp_path: Path) -> None:
    text = speech_commands.write(tmp_path, CLASSES_35)
    with pytest.raises(UsageError) as caught:
        read_corpus(f"{text}?labels=30")
    for word in LATER_WORDS:
        problem = f"unknown label {word!r}, none of the 30 words of v0.01 (labels=35 has it)"
        assert problem in str(caught.value)
    assert read_corpus(f"{text}?labels=35").notes == ()


def test_folds_in_two_splits_are_rejected(tmp_path: Path) -> None:
    text = speech_commands.write(tmp_path, ("yes",))
    lines = [f"yes/{speaker:08x}_nohash_0.wav,yes,{speaker},{speaker}" for speaker in range(8)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file,label,speaker,fold", *lines]) + "\n")
    with pytest.raises(UsageError, match="fold '1' is in validation_folds=1 and in test_folds=0;1"):
        read_corpus(f"{text}?validation_folds=1&test_folds=0;1")
