"""Interrupted, a command reports it; interrupted twice, it ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cache_schema.command_line.interrupts import deferred_interrupts, interrupts
from cache_schema.store.requests import answered

HEAD = """
import time
import click
from cache_schema.command_line.command import Command
from cache_schema.command_line.interrupts import deferred_interrupts

def write(word):
    print(word, flush=True)

@click.command(cls=Command, name="wait", goes_on=True)
def main():
"""
WAITS = """
    write("ready")
    time.sleep(100)
"""
CLEARS_UP = """
    try:
        write("ready")
        time.sleep(100)
    finally:
        write("clearing up")
        time.sleep(100)
"""
ENDS_SLOWLY = """
    import atexit

    def slow():
        write("ready")
        time.sleep(100)

    atexit.register(slow)
"""
NEVER_RETURNS = """
    import ctypes

    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    write("ready")
    library.pthread_mutex_lock(mutex)
"""
HOLDS = """
    with deferred_interrupts() as stop_requested:
        write("ready")
        while not stop_requested():
            time.sleep(0.01)
        write("noted")
"""
HOLDS_ON = HOLDS + "        time.sleep(100)\n"
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def heed_both() -> None:
    """A test run in the background may have been started with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_first() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def waiting(body: str, prepare: Callable[[], None] = heed_both) -> subprocess.Popen[str]:
    """A command that has reported that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HEAD}{body}\nmain()"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@BOTH
def test_a_stopped_command_reports_it_and_ends_with_1(number: signal.Signals) -> None:
    process = waiting(WAITS)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == "wait: stopped. What was finished is kept. Repeat the command to go on.\n"


@BOTH
def test_a_second_signal_ends_a_command_that_clears_up(number: signal.Signals) -> None:
    process = waiting(CLEARS_UP)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "clearing up\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -number
    assert errors == ""


@BOTH
def test_a_signal_after_the_command_ends_the_process_quietly(number: signal.Signals) -> None:
    process = waiting(ENDS_SLOWLY)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (-number, "")


@BOTH
def test_a_second_signal_ends_a_library_that_never_returns(number: signal.Signals) -> None:
    process = waiting(NEVER_RETURNS)
    time.sleep(0.3)  # until it is in the library
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "")


@BOTH
def test_a_held_signal_lets_a_step_end(number: signal.Signals) -> None:
    process = waiting(HOLDS)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed, errors) == (0, "noted\n", "")


@BOTH
def test_a_second_signal_ends_a_step_that_is_held(number: signal.Signals) -> None:
    process = waiting(HOLDS_ON)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "noted\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number


def test_an_ignored_signal_stays_ignored() -> None:
    process = waiting(HOLDS, ignore_first)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, "noted\n")


def test_a_process_that_was_not_stopped_by_a_signal_keeps_its_handlers() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupts(), deferred_interrupts() as stop_requested:
        assert not stop_requested()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_threads_have_no_say_in_signals() -> None:
    found: list[bool] = []

    def work() -> None:
        with deferred_interrupts() as stop_requested:
            found.append(stop_requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.fixture
def heeded() -> Iterator[None]:
    """This very process gets signals, and has its handlers again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heed_both()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_request_is_given_up_soon_after_a_signal(
    monkeypatch: pytest.MonkeyPatch, in_thread: bool
) -> None:
    monkeypatch.setattr("cache_schema.command_line.interrupts.GRACE_S", 0.3)
    began_s = time.monotonic()
    with deferred_interrupts(), ThreadPoolExecutor(1) as pool:
        os.kill(os.getpid(), signal.SIGTERM)
        assert answered(lambda: asyncio.sleep(0.1, "in time")) == "in time"
        run = pool.submit if in_thread else lambda function, made: function(made)
        with pytest.raises(KeyboardInterrupt):
            run(answered, never).result()
    assert 0.3 < time.monotonic() - began_s < 10
    assert answered(lambda: asyncio.sleep(0.5, "later")) == "later"  # of another command


@pytest.mark.usefixtures("heeded")
def test_an_interrupted_command_does_not_wait_for_requests_of_its_threads() -> None:
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        wait_in_threads()
    assert time.monotonic() - began_s < 10


def wait_in_threads() -> None:
    with interrupts(), ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(answered, never) for _ in range(20)]
        os.kill(os.getpid(), signal.SIGINT)
        waiting[0].result()


async def never() -> None:
    await asyncio.sleep(100)
