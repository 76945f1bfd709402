"""FSD50K: the official split, the order of its classes, and what a damaged copy is reported as."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_corpora import fsd50k

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def test_the_official_split_and_labels_are_kept(tmp_path: Path) -> None:
    corpus = read_corpus(fsd50k.write(tmp_path))
    assert {clip.id: (clip.split, clip.labels) for clip in corpus.clips} == {
        "64760": ("train", ("Bark", "Dog")),
        "16399": ("train", ("Accordion",)),
        "16401": ("validation", ("Bark", "Dog")),
        "37199": ("test", ("Bark", "Dog")),
        "37200": ("test", ("Accordion",)),
    }
    assert corpus.classes == ("Accordion", "Bark", "Dog")
    assert corpus.task == "multi"


def test_missing_clips_are_counted(tmp_path: Path) -> None:
    [note] = read_corpus(fsd50k.write(tmp_path)).notes
    assert "dev.csv: 1 of 4 listed clips are not there (25.0 %), first: 16402" in note


def test_a_copy_without_audio_is_rejected(tmp_path: Path) -> None:
    text = fsd50k.write(tmp_path)
    shutil.rmtree(tmp_path / "FSD50K.dev_audio")
    shutil.rmtree(tmp_path / "FSD50K.eval_audio")
    assert "none of the listed clips is in FSD50K.dev_audio" in refusal(text)


def test_every_missing_list_is_named(tmp_path: Path) -> None:
    message = refusal(f"fsd50k:{tmp_path}")
    assert all(name in message for name in ("vocabulary.csv", "dev.csv", "eval.csv"))


def test_all_that_is_wrong_in_a_list_is_reported_with_its_line(tmp_path: Path) -> None:
    text = fsd50k.write(tmp_path)
    listing = tmp_path / "FSD50K.ground_truth/dev.csv"
    listing.write_text(
        'fname,labels,mids,split\n64760,"Bark,Dgo",/m/0,train\n16399,Dog,/m/0,dev\n16401,Dog\n'
    )
    message = refusal(text)
    assert "dev.csv line 2: unknown label 'Dgo', did you mean 'Dog'?" in message
    assert "dev.csv line 3: split 'dev', expected train or val" in message
    assert "dev.csv line 4: 2 cells, the header has 4" in message


def test_a_vocabulary_out_of_order_is_rejected(tmp_path: Path) -> None:
    text = fsd50k.write(tmp_path)
    (tmp_path / "FSD50K.ground_truth/vocabulary.csv").write_text("1,Dog,/m/0\n")
    assert "expected 0,label,mid as entry 0, got 1,Dog,/m/0" in refusal(text)


def test_two_files_of_one_name_are_rejected(tmp_path: Path) -> None:
    text = fsd50k.write(tmp_path)
    audio = tmp_path / "FSD50K.dev_audio"
    shutil.copy(audio / "64760.wav", audio / "64760.flac")
    assert "FSD50K.dev_audio/64760.wav has the name of FSD50K.dev_audio/64760.flac" in refusal(text)
