"""The Free Spoken Digit Dataset: its names are its list."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from small_corpora import fsdd

from cache_schema.errors import UsageError
from pipeline.corpora import read_corpus


def test_the_index_gives_the_split(tmp_path: Path) -> None:
    corpus = read_corpus(fsdd.write(tmp_path))
    assert corpus.classes == tuple("0123456789")
    splits: dict[str, set[int]] = {}
    for clip in corpus.clips:
        splits.setdefault(clip.split, set()).add(int(clip.id.split("_")[2]))
    assert splits == {"test": {0, 1, 2, 3, 4}, "validation": {5, 6, 7, 8, 9}, "train": {10, 11}}


def test_the_folder_of_the_recordings_gives_the_same_clips(tmp_path: Path) -> None:
    whole = read_corpus(fsdd.write(tmp_path))
    inner = read_corpus(f"fsdd:{tmp_path / 'recordings'}")
    assert whole == inner
    assert whole.clips[0].id == "0_jackson_0"


def test_files_that_are_no_audio_are_counted(tmp_path: Path) -> None:
    fsdd.write(tmp_path)
    (tmp_path / "recordings/notes.txt").write_text("x")
    corpus = read_corpus(f"fsdd:{tmp_path}")
    assert corpus.notes == ("1 file(s) without an audio suffix left out: .txt 1",)


@pytest.mark.parametrize("name", ["seven_theo_1", "7_theo", "7_theo_x", "10_theo_1", "7_a_b_1"])
def test_a_recording_with_another_name_is_rejected(tmp_path: Path, name: str) -> None:
    fsdd.write(tmp_path)
    (tmp_path / f"recordings/{name}.wav").write_bytes(b"")
    with pytest.raises(UsageError, match=f"{name}.wav: not named DIGIT_SPEAKER_INDEX"):
        read_corpus(f"fsdd:{tmp_path}")


def test_recordings_that_are_a_link_are_not_followed(tmp_path: Path) -> None:
    fsdd.write(tmp_path / "there")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/recordings").symlink_to(tmp_path / "there/recordings")
    with pytest.raises(UsageError, match="recordings: a link to a folder"):
        read_corpus(f"fsdd:{tmp_path / 'here'}")


def test_real_spoken_digits_have_the_official_test_set(shared_dir: Path) -> None:
    corpus = read_corpus(f"fsdd:{shared_dir / 'data/fsdd'}")
    counts = Counter((clip.split, clip.labels[0]) for clip in corpus.clips)
    for digit in corpus.classes:
        assert counts["test", digit] == counts["validation", digit] == 5 * 6
        assert counts["train", digit] == 40 * 6
