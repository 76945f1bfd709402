"""What disk, network, permissions or memory refuse of a cache or a run is never taken for damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import small_cache

from cache_schema.errors import RunError
from cache_schema.integrity.verify import verify
from cache_schema.reader import open_cache
from cache_schema.store.files import remove_partials, sync, write_atomic
from cache_schema.store.safe_open import read_plain
from cache_schema.writer import write_unit
from pipeline.corpora.walk import files_below
from student.runs.checkpoint import load_state, load_student, read_json

REFUSALS = (errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOMEM, errno.ETIMEDOUT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache.write_small_cache(tmp_path_factory.mktemp("cache") / "c.zarr")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("begun") / "c.zarr"
    plan = small_cache.lay_out(root)
    for unit in range(3):
        write_unit(root, plan, unit, small_cache.rows(plan, unit))
    return root


class Disk:
    """Lets one file be opened no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.number = "", errno.EIO
        self._usual = os.open
        monkeypatch.setattr(os, "open", self._opened)

    def _opened(self, name: Any, *args: Any, **kwargs: Any) -> int:
        if str(name) == self.path:
            raise OSError(self.number, os.strerror(self.number), str(name))
        return self._usual(name, *args, **kwargs)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def read_everything(root: Path) -> None:
    cache = open_cache(root)
    for split in cache.splits:
        for unit in cache.units(split):
            cache.read_unit(unit, list(cache.signals))


@pytest.mark.parametrize("kind", ["cache", "begun"])
def test_no_object_that_cannot_be_read_is_called_damaged(
    disk: Disk, request: pytest.FixtureRequest, kind: str
) -> None:
    root: Path = request.getfixturevalue(kind)
    for position, key in enumerate(small_cache.tree_bytes(root)):
        disk.path, disk.number = str(root / key), REFUSALS[position % len(REFUSALS)]
        with pytest.raises(RunError, match="and repeat the command") as raised:
            verify(root)
        assert str(raised.value).startswith(
            f"{root / key} cannot be read: {os.strerror(disk.number)}. "
        )
    disk.path = ""
    assert verify(root) == []


def test_a_reader_names_what_cannot_be_read(disk: Disk, cache: Path) -> None:
    reported: dict[str, RunError] = {}
    for position, key in enumerate(small_cache.tree_bytes(cache)):
        disk.path, disk.number = str(cache / key), REFUSALS[position % len(REFUSALS)]
        try:
            read_everything(cache)
        except RunError as error:
            reported[key] = error
    for key, error in reported.items():
        assert str(error).startswith(f"{cache / key} cannot be read: ")
        assert error.kind == "unreadable"
    assert reported.keys() >= {
        "manifest.json",
        "parts/part-000/plan.json",
        "parts/part-000/index/index.json",
        "parts/part-000/index/row_usable/c/0",
        "parts/part-000/logits/c/3/0",
        "parts/part-001/layer_attention/c/0/0",
    }


@pytest.mark.parametrize("number", REFUSALS)
def test_a_run_that_cannot_be_read_is_not_damaged(tmp_path: Path, disk: Disk, number: int) -> None:
    disk.number = number
    for name, read in (
        ("config.json", read_json),
        ("training-state.pt", lambda p: load_state(p.parent)),
    ):
        path = tmp_path / name
        path.write_bytes(b"{}")
        disk.path = str(path)
        with pytest.raises(RunError, match="cannot be read") as raised:
            read(path)
        assert str(path) in str(raised.value)
        assert "delete" not in str(raised.value)


def test_what_is_no_plain_file_of_a_run_is_said_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "training-state.pt").mkdir()
    with pytest.raises(RunError, match=r"another version wrote it \(is no plain file\)\. Choose"):
        load_state(tmp_path)
    (tmp_path / "model.safetensors").symlink_to("elsewhere")
    config = {"student": "tc-resnet", "student_options": {}, "classes": ["a", "b"]}
    with pytest.raises(
        RunError, match="of a tc-resnet: is a link, which is not followed"
    ) as raised:
        load_student(tmp_path, config)
    assert "Errno" not in str(raised.value)


def test_what_is_in_the_way_of_an_object_is_named_and_not_its_draft(tmp_path: Path) -> None:
    (tmp_path / "table.md").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        write_atomic(tmp_path / "table.md", b"1")
    assert raised.value.filename == str(tmp_path / "table.md")
    assert os.listdir(tmp_path) == ["table.md"]


def test_a_folder_that_cannot_be_listed_is_no_fault_of_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog").mkdir()
    usual = os.scandir

    def refused(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return usual(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(RunError, match="dog cannot be read: "):
        files_below(tmp_path)


def test_what_cannot_be_synced_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match="Input/output error") as raised:
        sync(tmp_path)
    assert raised.value.filename == str(tmp_path)


def test_what_a_disk_has_lost_can_be_made_again(disk: Disk, cache: Path, tmp_path: Path) -> None:
    """Of a cache, but for what nothing but a copy can bring back."""
    for key in small_cache.tree_bytes(cache):
        disk.path, disk.number = str(cache / key), errno.EIO
        with pytest.raises(RunError) as raised:
            verify(cache)
        reported = str(raised.value)
        again = (
            f"rm {cache / key}, then precompute-teacher CORPUS --teacher TEACHER --out {cache} "
            "--repair"
        )
        assert reported.endswith(again) == (Path(key).name not in ("manifest.json", "plan.json"))
    disk.number = errno.EACCES  # that the file is lost is not reported of what may yet be readable
    with pytest.raises(RunError, match=r"and repeat the command\.$"):
        verify(cache)
    elsewhere = tmp_path / "training-state.pt"
    elsewhere.touch()
    disk.path, disk.number = str(elsewhere), errno.EIO
    with pytest.raises(RunError, match=r"and repeat the command\.$"):
        read_plain(elsewhere)


def test_a_draft_that_was_taken_for_a_killed_writers_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the slice that seals, while another writes a unit that is there already."""
    usual, swept = Path.replace, 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal swept
        swept += 1
        if swept == 1:
            remove_partials(tmp_path)
        return usual(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_atomic(tmp_path / "c/0", b"whole")
    assert (swept, (tmp_path / "c/0").read_bytes()) == (2, b"whole")
    assert os.listdir(tmp_path / "c") == ["0"]
