"""Splits of lists: by speaker, session or place, or by a manifest of each."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.interface import hashed_split


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Recordings of twenty speakers, three each, and lists of them."""
    rows = []
    for speaker in range(20):
        for take in range(3):
            path = f"{speaker}-{take}.wav"
            soundfile.write(tmp_path / path, np.full(800, 0.1), 8_000)
            rows.append({"path": path, "label": "ab"[take % 2], "speaker": f"s{speaker}"})
    with (tmp_path / "all.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, part in (("train", rows[:40]), ("dev", rows[40:50]), ("eval", rows[50:])):
        lines = "".join(f"{row['path']},{row['label']}\n" for row in part)
        (tmp_path / f"{name}.csv").write_text(f"path,label\n{lines}")
    return tmp_path


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_speaker_stays_in_one_split(sounds: Path, kind: str) -> None:
    corpus = read_corpus(f"{kind}:{sounds}/all.{kind}?group=speaker&validation=0.3&test=0.3")
    splits: dict[str, set[str]] = {}
    for clip in corpus.clips:
        splits.setdefault(clip.path.partition("-")[0], set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {
        "train",
        "validation",
        "test",
    }
    assert splits["7"] == {hashed_split("s7", validation=0.3, test=0.3)}
    by_path = read_corpus(f"{kind}:{sounds}/all.{kind}?validation=0.3&test=0.3")
    assert {c.id: c.split for c in by_path.clips} != {c.id: c.split for c in corpus.clips}


def test_a_group_beside_splits_is_kept_and_chooses_none(sounds: Path) -> None:
    (sounds / "two.csv").write_text("path,label,split,who\n0-0.wav,a,train,s0\n0-1.wav,b,test,s0\n")
    corpus = read_corpus(f"csv:{sounds}/two.csv?group=who")
    assert [(clip.split, clip.group) for clip in corpus.clips] == [("train", "s0"), ("test", "s0")]
    assert "stratify=true chooses splits, and the list has its own" in refusal(
        f"csv:{sounds}/two.csv?group=who&stratify=true"
    )
    shares = refusal(f"csv:{sounds}/two.csv?group=who&validation=0.3&test=0.2")
    for share in ("validation=0.3", "test=0.2"):
        assert f"{share} is a share of clips whose split is chosen, and every clip" in shares
    missing = refusal(f"csv:{sounds}/all.csv?group=session")
    assert "group=session: no column of that name" in missing


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_stratified_splits_keep_groups_whole_and_have_every_class(sounds: Path, kind: str) -> None:
    corpus = read_corpus(f"{kind}:{sounds}/all.{kind}?group=speaker&stratify=true")
    splits: dict[str, set[str]] = {}
    classes: dict[str, set[str]] = {}
    for clip in corpus.clips:
        splits.setdefault(clip.group, set()).add(clip.split)
        classes.setdefault(clip.split, set()).update(clip.labels)
    assert len(splits) == 20
    assert all(len(found) == 1 for found in splits.values())
    assert classes == {split: {"a", "b"} for split in ("train", "validation", "test")}
    counts = [sum(c.split == split for c in corpus.clips) for split in ("validation", "test")]
    assert counts == [6, 6]  # a tenth of 60


def test_each_split_has_a_manifest(sounds: Path) -> None:
    corpus = read_corpus(f"csv:{sounds}/train.csv?validation_list=dev.csv&test_list=eval.csv")
    counts = {
        split: sum(c.split == split for c in corpus.clips) for split in ("train", "validation")
    }
    assert counts == {"train": 40, "validation": 10}
    assert sum(clip.split == "test" for clip in corpus.clips) == 10
    assert corpus.classes == ("a", "b")


def test_what_is_wrong_with_manifests_of_splits_names_file_and_line(sounds: Path) -> None:
    assert "test_list=none.csv names no file" in refusal(
        f"csv:{sounds}/train.csv?test_list=none.csv"
    )
    (sounds / "bad.csv").write_text("path,label,split\n0-0.wav,a,train\n")
    message = refusal(f"csv:{sounds}/train.csv?test_list=bad.csv")
    assert "bad.csv line 2: split 'train' in a manifest of one split" in message
    (sounds / "twice.csv").write_text("path,label\n0-0.wav,a\n")
    message = refusal(f"csv:{sounds}/train.csv?test_list=twice.csv")
    assert "twice.csv line 2: id '0-0' is already that of train.csv line 2" in message


def test_a_group_that_is_no_column_is_reported_with_those_that_are_there(sounds: Path) -> None:
    message = refusal(f"csv:{sounds}/all.csv?group=Speaker")
    assert "group=Speaker: no column of that name" in message
    assert "group=... names one of the columns that are there: speaker" in message
    assert "Read it as" not in message
    message = refusal(f"csv:{sounds}/all.csv?group=who")
    assert "group=... names one of the columns that are there: speaker" in message
    message = refusal(f"jsonl:{sounds}/all.jsonl?group=who")
    assert "group=who: no line has that field; found: label, path, speaker" in message


@pytest.mark.parametrize(
    ("query", "column", "fields"),
    [
        ("group=label", "label", "group and label"),
        ("group=path", "path", "group and path"),
        ("label=path", "path", "label and path"),
        ("group=speaker&split=speaker", "speaker", "split and group"),
    ],
)
def test_one_column_cannot_be_two_fields(
    sounds: Path, query: str, column: str, fields: str
) -> None:
    for kind in ("csv", "jsonl"):
        message = refusal(f"{kind}:{sounds}/all.{kind}?{query}")
        assert f"{column!r} cannot be both {fields}" in message
        assert "missing" not in message, "it is there"
        without = query.split("&")[-1] if "split=" in query else query
        assert f", with your other options but {without}" in message.split("Read it as")[-1]


def test_the_splits_of_a_list_are_no_groups(sounds: Path) -> None:
    (sounds / "splits.csv").write_text("path,label,split\n0-0.wav,a,train\n1-0.wav,a,test\n")
    message = refusal(f"csv:{sounds}/splits.csv?group=split")
    assert "column 'split' cannot be both group and split; name another with ?group=" in message


def test_groups_are_numbers_too_and_a_clip_without_one_stands_alone(sounds: Path) -> None:
    rows = [{"path": f"{n}-0.wav", "label": "a", "speaker": 7} for n in range(4)]
    rows.append({"path": "9-0.wav", "label": "a"})
    (sounds / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_corpus(f"jsonl:{sounds}/numbers.jsonl?group=speaker&validation=0.5&test=0")
    shares = {"validation": 0.5, "test": 0.0}
    assert {c.split for c in found.clips[:4]} == {hashed_split("7", **shares)}
    assert found.clips[4].split == hashed_split("9-0", **shares)


def test_a_list_of_a_split_with_other_columns_is_reported_with_those_of_the_first(
    sounds: Path,
) -> None:
    (sounds / "other.csv").write_text("file,class\n1-0.wav,a\n")
    message = refusal(f"csv:{sounds}/train.csv?validation_list=other.csv")
    assert "missing column: path" in message
    assert message.endswith(
        "The lists of one corpus have the same columns: give other.csv those of train.csv"
    )


def test_lists_of_splits_and_folds_are_rejected_together(sounds: Path) -> None:
    message = refusal(f"csv:{sounds}/train.csv?test_list=eval.csv&validation_folds=1")
    assert "leave out the ones or the others" in message


def test_a_column_of_speakers_is_proposed_where_recordings_choose_splits(sounds: Path) -> None:
    found = read_corpus(f"csv:{sounds}/all.csv")
    advice = "if each speaker is to stay in one, add ?group=speaker"
    assert any(note.endswith(advice) for note in found.notes)
    assert not any(
        "group" in note for note in read_corpus(f"csv:{sounds}/all.csv?group=speaker").notes
    )
    (sounds / "sites.csv").write_text("file,class,Site\n0-0.wav,a,x\n")
    assert "?path=file&label=class&group=Site'" in refusal(f"csv:{sounds}/sites.csv")
    (sounds / "own.csv").write_text("file,class,Site,split\n0-0.wav,a,x,train\n")
    assert "?path=file&label=class&unknown=ignore'" in refusal(f"csv:{sounds}/own.csv")


def test_a_clip_without_a_label_is_unlabelled_or_a_negative(sounds: Path) -> None:
    lines = ["path,labels", "0-0.wav,a;b", "0-1.wav,", "0-2.wav,a"]
    (sounds / "tags.csv").write_text("\n".join(lines))
    found = read_corpus(f"csv:{sounds}/tags.csv")
    assert [clip.labelled for clip in found.clips] == [True, False, True]
    assert any("1 clip(s) without a label count as unlabelled" in note for note in found.notes)
    found = read_corpus(f"csv:{sounds}/tags.csv?empty=negative")
    assert [clip.none_present for clip in found.clips] == [False, True, False]
    assert not found.notes
