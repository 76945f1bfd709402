"""A clone without Git LFS: what lies in the place of recordings, shards and weights is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache_schema.errors import RunError, UsageError
from cache_schema.git_lfs import POINTER, is_pointer
from pipeline.audio.decode import scan_header
from pipeline.corpora import read_corpus
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from student.predict.recordings import UnusableRecording, read_recording

CONTENT = (
    f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0123456789abcdef' * 4}\nsize 12345\n"
)


def pointer(path: Path) -> Path:
    path.write_text(CONTENT)
    assert is_pointer(path)
    return path


def test_only_a_small_file_of_its_form_is_a_pointer(tmp_path: Path) -> None:
    for content in ("version 1", "", CONTENT + 2000 * "x"):
        (tmp_path / "a").write_text(content)
        assert not is_pointer(tmp_path / "a")


def test_a_recording(tmp_path: Path) -> None:
    path = pointer(tmp_path / "a.wav")
    assert scan_header(path).problem == POINTER
    with pytest.raises(UnusableRecording, match="Git LFS pointer"):
        list(read_recording(path, 16_000))


def test_a_shard(tmp_path: Path) -> None:
    pointer(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match=r"train\.parquet: a Git LFS pointer.*git lfs pull"):
        read_corpus(f"hugging-face:{tmp_path}")


def test_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    pointer(tmp_path / "model.safetensors")
    with pytest.raises(RunError, match=r"model\.safetensors is a Git LFS pointer"):
        open_checkpoint(str(tmp_path), ["whisper"])
