"""Audio folders with metadata: splits, labels, and what is reported where the two do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from small_corpora import audio_folder

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus

ALL_TRAIN = "validation_share=0&test_share=0"


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def audio(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, [0.1] * 800, 8000)


def listed(folder: Path, *rows: object) -> str:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"audio-folder:{folder}?{ALL_TRAIN}"


def test_splits_labels_and_missing_files(tmp_path: Path) -> None:
    corpus = read_corpus(audio_folder.write(tmp_path))
    assert [(clip.id, clip.labels, clip.split) for clip in corpus.clips] == [
        ("test/audio/a", ("cat",), "test"),
        ("test/audio/b", ("dog",), "test"),
        ("train/audio/a", ("cat",), "train"),
        ("train/audio/b", ("dog",), "train"),
        ("validation/audio/a", ("cat",), "validation"),
    ]
    assert corpus.notes == (
        "1 of 6 listed clips are not there, first: validation/audio/c.wav",
        "1 audio files are not in any metadata, first: validation/audio/b.wav",
    )


def test_one_list_at_the_top_names_files_in_split_folders(tmp_path: Path) -> None:
    audio(tmp_path, "data/train/a.wav", "data/test/b.wav")
    rows = [{"file_name": f"data/{name}.wav", "label": 3} for name in ("train/a", "test/b")]
    corpus = read_corpus(listed(tmp_path, *rows))
    assert {(clip.split, clip.labels) for clip in corpus.clips} == {
        ("train", ("3",)),
        ("test", ("3",)),
    }


def test_a_list_of_labels_makes_the_corpus_multi_label(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav", "b.wav")
    rows = [{"file_name": "a.wav", "tags": ["x", "y"]}, {"file_name": "b.wav", "tags": None}]
    corpus = read_corpus(listed(tmp_path, *rows) + "&label=tags")
    assert (corpus.task, corpus.classes) == ("multi", ("x", "y"))
    assert corpus.clips[1].labels == ()


def test_labels_are_not_needed(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav")
    text = listed(tmp_path, {"file_name": "a.wav"})
    assert read_corpus(f"{text}&label=none").classes == ()
    assert "metadata.jsonl line 1: needed file_name, label; found: file_name" in refusal(text)


def test_a_folder_without_metadata_is_sent_to_the_other_kind(tmp_path: Path) -> None:
    audio(tmp_path, "dog/a.wav")
    assert f"read folder:{tmp_path}" in refusal(f"audio-folder:{tmp_path}")


def test_what_is_wrong_with_metadata_is_all_reported(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav")
    rows = [
        {"file_name": "../a.wav", "label": "x"},
        {"file_name": 3, "label": "x"},
        {"file_name": "a.wav", "label": {"x": 1}},
        {"file_name": "a.wav", "label": 0.5},
        ["a.wav"],
    ]
    text = listed(tmp_path, *rows)
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write("{\n")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,x\n")
    message = refusal(text)
    for wanted in (
        "both metadata.csv and metadata.jsonl",
        "line 2: file_name is 3",
        "line 3: label is {'x': 1}",
        "line 4: label is 0.5",
        "line 5: needed file_name, label; found: list",
        "line 6: not JSON",
        "id 'a' is already that of",
        "leaves the corpus folder",
    ):
        assert wanted in message


def test_metadata_without_its_columns_is_rejected(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav")
    (tmp_path / "metadata.csv").write_text("file,label\na.wav,x\n")
    assert "lacks the column(s) file_name" in refusal(f"audio-folder:{tmp_path}")
