"""Chunks from afar in a folder of this machine: read once, never wrong, never too many."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_cache
from object_server import ObjectServer
from store_client import ROOT, faulty_store

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

from cache_schema.errors import RunError, UsageError
from cache_schema.reader import open_cache
from cache_schema.store import local_copy
from cache_schema.store.files import sha256
from cache_schema.store.local_copy import SUM, VARIABLE, LocalCopy

CHUNKS = 25  # five signals of five units


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, local: Path) -> Iterator[ObjectServer]:
    with faulty_store(monkeypatch) as found:
        for key, data in small_cache.tree_bytes(local).items():
            found.objects[f"{ROOT.key}/{key}"] = data
        yield found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache.copy_small_cache(tmp_path_factory.mktemp("cache") / "small.zarr")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, f"{tmp_path}/copies: of mine:1MB")
    return tmp_path / "copies: of mine"


def rows(place: object) -> str:
    """Digest of everything that an epoch reads."""
    cache, found = open_cache(str(place)), b""
    for split in cache.splits:
        for unit in cache.units(split):
            read = cache.read_unit(unit, list(cache.signals))
            found += b"".join(
                getattr(v, "values", v).tobytes() for v in (read.clip, *read.signals.values())
            )
    return sha256(found)


def chunk_requests(server: ObjectServer) -> int:
    return sum(
        "/index/" not in key and "/c/" in key and "/parts/" in key for _, key in server.requests
    )


def kept(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.name != SUM}


def test_a_second_epoch_makes_no_request_for_chunks(
    server: ObjectServer, local: Path, folder: Path
) -> None:
    assert rows(ROOT) == rows(local)
    assert chunk_requests(server) == len(kept(folder)) == CHUNKS
    server.requests.clear()
    assert rows(ROOT) == rows(local)
    assert rows(server.web(ROOT.key)) == rows(local), "the same chunks, by another address"
    assert chunk_requests(server) == 0
    assert all(sha256((folder / name).read_bytes()) == name for name in kept(folder))


def test_a_cache_on_this_machine_is_not_copied(local: Path, folder: Path) -> None:
    rows(local)
    assert not folder.exists()


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [flip, link, Path.unlink, lambda p: p.write_bytes(b""), lambda p: os.truncate(p, 7)],
    ids=["flipped", "link", "deleted", "emptied", "truncated"],
)
def test_what_is_damaged_here_is_read_from_afar_again(
    server: ObjectServer, local: Path, folder: Path, damage: Callable[[Path], object]
) -> None:
    rows(ROOT)
    for name in list(kept(folder))[:3]:
        damage(folder / name)
    server.requests.clear()
    assert rows(ROOT) == rows(local)
    assert 1 <= chunk_requests(server) <= 3
    server.requests.clear()
    assert rows(ROOT) == rows(local)
    assert chunk_requests(server) == 0


def test_another_cache_at_the_same_address_is_not_taken_for_the_old_one(
    server: ObjectServer, local: Path, folder: Path, tmp_path: Path
) -> None:
    rows(ROOT)
    other = tmp_path / "other.zarr"
    plan = small_cache.lay_out(other)
    for unit in range(5):
        made = small_cache.rows(plan, unit)
        for row in made:
            row.signals.update(waveform=row.signals["waveform"] + 1) if row.signals else None
        small_cache.write_unit(other, plan, unit, made)
    small_cache.seal(other, plan)
    server.objects.clear()
    for key, data in small_cache.tree_bytes(other).items():
        server.objects[f"{ROOT.key}/{key}"] = data
    assert rows(ROOT) == rows(other) != rows(local)


def chunk(number: int, size: int = 30) -> tuple[str, np.ndarray]:
    data = bytes([number]) * size
    return sha256(data), np.frombuffer(data, np.uint8)


def test_the_limit_holds_and_what_was_unread_for_longest_goes(tmp_path: Path) -> None:
    copy = LocalCopy(tmp_path, 100)
    (tmp_path / "mine.txt").write_bytes(b"m" * 500)
    (tmp_path / ("a" * 64)).mkdir()
    for number in (1, 2, 3):
        copy.keep(*chunk(number))
        os.utime(tmp_path / chunk(number)[0], (number, number))
    copy.read(chunk(1)[0], lambda size: np.empty(size, np.uint8))
    copy.keep(*chunk(4))
    left = [number for number in range(6) if (tmp_path / chunk(number)[0]).is_file()]
    assert left == [1, 3, 4]
    copy.keep(*chunk(5, size=101))
    assert not (tmp_path / chunk(5, size=101)[0]).exists()
    assert (tmp_path / "mine.txt").stat().st_size == 500
    assert (tmp_path / ("a" * 64)).is_dir()


@pytest.mark.parametrize("text", [b"", b"not a number", b"9" * 40, b"0"])
def test_a_sum_that_is_wrong_is_put_right(tmp_path: Path, text: bytes) -> None:
    copy = LocalCopy(tmp_path, 100)
    copy.keep(*chunk(1))
    stale = tmp_path / f"{'b' * 64}.1-2.partial"
    stale.write_bytes(b"of a killed writer")
    os.utime(stale, (1, 1))
    (tmp_path / SUM).write_bytes(text)
    for number in range(2, 8):
        copy.keep(*chunk(number))
    assert sum(kept(tmp_path).values()) <= 100 or text == b"0"
    for number in range(8, 12):
        copy.keep(*chunk(number))
    assert sum(kept(tmp_path).values()) <= 100
    assert not stale.exists()


WRITER = """
import sys, numpy as np
from pathlib import Path
from cache_schema.store.files import sha256
from cache_schema.store.local_copy import LocalCopy
copy = LocalCopy(Path(sys.argv[1]), 2000)
for number in range(200):
    data = (number + int(sys.argv[2])).to_bytes(2, "big") * 50
    copy.keep(sha256(data), np.frombuffer(data, np.uint8))
"""


def test_processes_and_threads_share_a_folder(tmp_path: Path) -> None:
    def write(first: int) -> int:
        words = [sys.executable, "-c", WRITER, str(tmp_path), str(first)]
        return subprocess.run(words, check=False, timeout=120).returncode

    copy = LocalCopy(tmp_path, 2000)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(write, first) for first in (0, 150)]
        while not all(future.done() for future in running):
            list(pool.map(lambda number: copy.keep(*chunk(number, 100)), range(8)))
            assert total_bytes(tmp_path) <= 2000
        assert [future.result() for future in running] == [0, 0]
    assert all(sha256((tmp_path / name).read_bytes()) == name for name in kept(tmp_path))


def total_bytes(folder: Path) -> int:
    """Sum of sizes at one moment: no writer changes the files while the lock is held."""
    with LocalCopy(folder, 2000)._locked_sum():
        return sum(kept(folder).values())


def test_a_full_disk_ends_no_training(
    server: ObjectServer, local: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local_copy, "open_for_writing", full)
    assert rows(ROOT) == rows(local)
    assert kept(folder) == {}


@pytest.mark.parametrize("text", ["/tmp/x", "/tmp/x:", "/tmp/x:5", "/tmp/x:-1GB", ":5GB", "5GB"])
def test_a_folder_without_a_limit_is_a_usage_error(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UsageError, match=r"AFTERSOUND_LOCAL_COPY=/scratch/chunks:200GB"):
        open_cache(str(ROOT))


def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_read(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, f"{tmp_path / 'file'}:5GB")
    with pytest.raises(RunError, match="cannot be written"):
        open_cache(str(ROOT))
    assert chunk_requests(server) == 0
