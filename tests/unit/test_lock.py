"""One writer at a time, and a dead one does not block the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cache_schema.errors import RunError
from cache_schema.lock import write_lock


def test_a_second_writer_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    with write_lock(cache):
        code = (
            "import sys; from pathlib import Path; from cache_schema.lock import write_lock\n"
            "with write_lock(Path(sys.argv[1])): pass"
        )
        run = subprocess.run([sys.executable, "-c", code, cache], capture_output=True, text=True)
        assert f"process {os.getpid()}" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from cache_schema.lock import write_lock\n"
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


def test_an_unreadable_lock_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "c.lock").write_text("{")
    with write_lock(tmp_path / "c"):
        pass
