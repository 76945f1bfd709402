"""SONYC-UST: whose annotation counts, how several become one, and the two levels of classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_corpora import sonyc_ust

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus
from pipeline.corpora.published.sonyc_ust import COARSE, FINE, OPEN_ENDED


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def labels(text: str) -> dict[str, tuple[str, ...]]:
    return {clip.id: clip.labels for clip in read_corpus(text).clips}


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_there_are_8_coarse_and_23_fine_classes_in_the_order_of_the_taxonomy() -> None:
    assert (len(COARSE), len(FINE)) == (8, 23)
    assert tuple(sonyc_ust.FINE) == COARSE
    assert tuple(tag for tag in sonyc_ust.FINE_TAGS if "-X_" not in tag) == FINE
    assert tuple(tag for tag in sonyc_ust.FINE_TAGS if "-X_" in tag) == OPEN_ENDED


def test_one_volunteer_is_enough_to_train_and_verified_annotations_test(tmp_path: Path) -> None:
    assert labels(sonyc_ust.write(tmp_path)) == {
        "01_000006": ("engine", "dog"),
        "02_000007": ("human-voice",),
        "00_000066": ("machinery-impact", "alert-signal"),
        "03_000100": ("music",),
    }


def test_a_majority_of_the_volunteers_can_be_requested(tmp_path: Path) -> None:
    found = labels(f"{sonyc_ust.write(tmp_path)}?labels=fine&aggregation=majority")
    assert found["01_000006"] == ("small-sounding-engine",)
    assert found["02_000007"] == ()
    assert found["00_000066"] == ("jackhammer", "siren")


def test_half_of_the_volunteers_are_no_majority(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    four = tuple(
        ("train", "01_000006.wav", n, ("5-3_siren",) if n < 3 else ()) for n in range(1, 5)
    )
    sonyc_ust.write_annotations(tmp_path / "annotations.csv", four)
    assert labels(f"{text}?aggregation=majority") == {"01_000006": ()}
    assert labels(f"{text}?aggregation=any") == {"01_000006": ("alert-signal",)}


def test_fine_classes_numbered_x_are_no_classes_and_noted(tmp_path: Path) -> None:
    corpus = read_corpus(f"{sonyc_ust.write(tmp_path)}?labels=fine")
    assert len(corpus.classes) == 23
    assert not any("unknown" in name or "uncertain" in name for name in corpus.classes)
    assert any("1 of 5 recordings have an unknown fine class" in note for note in corpus.notes)


def test_splits_are_the_releases(tmp_path: Path) -> None:
    clips = read_corpus(sonyc_ust.write(tmp_path)).clips
    assert [clip.split for clip in clips] == ["train", "train", "validation", "test"]


def test_a_held_out_recording_that_nobody_verified_is_left_out(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    rows = tuple(
        row for row in sonyc_ust.ANNOTATIONS if row[:3] != ("validate", "00_000066.wav", 0)
    )
    sonyc_ust.write_annotations(tmp_path / "annotations.csv", rows)
    corpus = read_corpus(text)
    assert "00_000066" not in labels(text)
    assert any("1 of 5 recordings left out" in note for note in corpus.notes)


def test_a_recording_without_a_tag_is_labelled_as_a_negative_of_all(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    rows = (*sonyc_ust.ANNOTATIONS[:-1], ("test", "03_000100.wav", 0, ()))
    sonyc_ust.write_annotations(tmp_path / "annotations.csv", rows)
    clips = read_corpus(text).clips
    assert [(clip.id, clip.labels) for clip in clips if clip.none_present] == [("03_000100", ())]
    assert all(clip.labelled for clip in clips)


def test_a_recording_with_an_unknown_fine_class_alone_is_no_negative(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    rows = (*sonyc_ust.ANNOTATIONS[:-1], ("test", "03_000100.wav", 0, (OPEN_ENDED[0],)))
    sonyc_ust.write_annotations(tmp_path / "annotations.csv", rows)
    fine, coarse = (read_corpus(f"{text}?labels={level}").clips[-1] for level in ("fine", "coarse"))
    assert (fine.labels, fine.labelled) == ((), False)
    assert (coarse.labels, coarse.labelled) == (("engine",), True)


def test_recordings_may_all_lie_in_audio(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    before = labels(text)
    (tmp_path / "audio").mkdir()
    for path in list(tmp_path.glob("*/*.wav")):
        shutil.move(path, tmp_path / "audio")
    assert labels(text) == before


def test_missing_columns_and_bad_cells_are_reported(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    listing = tmp_path / "annotations.csv"
    replace_text(listing, "train,1,01_000006.wav,11", "training,1,01_000006.wav,11")
    replace_text(listing, "train,1,01_000006.wav,12", "train,1,01_000006.wav,x")
    replace_text(listing, "train,2,02_000007.wav,12", "validate,2,02_000007.wav,12")
    message = refusal(text)
    assert "line 2: split 'training', expected one of train, validate, test" in message
    assert "line 3: invalid literal" in message
    assert "line 6: split validation, but train in annotations.csv line 5" in message
    replace_text(listing, "8_dog_presence", "8_dog")
    assert "annotations.csv lacks the column(s) 8_dog_presence" in refusal(text)


def test_a_folder_without_recordings_is_rejected(tmp_path: Path) -> None:
    text = sonyc_ust.write(tmp_path)
    for path in tmp_path.glob("*/*.wav"):
        path.unlink()
    assert "none of the recordings listed in annotations.csv is there" in refusal(text)
