"""One writer at a time, and a dead one does not block the next."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cache_schema.errors import RunError, UsageError
from cache_schema.store.lock import write_lock


def test_a_second_writer_is_rejected_with_the_first_ones_pid(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    with write_lock(cache):
        code = (
            "import sys; from pathlib import Path; from cache_schema.store.lock import write_lock\n"
            "with write_lock(Path(sys.argv[1])): pass"
        )
        run = subprocess.run([sys.executable, "-c", code, cache], capture_output=True, text=True)
        assert f"process {os.getpid()}" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from cache_schema.store.lock import write_lock\n"
        "with write_lock(Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "c"], check=False)
    assert (tmp_path / "c.lock").exists()
    with write_lock(tmp_path / "c"):
        assert json.loads((tmp_path / "c.lock").read_text())["pid"] == os.getpid()


def test_another_hosts_lock_is_never_broken(tmp_path: Path) -> None:
    (tmp_path / "c.lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    with pytest.raises(RunError, match="'elsewhere'"), write_lock(tmp_path / "c"):
        pass
    assert (tmp_path / "c.lock").exists()


def test_the_group_may_take_over_a_lock_that_a_dead_process_left(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with write_lock(tmp_path / "c"):
            assert (tmp_path / "c.lock").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_an_unreadable_lock_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "c.lock").write_text("{")
    with write_lock(tmp_path / "c"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"pid": 1}', b"null"])
def test_a_lock_file_of_garbage_is_taken_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.lock").write_bytes(content)
    with write_lock(tmp_path / "c"):
        assert json.loads((tmp_path / "c.lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_held_lock_is_rejected_though_its_file_is_empty(tmp_path: Path) -> None:
    with write_lock(tmp_path / "c"):
        (tmp_path / "c.lock").write_text("")
        with pytest.raises(RunError, match="is being written by another process"):
            hold(tmp_path / "c")


def test_a_lock_of_a_living_process_that_does_not_hold_it_is_taken_over(tmp_path: Path) -> None:
    mine = {"host": socket.gethostname(), "pid": os.getppid()}
    (tmp_path / "c.lock").write_text(json.dumps(mine))
    hold(tmp_path / "c")


def test_the_clock_has_no_say_in_whose_lock_it_is(tmp_path: Path) -> None:
    lock = tmp_path / "c.lock"
    with write_lock(tmp_path / "c"):
        for seconds in (0, 2**32):
            os.utime(lock, (seconds, seconds))
            with pytest.raises(RunError, match=f"process {os.getpid()}"):
                hold(tmp_path / "c")
    lock.write_text("")
    os.utime(lock, (2**32, 2**32))
    hold(tmp_path / "c")


def test_a_folder_has_one_lock_under_all_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(run)
    with write_lock(Path()):
        assert (tmp_path / "run.lock").exists()
        for name in (run, tmp_path / "link", Path("../link/../run")):
            with pytest.raises(RunError, match="is being written"):
                hold(name)


def test_a_target_without_a_name_is_rejected() -> None:
    with pytest.raises(UsageError, match="Choose another --out") as refused:
        hold(Path("/"))
    assert refused.value.kind == "out"


def hold(target: Path) -> None:
    with write_lock(target):
        pass


def test_a_folder_in_the_place_of_a_lock_is_named_with_the_way_on(tmp_path: Path) -> None:
    (tmp_path / "c.lock").mkdir()
    with pytest.raises(RunError, match=r"c\.lock is a link or no plain file.*Delete it"):
        hold(tmp_path / "c")
    assert list(tmp_path.iterdir()) == [tmp_path / "c.lock"]
