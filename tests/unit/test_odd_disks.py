"""Disks that have no modes, or cannot flush a folder, as exFAT and some network ones."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cache_schema.store.files import change_mode, sync, write_atomic


def test_a_folder_that_cannot_be_flushed_is_passed_over_and_a_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flushed(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    write_atomic(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    sync(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: refused(os.open(tmp_path, os.O_RDONLY)))
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "file")


def test_a_mode_that_cannot_be_changed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    change_mode(tmp_path, 0o700)
    monkeypatch.setattr(Path, "chmod", refused)
    change_mode(tmp_path, 0o755)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
