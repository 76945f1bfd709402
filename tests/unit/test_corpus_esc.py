"""ESC-50 and ESC-10: folds, subset, classes and what a damaged list is reported as."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from small_corpora import esc

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus

LIST = "meta/esc50.csv"


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def rewrite(folder: Path, *changes: tuple[str, str]) -> None:
    text = (folder / LIST).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / LIST).write_text(text)


def test_classes_are_in_the_order_of_their_targets(tmp_path: Path) -> None:
    assert read_corpus(esc.write(tmp_path)).classes == ("dog", "sea_waves", "chirping_birds")


def test_fold_4_validates_and_fold_5_tests(tmp_path: Path) -> None:
    clips = read_corpus(esc.write(tmp_path)).clips
    splits = {clip.id: clip.split for clip in clips}
    assert splits["4-100000-A-0"] == "validation"
    assert splits["5-100000-A-0"] == "test"
    assert Counter(splits.values()) == {"train": 8, "validation": 3, "test": 3}


def test_any_fold_may_be_held_out(tmp_path: Path) -> None:
    corpus = read_corpus(f"{esc.write(tmp_path)}?validation_folds=5&test_folds=1;2")
    splits = {clip.path.split("/")[1][0]: clip.split for clip in corpus.clips}
    assert splits == {"1": "test", "2": "test", "3": "train", "4": "train", "5": "validation"}


def test_a_fold_in_two_splits_is_rejected(tmp_path: Path) -> None:
    message = refusal(f"{esc.write(tmp_path)}?test_folds=4")
    assert "fold '4' is in validation_folds=4 and in test_folds=4" in message


def test_a_fold_that_is_not_there_is_rejected_with_the_others(tmp_path: Path) -> None:
    message = refusal(f"{esc.write(tmp_path)}?test_folds=6")
    assert "no clip in fold '6' of test_folds; folds: 1, 2, 3, 4, 5" in message


def test_esc_10_is_a_subset(tmp_path: Path) -> None:
    corpus = read_corpus(f"{esc.write(tmp_path)}?subset=10")
    assert corpus.classes == ("dog", "sea_waves")
    assert (len(corpus.clips), corpus.notes) == (10, ())


def test_the_list_may_lie_at_the_top_without_what_only_esc_50_needs(tmp_path: Path) -> None:
    esc.write(tmp_path)
    official = read_corpus(f"esc:{tmp_path}?subset=10")
    lines = (tmp_path / LIST).read_text().splitlines()
    kept = [",".join(line.split(",")[:4]) for line in lines if ",False," not in line]
    (tmp_path / "esc10.csv").write_text("\n".join(kept) + "\n")
    shutil.rmtree(tmp_path / "meta")
    assert read_corpus(f"esc:{tmp_path}").clips == official.clips
    assert read_corpus(f"esc:{tmp_path}?subset=10").clips == official.clips


def test_missing_clips_are_counted(tmp_path: Path) -> None:
    corpus = read_corpus(esc.write(tmp_path))
    assert len(corpus.clips) == 14
    assert corpus.notes == (f"1 of 15 listed clips are not there, first: audio/{esc.MISSING}",)


def test_a_corpus_of_which_all_clips_are_missing_is_rejected(tmp_path: Path) -> None:
    esc.write(tmp_path)
    shutil.rmtree(tmp_path / "audio")
    assert "15 of 15 listed clips are not there" in refusal(f"esc:{tmp_path}")


def test_a_folder_without_a_list_is_reported_with_where_it_is_looked_for(tmp_path: Path) -> None:
    assert "none of meta/esc50.csv, esc10.csv is there" in refusal(f"esc:{tmp_path}")


def test_all_that_is_wrong_with_a_list_is_reported_at_once(tmp_path: Path) -> None:
    esc.write(tmp_path)
    rewrite(
        tmp_path,
        ("1-100000-A-0.wav,1,0,dog", "1-100000-A-0.wav,1,zero,dog"),
        ("2-100000-A-0.wav,2,0,dog", "2-100000-A-0.wav,2,11,dog"),
        ("3-100000-A-0.wav,3,0,dog,True", "3-100000-A-0.wav,3"),
        ("4-100000-A-0.wav", "../meta/esc50.csv"),
    )
    message = refusal(f"esc:{tmp_path}")
    for part in (
        "line 4: target must be a whole number, got 'zero'",
        "target 0 with category 'dog': one of them recurs",
        "target 11 with category 'sea_waves': one of them recurs",
        "line 10: 4 cells, the header has 7",
        "line 13: 'audio/../meta/esc50.csv' goes up and down again; write 'meta/esc50.csv'",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "lacks the column(s) filename, fold, target, category, esc10; found: none"),
        (b"filename,fold,target,category\n", "lacks the column(s) esc10"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'filename,fold,target,category,esc10\n"a', ": a quote that opens there is not closed"),
    ],
)
def test_what_is_no_list_is_rejected(tmp_path: Path, content: bytes, wanted: str) -> None:
    esc.write(tmp_path)
    (tmp_path / LIST).write_bytes(content)
    assert wanted in refusal(f"esc:{tmp_path}")


def test_a_list_that_is_a_link_out_of_the_corpus_is_not_read(tmp_path: Path) -> None:
    esc.write(tmp_path / "corpus")
    (tmp_path / "secret.csv").write_text("password\n")
    (tmp_path / "corpus" / LIST).unlink()
    (tmp_path / "corpus" / LIST).symlink_to(tmp_path / "secret.csv")
    message = refusal(f"esc:{tmp_path / 'corpus'}")
    assert "leads out of the corpus by a link" in message
    assert "password" not in message


def test_real_esc_10_is_read_as_it_lies(shared_dir: Path) -> None:
    corpus = read_corpus(f"esc:{shared_dir / 'data/esc10'}")
    assert corpus.classes == (
        "dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing",
        "clock_tick", "helicopter", "chainsaw",
    )  # fmt: skip
    counts = Counter((clip.split, clip.labels[0]) for clip in corpus.clips)
    assert {counts["test", name] for name in corpus.classes} == {8}
    assert {counts["train", name] for name in corpus.classes} == {24}
    assert {clip.frames for clip in corpus.clips} == {80_000}
    assert corpus.notes == ()


def test_no_source_of_real_esc_10_is_in_two_splits(shared_dir: Path) -> None:
    split_of: dict[str, set[str]] = {}
    for clip in read_corpus(f"esc:{shared_dir / 'data/esc10'}").clips:
        split_of.setdefault(clip.id.split("-")[1], set()).add(clip.split)
    assert all(len(splits) == 1 for splits in split_of.values())
