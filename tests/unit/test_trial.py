"""Work in a child process: what never ends, or crashes, is found out and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.audio.trial import problem_apart


def test_work_that_ends_has_no_problem_whatever_it_raises() -> None:
    assert problem_apart(lambda: 1, 10) == ""
    assert problem_apart(lambda: 1 // 0, 10) == ""


def test_work_without_an_end_is_given_up() -> None:
    began_s = time.monotonic()
    assert "no end within 0.2 s" in problem_apart(lambda: time.sleep(60), 0.2)
    assert time.monotonic() - began_s < 10


def test_work_that_crashes_is_named() -> None:
    problem = problem_apart(lambda: os.kill(os.getpid(), signal.SIGSEGV), 10)
    assert problem == "reading it ends the process (Segmentation fault)"


def test_a_signal_ends_the_wait_and_the_child(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "child").write_text(str(os.getpid()))
        time.sleep(60)

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        problem_apart(work, 60)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "child").read_text()), 0)
