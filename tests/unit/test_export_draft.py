"""An export is all there or not at all, and takes nothing of anybody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cache_schema.errors import RunError, UsageError
from student.export.draft import draft_of, drafts_left


def make(out: Path) -> None:
    with draft_of(out) as draft:
        (draft / "model").write_bytes(b"1")


def test_the_draft_becomes_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    make(out)
    assert [path.name for path in out.iterdir()] == ["model"]
    assert os.listdir(out.parent) == ["out"]
    mask = os.umask(0)
    os.umask(mask)
    assert out.stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_folder_shared_by_a_group_stays_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    make(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & stat.S_ISGID


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    assert (tmp_path / "out" / "model").exists()


def make_half(out: Path, error: type[BaseException]) -> None:
    with draft_of(out) as draft:
        (draft / "half").write_bytes(b"1")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        make_half(tmp_path / "a" / "b" / "out", error)
    assert os.listdir(tmp_path) == []


def test_a_strangers_partial_folder_stays(tmp_path: Path) -> None:
    stranger = tmp_path / "out.partial"
    stranger.mkdir()
    (stranger / "precious").write_bytes(b"1")
    make(tmp_path / "out")
    assert (stranger / "precious").exists()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "mine.partial").write_bytes(b"1")
    with pytest.raises(UsageError, match="is not empty"):
        make(tmp_path / "second")
    assert (tmp_path / "second" / "mine.partial").exists()


def fill(out: Path) -> None:
    out.mkdir()
    (out / "mine").write_bytes(b"1")


def link(out: Path) -> None:
    out.symlink_to(out.parent / "elsewhere")


@pytest.mark.parametrize("put", [fill, link, Path.touch])
def test_what_is_there_is_rejected_before_any_work(tmp_path: Path, put: object) -> None:
    put(tmp_path / "out")  # type: ignore[operator]
    before = os.listdir(tmp_path)
    with pytest.raises(UsageError, match="Choose another --out"), draft_of(tmp_path / "out"):
        raise AssertionError("work was begun")
    assert os.listdir(tmp_path) == before


def test_a_link_to_an_empty_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "disk/place").mkdir(parents=True)
    (tmp_path / "out").symlink_to("disk/place")
    with draft_of(tmp_path / "out") as draft:
        assert draft.parent == tmp_path / "disk"
        (draft / "made").touch()
    assert os.listdir(tmp_path / "disk/place") == ["made"]
    assert (tmp_path / "out").is_symlink()
    assert os.listdir(tmp_path / "disk") == ["place"]


def test_what_comes_in_between_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RunError, match="filled by something else while"), draft_of(out):
        fill(out)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == ["mine"]


def test_a_place_that_cannot_be_written_is_rejected_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(OSError, match="file"), draft_of(tmp_path / "file" / "out"):
        raise AssertionError("work was begun")


def test_what_a_kill_leaves_is_found_by_the_next_export(tmp_path: Path) -> None:
    (tmp_path / "out.abcd_123.partial").mkdir()
    for other in ("out.partial", "outer.abcd_123.partial", "out.abcd_123"):
        (tmp_path / other).mkdir()
    with draft_of(tmp_path / "out"):
        pass
    assert drafts_left(tmp_path / "out") == [tmp_path / "out.abcd_123.partial"]
