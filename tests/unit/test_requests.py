"""The loop that waits for answers ends before the interpreter does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

from cache_schema.store import requests

ASKED = """
import asyncio
from cache_schema.store.requests import answered

print(answered(lambda: asyncio.sleep(0, "done")))
"""


def test_the_loop_is_ended_with_its_thread() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    requests._end(loop, thread)
    assert not thread.is_alive()
    assert loop.is_closed()


def test_a_process_that_has_had_an_answer_ends_by_itself() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "done\n"
