"""UrbanSound8K: ten folds, ten classes in the order of classID."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from small_corpora import urbansound8k

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.published.urbansound8k import METADATA


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def test_all_ten_classes_are_there_whatever_the_copy_holds(tmp_path: Path) -> None:
    corpus = read_corpus(urbansound8k.write(tmp_path))
    assert len(corpus.classes) == 10
    for number, name in urbansound8k.CLASSES.items():
        assert corpus.classes[number] == name


def test_fold_9_validates_and_fold_10_tests(tmp_path: Path) -> None:
    corpus = read_corpus(urbansound8k.write(tmp_path))
    splits = {clip.path.split("/")[1]: clip.split for clip in corpus.clips}
    assert (splits["fold9"], splits["fold10"]) == ("validation", "test")
    assert Counter(splits.values())["train"] == 8
    assert corpus.notes == (
        f"1 of 30 listed clips are not there, first: audio/fold1/{urbansound8k.MISSING}",
    )


def test_fold_1_is_not_fold_10(tmp_path: Path) -> None:
    corpus = read_corpus(f"{urbansound8k.write(tmp_path)}?validation_folds=2&test_folds=1")
    splits = {clip.path.split("/")[1]: clip.split for clip in corpus.clips}
    assert (splits["fold1"], splits["fold2"], splits["fold10"]) == ("test", "validation", "train")


def test_folds_that_are_not_there_or_in_two_splits_are_reported_in_order(tmp_path: Path) -> None:
    message = refusal(f"{urbansound8k.write(tmp_path)}?test_folds=0;9")
    assert "no clip in fold '0' of test_folds; folds: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10" in message
    assert "fold '9' is in validation_folds=9 and in test_folds=0;9" in message


def test_a_class_under_another_number_is_rejected(tmp_path: Path) -> None:
    urbansound8k.write(tmp_path)
    text = (tmp_path / METADATA).read_text()
    changed = text.replace("1,1,3,dog_bark", "1,1,4,dog_bark").replace(
        "1,2,3,dog_bark", "1,2,3,dog"
    )
    (tmp_path / METADATA).write_text(changed)
    message = refusal(f"urbansound8k:{tmp_path}")
    assert "line 3: class 'dog_bark' has classID '4', expected 3" in message
    assert "line 6: unknown label 'dog'" in message


def test_a_folder_without_its_list_is_reported_by_name(tmp_path: Path) -> None:
    assert METADATA in refusal(f"urbansound8k:{tmp_path}")


def test_a_fold_that_is_a_path_does_not_leave_the_corpus(tmp_path: Path) -> None:
    urbansound8k.write(tmp_path)
    text = (tmp_path / METADATA).read_text().replace("1,1,0,air", "1,/../../..,0,air")
    (tmp_path / METADATA).write_text(text)
    message = refusal(f"urbansound8k:{tmp_path}")
    assert "path 'audio/fold/../../../100000-0-0-0.wav' leaves the corpus folder" in message
