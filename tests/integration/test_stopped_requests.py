"""Commands stopped while a request to an object store is retried: they end at once and as ever."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Started, command, succeeded, write_tones
from object_server import ObjectServer, object_server
from small_cache import tree_bytes

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

URL = "s3://bucket/c.zarr"
TEACHER = ("--teacher", "toy", "--unit-rows", 4)
TRAIN = ("--student", "tc-resnet", "--epochs", 50, "--batch-size", 4)
# Requests are tried for minutes; to end takes a grace of two seconds, and what Python takes.
BOUND_S = 10.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=8)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "c.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", *TEACHER, "--out", out))
    return out


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as found:
        yield found


def stopped_in_an_outage(
    server: ObjectServer, process: Started, from_then_on: tuple[str, str], number: int
) -> tuple[float, str]:
    """Let all requests fail from one of a method and key on, and stop the command then."""
    method, part = from_then_on
    while not server.count(method, part) and process.poll() is None:
        time.sleep(0.01)
    began = len(server.requests)
    server.fault = lambda *_: "503"
    while len(server.requests) == began and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)
    assert process.poll() is None
    signalled_s = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate()
    return time.monotonic() - signalled_s, errors


def test_a_batch_stage(server: ObjectServer, corpus: Path) -> None:
    words = (f"folder:{corpus}", *TEACHER, "--out", URL)
    server.delay_s = 0.02
    with Started("precompute-teacher", *words, **server.environment) as process:
        took_s, errors = stopped_in_an_outage(
            server, process, ("PUT", "/logits/c/"), signal.SIGTERM
        )
    assert (process.returncode, took_s < BOUND_S) == (1, True), (took_s, errors)
    assert errors.startswith("precompute-teacher: stopped. "), errors
    assert errors.endswith("to go on.\n"), errors


def test_a_training_saves_what_it_has(server: ObjectServer, whole: Path, tmp_path: Path) -> None:
    server.objects |= {f"c.zarr/{key}": data for key, data in tree_bytes(whole).items()}
    run = tmp_path / "run"
    with Started("train-student", URL, *TRAIN, "--out", run, **server.environment) as process:
        while not (run / "tensorboard").exists() and process.poll() is None:
            time.sleep(0.01)
        took_s, errors = stopped_in_an_outage(server, process, ("GET", ""), signal.SIGTERM)
    assert (process.returncode, took_s < BOUND_S) == (1, True), (took_s, errors)
    assert errors.startswith("train-student: stopped after "), errors
    assert "holds the state" in errors


def test_an_inspection(server: ObjectServer, whole: Path) -> None:
    server.objects |= {f"c.zarr/{key}": data for key, data in tree_bytes(whole).items()}
    server.delay_s = 0.02
    with Started("inspect-cache", URL, "--verify", **server.environment) as process:
        took_s, errors = stopped_in_an_outage(server, process, ("GET", "parts"), signal.SIGINT)
    assert (process.returncode, took_s < BOUND_S) == (1, True), (took_s, errors)
    assert errors == "inspect-cache: stopped. Repeat the command to begin anew.\n"
