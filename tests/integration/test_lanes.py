"""A training of several lanes: the same bits on any number of processes, and an end with any of them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from commands import Started, cache_tones, command, succeeded
from compare_runs import assert_same_run, metrics_of

# Mixup, SpecAugment and dropout draw; BatchNorm and the averaged weights remember.
WORDS = (
    "--student", "tc-resnet", "--recipe", "efficientat", "--epochs", "2", "--batch-size", "4",
    "--spec-augment", "--distill", "logits=0.5", "--average", "ema:decay=0.9", "--device", "cpu",
)  # fmt: skip
CRNN = (
    "--student", "crnn", "--epochs", "2", "--batch-size", "4", "--distill", "temporal=0.25",
    "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 clips to train on, in units of six, which lanes divide."""
    return cache_tones(tmp_path_factory.mktemp("tones"))


@contextmanager
def together(count: int, *words: object) -> Iterator[list[Started]]:
    """Processes of one training, as torchrun starts them; a fork has the large libraries at hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    with ExitStack() as processes:
        yield [
            processes.enter_context(
                Started("train-student", *words, **shared, RANK=str(rank), LOCAL_RANK=str(rank))
            )
            for rank in range(count)
        ]


@pytest.mark.parametrize(("words", "lanes"), [(WORDS, 4), (CRNN, 2)], ids=["4 lanes", "2 lanes"])
def test_one_and_two_processes_give_the_same_bits(
    cache: Path, tmp_path: Path, words: tuple[str, ...], lanes: int
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    succeeded(command("train-student", cache, "--out", alone, *words, "--lanes", lanes))
    with together(2, cache, "--out", both, *words, "--lanes", lanes) as processes:
        first, second = [process.communicate() for process in processes]
        assert [process.returncode for process in processes] == [0, 0], first[1] + second[1]
    assert "epoch 2/2" in first[0]
    assert second[0] == "", "the first process reports for all"
    assert_same_run(both, alone)


def test_a_training_stopped_on_two_processes_goes_on_on_one(cache: Path, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "stopped"
    words = (*CRNN, "--lanes", "2", "--seed", "3")
    succeeded(command("train-student", cache, "--out", whole, *words))
    with together(2, cache, "--out", run, *words) as processes:
        assert "epoch 1/2" in next(line for line in processes[0].stdout if "epoch" in line)
        processes[1].send_signal(signal.SIGTERM)  # one is enough: they stop at the same step
        ends = [process.communicate() for process in processes]
        assert [process.returncode for process in processes] == [1, 1]
    assert all("stopped after" in errors for _, errors in ends)
    assert len(metrics_of(run)) == 1
    assert "continuing after" in succeeded(command("train-student", cache, "--out", run, *words))
    assert_same_run(run, whole)


def test_a_process_that_dies_ends_the_others(cache: Path, tmp_path: Path) -> None:
    words = (*CRNN, "--epochs", "500", "--lanes", "2")
    with together(2, cache, "--out", tmp_path / "run", *words) as processes:
        assert "epoch 1/500" in next(line for line in processes[0].stdout if "epoch" in line)
        processes[1].kill()
        errors = processes[0].communicate()[1]
        assert processes[0].returncode == 1
    assert "process 0 of 2 lost another one" in errors
    assert "Repeat the command" in errors


def test_what_fails_on_the_first_process_ends_the_others(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train-student", cache, "--out", run, *CRNN, "--lanes", "2"))
    with together(2, cache, "--out", run, *CRNN, "--lanes", "4") as processes:
        first, second = [process.communicate()[1] for process in processes]
        assert [process.returncode for process in processes] == [2, 1]
    assert "lanes: the run has 2, requested 4" in first
    assert "process 1 of 2 lost another one" in second


def test_lanes_that_processes_cannot_divide_are_a_usage_error(cache: Path, tmp_path: Path) -> None:
    with together(2, cache, "--out", tmp_path / "run", *CRNN, "--lanes", "3") as processes:
        ends = [process.communicate()[1] for process in processes]
        assert [process.returncode for process in processes] == [2, 2]
    assert all("--lanes 3 cannot be divided among 2 processes" in end for end in ends)
    assert not (tmp_path / "run").exists()
