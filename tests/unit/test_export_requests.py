"""What an export rejects at once, and what it offers instead."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from exported_students import write_run
from fuzzing import run
from small_cache import write_small_cache

from student.export.cli import main

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind of student."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("tc-resnet", "att-rnn", "crnn"):
        write_run(folder / name, name)
    return folder


def refused(tmp_path: Path, code: int, *words: object, out: str = "out") -> str:
    """The message; nothing may be left."""
    before = sorted(os.listdir(tmp_path))
    found, message = run(main, *words, "--out", tmp_path / out)
    assert found == code, message
    assert sorted(os.listdir(tmp_path)) == before
    return message


def test_a_step_is_rejected_with_the_reason_and_the_way_there_is(
    runs: Path, tmp_path: Path
) -> None:
    message = refused(tmp_path, 2, runs / "tc-resnet", "--to", "onnx", "--streaming")
    assert "tc-resnet cannot run frame by frame: it takes a mean over the whole clip" in message
    assert "--length-s 1, without --streaming" in message
    assert "stream-audio" in message
    message = refused(tmp_path, 2, runs / "att-rnn", "--to", "onnx", "--streaming")
    assert "it reads the clip backwards too" in message


def test_any_length_is_rejected_with_the_reason_and_the_way_there_is(
    runs: Path, tmp_path: Path
) -> None:
    message = refused(tmp_path, 2, runs / "att-rnn", "--to", "onnx", "--length-s", "any")
    assert "its recurrences export for one length only. Choose a length: --length-s 1\n" in message
    message = refused(tmp_path, 2, runs / "crnn", "--to", "onnx", "--length-s", "any")
    assert "--length-s 1, or --streaming for steps of one frame" in message


@pytest.mark.parametrize("more", [(), ("--waveform",)])
def test_a_length_of_less_than_a_window_is_rejected(
    runs: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    message = refused(tmp_path, 2, runs / "tc-resnet", "--to", "onnx", "--length-s", "0.01", *more)
    assert "0.01 s are 160 samples at 16000 Hz; a clip has at least one window" in message
    assert "640 samples (0.04 s)" in message


@pytest.mark.parametrize("length", ["0", "-1", "nan", "inf", "1e9", "long", ""])
def test_a_length_that_is_none_is_rejected(runs: Path, tmp_path: Path, length: str) -> None:
    message = refused(tmp_path, 2, runs / "tc-resnet", "--to", "onnx", "--length-s", length)
    assert "expected seconds above 0" in message


def test_options_that_do_not_go_together_are_rejected(runs: Path, tmp_path: Path) -> None:
    tc, crnn = runs / "tc-resnet", runs / "crnn"
    message = refused(tmp_path, 2, tc, "--to", "onnx")
    assert "--length-s SECONDS, --length-s any" in message
    message = refused(tmp_path, 2, tc, "--to", "onnx", "--length-s", 1, "--int8")
    assert "--calibrate CACHE" in message
    message = refused(tmp_path, 2, crnn, "--to", "onnx", "--length-s", 1, "--streaming")
    assert "leave one of them out" in message
    message = refused(
        tmp_path,
        2,
        crnn,
        "--to",
        "onnx",
        "--length-s",
        1,
        "--streaming",
        "--int8",
        "--page",
        tmp_path,
    )
    assert "3 problems" in message
    for part in ("--calibrate CACHE", "leave one of them out", "add --waveform"):
        assert part in message


def test_clips_to_calibrate_with_are_for_int8(runs: Path, tmp_path: Path) -> None:
    message = refused(
        tmp_path, 2, runs / "tc-resnet", "--to", "onnx", "--length-s", 1, "--clips", 5
    )
    assert "add --int8, or leave it out" in message


def test_an_unknown_format_is_rejected(runs: Path, tmp_path: Path) -> None:
    message = refused(tmp_path, 2, runs / "tc-resnet", "--to", "onyx", "--length-s", 1)
    assert "unknown exporter 'onyx'" in message
    assert "Did you mean 'onnx'?" in message


def test_a_cache_of_other_classes_is_rejected(runs: Path, tmp_path: Path) -> None:
    cache = write_small_cache(tmp_path / "small.zarr")
    message = refused(tmp_path, 2, runs / "tc-resnet", "--to", "onnx", "--calibrate", cache,
                   "--length-s", 1)  # fmt: skip
    assert "differ in their classes" in message


@pytest.mark.parametrize("inside", ["", "export"])
def test_a_run_is_no_place_for_an_export(runs: Path, tmp_path: Path, inside: str) -> None:
    (runs / "tc-resnet" / "training-state.pt").touch()
    out = runs / "tc-resnet" / inside
    found, message = run(main, runs / "tc-resnet", "--to", "onnx", "--length-s", 1, "--out", out)
    assert found == 2
    assert "is, or lies in, the run" in message


def config_with(folder: Path, **changes: object) -> Path:
    """A run whose settings say something else."""
    run_folder = write_run(folder, "ds-tc-resnet")
    config = json.loads((run_folder / CONFIG).read_text()) | changes
    (run_folder / CONFIG).write_text(json.dumps(config))
    return run_folder


@pytest.mark.parametrize(
    ("changes", "code", "reported"),
    [
        ({"classes": ["a", "a", "b"]}, 1, "a class is named twice"),
        ({"classes": ["a" * 2000, "b", "c"]}, 1, "at most 1000 characters"),
        ({"classes": ["\ud800", "b", "c"]}, 1, "surrogates"),
        ({"classes": "abc"}, 1, "config.json is damaged"),
        ({"classes": ["a"]}, 1, "does not hold the weights"),
        ({"student": "os:system"}, 1, "unknown student"),
        ({"student_options": {"width": "1"}}, 1, "wrong option"),
    ],
)
def test_settings_of_a_stranger_are_a_message(
    tmp_path: Path, changes: dict[str, object], code: int, reported: str
) -> None:
    folder = config_with(tmp_path / "run", **changes)
    assert reported in refused(tmp_path, code, folder, "--to", "onnx", "--length-s", 1)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "large", "link"])
def test_a_file_that_is_none_is_a_message_and_not_waited_for(
    tmp_path: Path, name: str, kind: str
) -> None:
    folder = write_run(tmp_path / "run", "ds-tc-resnet")
    if kind == "large":
        with (folder / name).open("r+b") as file:
            file.truncate(1 << 36)  # sparse
    else:
        (folder / name).rename(tmp_path / "moved")
        if kind == "pipe":
            os.mkfifo(folder / name)
        elif kind == "folder":
            (folder / name).mkdir()
        else:
            (folder / name).symlink_to(tmp_path / "moved")
    assert name in refused(tmp_path, 1, folder, "--to", "onnx", "--length-s", 1)


def test_a_folder_that_is_no_run_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    message = refused(tmp_path, 1, tmp_path / "run", "--to", "onnx", "--length-s", 1)
    assert "is not a run (no config.json)" in message
    np.savez(tmp_path / "run" / "x.npz", a=np.zeros(1))
    refused(tmp_path, 1, tmp_path / "nowhere", "--to", "onnx", "--length-s", 1)


@pytest.mark.parametrize("kind", ["file", "full folder", "below a file"])
def test_a_place_that_is_taken_is_rejected(runs: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "full folder":
        out.mkdir()
        (out / "mine").touch()
    else:
        out.touch()
    place = "out/below" if kind == "below a file" else "out"
    message = refused(tmp_path, 2, runs / "crnn", "--to", "onnx", "--streaming", out=place)
    assert str(out) in message
