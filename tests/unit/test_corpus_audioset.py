"""AudioSet: its lists, the names that downloaders give files, and clips that are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_corpora import audioset

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_corpus(text)
    return str(caught.value)


def paths(text: str) -> dict[str, str]:
    return {clip.id: clip.path for clip in read_corpus(text).clips}


def test_every_habit_of_naming_files_is_understood(tmp_path: Path) -> None:
    found = paths(f"{audioset.write(tmp_path)}&train=full")
    assert set(found.values()) == {f"audio/{name}" for name in audioset.FILES}
    assert all(video in path for video, path in found.items())


def test_the_evaluation_list_tests_and_a_share_of_the_rest_validates(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    splits = {clip.id: clip.split for clip in read_corpus(text).clips}
    assert {video for video, split in splits.items() if split == "test"} == {
        "-0RWZT-miFs",
        "eeabcdefgh2",
    }
    assert set(splits.values()) == {"train", "validation", "test"}
    none = {clip.split for clip in read_corpus(f"audioset:{tmp_path}?validation=0").clips}
    assert none == {"train", "test"}


def test_a_share_that_is_none_is_rejected_by_its_name(tmp_path: Path) -> None:
    audioset.write(tmp_path)
    message = refusal(f"audioset:{tmp_path}?validation=1.5")
    assert "validation must be at least 0 and below 1, got validation=1.5" in message
    assert "and test" not in message


def test_classes_have_their_display_names_in_order(tmp_path: Path) -> None:
    corpus = read_corpus(audioset.write(tmp_path))
    assert corpus.classes == ("Speech", "Domestic animals, pets", "Car")
    assert corpus.clips[0].labels == ("Speech", "Car")
    assert corpus.task == "multi"


def test_clips_that_are_gone_are_counted_with_their_share(tmp_path: Path) -> None:
    [note] = read_corpus(audioset.write(tmp_path)).notes
    counted = "1 of 5 listed clips are not there (20.0 %), first: gone_for_ev"
    assert note == f"balanced_train_segments.csv: {counted}"


def test_a_folder_without_any_listed_clip_is_rejected(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    shutil.rmtree(tmp_path / "audio")
    assert "none of the listed clips is there" in refusal(text)


def test_lists_may_lie_in_metadata(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    before = paths(text)
    (tmp_path / "metadata").mkdir()
    for listing in tmp_path.glob("*.csv"):
        shutil.move(listing, tmp_path / "metadata")
    assert paths(text) == before


def test_another_piece_of_the_same_video_is_not_taken(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    folder = tmp_path / "audio/balanced_train_segments"
    (folder / "0abcdefgh-4_130.wav").rename(folder / "0abcdefgh-4_140.wav")
    assert "0abcdefgh-4" not in paths(text)


def test_a_second_copy_is_noted_and_the_first_by_path_used(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    (tmp_path / "audio/zzz").mkdir()
    shutil.copy(tmp_path / "audio/eval_segments/eeabcdefgh2.wav", tmp_path / "audio/zzz")
    corpus = read_corpus(text)
    assert "1 file(s) hold a clip that another file holds" in corpus.notes[0]
    assert paths(text)["eeabcdefgh2"] == "audio/eval_segments/eeabcdefgh2.wav"


def test_whole_videos_are_noted(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    path = tmp_path / "audio/eval_segments/eeabcdefgh2.wav"
    soundfile.write(path, np.full(12 * 1000, 0.1), 1000)
    assert "1 clip(s) are longer than 11 s" in read_corpus(text).notes[-1]


def test_every_bad_line_is_reported(tmp_path: Path) -> None:
    text = audioset.write(tmp_path)
    rows = ('short, 0.000, 10.000, "/m/0k4j"', 'abcdefghijk, 9.000, 3.000, "/m/0k4j"')
    unknown = 'abcdefghijk, 0.000, 3.000, "/m/0k4j,/m/none"'
    (tmp_path / "eval_segments.csv").write_text(audioset.segments((*rows, unknown)))
    message = refusal(text)
    assert "eval_segments.csv line 4: expected ID, start, end" in message
    assert "eval_segments.csv line 5: end 3.000 is not after start 9.000" in message
    assert "eval_segments.csv line 6: '/m/none' not in class_labels_indices.csv" in message


def test_missing_lists_are_named_together(tmp_path: Path) -> None:
    message = refusal(f"audioset:{tmp_path}?train=full")
    assert all(
        f"{name}.csv" in message
        for name in (
            "class_labels_indices",
            "balanced_train_segments",
            "unbalanced_train_segments",
            "eval_segments",
        )
    )
