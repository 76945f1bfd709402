"""``predict-audio``: the same answers from a run folder and from exported files, whatever is batch."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import command, plain_environment, succeeded
from exported_students import RATE_HZ, sound, write_onnx, write_run
from fuzzing import run as run_here
from toy_onnx import CLASSES, write_toy

import student
from student.predict.cached_samples import as_cached
from student.predict.cli import main
from student.predict.stream_cli import main as stream_main
from student.runs.checkpoint import save_weights, write_json

pytestmark = pytest.mark.usefixtures("operators_once")
NO_TORCH = [
    "torch", "lightning_fabric", "torchmetrics", "safetensors", "tensorboard", "transformers", "dask",
    "onnx", "onnxscript", "pipeline",
]  # fmt: skip

# What `pip install 'aftersound[onnx]'` brings of what is imported, and our own.
BASE_AND_ONNX = {
    "annotated_types", "cache_schema", "click", "markdown_it", "numpy", "onnxruntime", "pydantic",
    "pydantic_core", "pygments", "rich", "soundfile", "soxr", "student", "typing_extensions",
    "typing_inspection",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings: `short`, `plain` (1 s), `stereo` (3.3 s, 44.1 kHz, two channels)."""
    root = tmp_path_factory.mktemp("recordings")
    soundfile.write(root / "plain.wav", sound(1.0), RATE_HZ)
    soundfile.write(root / "short.flac", sound(0.4, 1), RATE_HZ)
    stereo = sound(3.3, 2, 44_100)
    soundfile.write(root / "stereo.ogg", np.stack([stereo, -0.2 * stereo], 1), 44_100)
    return root


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small exported students of every form."""
    root = tmp_path_factory.mktemp("toys")
    for form in ("static", "dynamic"):
        write_toy(root / f"{form}.onnx", form, attention=True)
    write_toy(root / "step.onnx", "step")
    write_toy(root / "multi.onnx", task="multi")
    (root / "export").mkdir()
    write_toy(root / "export/model.onnx")
    return root


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def scores_of(row: dict[str, Any]) -> dict[str, float]:
    return {one["class"]: one["score"] for one in row["classes"]}


def asked(model: Path, *words: object) -> list[dict[str, Any]]:
    return rows(succeeded(command("predict-audio", model, *words, "--format", "jsonl", "--top", 3)))


@pytest.mark.parametrize(
    ("name", "form", "takes"),
    [
        ("ds-tc-resnet", "dynamic", "features"),
        ("att-rnn", "static", "waveform"),
        ("crnn", "step", "features"),
    ],
)
def test_an_exported_file_answers_as_its_run_folder(
    folder: Path, tmp_path: Path, name: str, form: Any, takes: Any
) -> None:
    run = write_run(tmp_path / "run", name)
    where = form != "step"
    exported = write_onnx(run, tmp_path / "model.onnx", form, takes=takes, attention=where)
    words = [folder / "plain.wav", folder / "stereo.ogg", "--window-s", 1, "--overlap", 0.5]
    words += [folder / "short.flac"] if form != "static" else []
    words += ["--frames"] if where else []
    of_run, of_file = asked(run, *words), asked(exported, *words)
    assert len(of_run) == len(of_file) == 1 + 6 + (form != "static")
    for one, other in zip(of_run, of_file, strict=True):
        assert (one["recording"], one["start_s"]) == (other["recording"], other["start_s"])
        assert scores_of(other) == pytest.approx(scores_of(one), abs=1e-4)
        if where:
            assert other["attention"] == pytest.approx(one["attention"], abs=1e-4)
            assert other["hop_s"] == one["hop_s"]
            # One frame of the front end: an open form does not say where an odd clip's frames begin.
            assert other["first_frame_s"] == pytest.approx(one["first_frame_s"], abs=0.0201)
    spread = max(scores_of(of_run[0]).values()) - min(scores_of(of_run[0]).values())
    assert spread > 0.05


def test_a_run_folder_predicts_as_in_a_notebook(folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "ds-tc-resnet")
    (row,) = asked(run, folder / "plain.wav", "--frames")
    samples, _ = soundfile.read(folder / "plain.wav", dtype="float32")
    expected = student.load_student(run).predict(as_cached(samples), RATE_HZ)
    found = scores_of(row)
    np.testing.assert_allclose(
        [found[name] for name in expected.classes], expected.probabilities_C, atol=1e-6
    )
    np.testing.assert_allclose(row["attention"], expected.attention_T, atol=1e-6)
    assert row["first_frame_s"] == pytest.approx(expected.times_T[0])


def test_a_run_takes_windows_as_long_as_its_training_clips(folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "ds-tc-resnet")
    words = (main, run, folder / "stereo.ogg", "--format", "csv")
    assert len(run_here(*words)[1].splitlines()) == 2  # what is not known changes nothing
    result = {"metric": "accuracy", "splits": {}, "seed": 0, "best_epoch": 1, "epochs": 1}
    write_json(run / "result.json", {**result, "clip_s": 1.0})
    note = f"windows of 1 s, as the clips that {run} learned from (--window-s changes it)"
    found = run_here(*words)[1].splitlines()
    assert found[0] == note
    assert [float(line.split(",")[1]) for line in found[2:]] == [0.0, 1.0, 2.0, 2.3]
    chosen = run_here(*words, "--window-s", 2)[1].splitlines()
    assert len(chosen) == 3
    for wrong in (-1.0, 1e308, "long"):
        write_json(run / "result.json", {**result, "clip_s": wrong})
        assert len(run_here(*words)[1].splitlines()) == 2


def test_weights_that_are_not_finite_give_no_scores(folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "crnn")
    weights = student.load_student(run).model
    with torch.no_grad():
        next(weights.parameters()).fill_(torch.nan)
    save_weights(run, weights)
    for command_main in (main, stream_main):
        code, text = run_here(command_main, run, folder / "plain.wav")
        assert code == 1
        assert "weights that are not finite, first " in text


def test_without_torch_an_exported_file_is_answered(folder: Path, toys: Path) -> None:
    code = (
        "import sys\n"
        f"for name in {NO_TORCH!r}: sys.modules[name] = None\n"
        "from student.predict import cli, stream_cli\n"
        "try:\n"
        "    (cli if sys.argv[1] == 'predict' else stream_cli).main(sys.argv[2:])\n"
        "finally:\n"
        "    found = {name.partition('.')[0] for name, module in sys.modules.items() if module}\n"
        f"    more = found - sys.stdlib_module_names - {BASE_AND_ONNX!r}\n"
        "    more = {name for name in more if not name.startswith('_')}\n"
        "    assert not more, more\n"
    )

    def blocked(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            capture_output=True, text=True, check=False, env=plain_environment(),
        )  # fmt: skip

    for name in ("static", "dynamic", "step"):
        words = (toys / f"{name}.onnx", folder / "plain.wav", folder / "stereo.ogg")
        assert "plain.wav" in succeeded(blocked("predict", *words))
        assert "\t" in succeeded(blocked("stream", words[0], words[2], "--threshold", 0.1))
    run = write_run(folder / "run", "tc-resnet")
    refused = blocked("predict", run, folder / "plain.wav")
    assert refused.returncode == 2
    assert "needs torch: pip install 'aftersound[student]'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_recordings_that_cannot_be_used_are_named_and_the_others_predicted(
    folder: Path, toys: Path, tmp_path: Path
) -> None:
    content = (folder / "plain.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:9000])
    (tmp_path / "empty.wav").touch()
    wild = sound(1.0)
    wild[77] = np.nan
    soundfile.write(tmp_path / "wild.wav", wild, RATE_HZ, subtype="FLOAT")
    late = sound(3.3)
    late[-7] = np.nan  # in the last of several windows
    soundfile.write(tmp_path / "late.wav", late, RATE_HZ, subtype="FLOAT")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "locked").mkdir()
    (tmp_path / "odd\n\x1b[31m.wav").write_bytes(content)
    named = ["cut.wav", "empty.wav", "wild.wav", "late.wav", "pipe.wav", "locked", "nowhere.wav"]
    paths = [tmp_path / name for name in named]
    good = [folder / "plain.wav", tmp_path / "odd\n\x1b[31m.wav"]
    done = command("predict-audio", toys / "static.onnx", *paths, "-", *good, "--format", "jsonl")
    assert done.returncode == 1
    assert [row["recording"] for row in rows(done.stdout)] == [str(path) for path in good]
    reported = done.stderr
    assert reported.startswith("predict-audio: 8 of 10 recording(s) could not be used\n")
    for name, reason in zip([*named, "-"], [
        "truncated: the header declares 32000 bytes of samples, the file holds 8956",
        "the file is empty (0 bytes)",
        "sample 77 is no finite number of 32 bits",
        "sample 52793 is no finite number of 32 bits",
        "not a file that can be read (a pipe or a device)",
        "Is a directory",
        "No such file or directory",
        "No such file or directory (stream-audio reads standard input)",
    ], strict=True):  # fmt: skip
        assert f"{name}: {reason}" in reported
    assert "\x1b" not in done.stdout + reported


def test_bare_samples_are_told_what_reads_them_and_a_suffix_decides_nothing(
    folder: Path, toys: Path, tmp_path: Path
) -> None:
    (tmp_path / "toy.RAW").write_bytes(np.full(8000, 77, "<i2").tobytes())
    shutil.copy(folder / "plain.wav", tmp_path / "named.raw")
    done = command(
        "predict-audio", toys / "static.onnx", tmp_path / "toy.RAW", tmp_path / "named.raw",
        "--format", "jsonl",
    )  # fmt: skip
    assert [row["recording"] for row in rows(done.stdout)] == [str(tmp_path / "named.raw")]
    assert "toy.RAW: not audio that can be decoded (Format not recognised); bare" in done.stderr
    assert "stream-audio RUN --rate HZ - < FILE" in done.stderr


def test_a_name_that_is_no_utf8_is_answered(folder: Path, toys: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(path, "wb") as file:
        file.write((folder / "plain.wav").read_bytes())
    out = tmp_path / "out.csv"
    words = (toys / "static.onnx", os.fsdecode(path), "--out", out)
    succeeded(command("predict-audio", *words))
    assert "caf\\xe9.wav" in out.read_text()


def test_windows_cover_a_long_recording_and_the_last_ends_with_it(folder: Path, toys: Path) -> None:
    found = asked(toys / "static.onnx", folder / "stereo.ogg")
    assert [row["start_s"] for row in found] == [0.0, 1.0, 2.0, 2.3]
    assert [row["end_s"] for row in found] == [1.0, 2.0, 3.0, 3.3]
    found = asked(toys / "dynamic.onnx", folder / "stereo.ogg")
    assert [(row["start_s"], row["end_s"]) for row in found] == [(0.0, 3.3)]
    found = asked(toys / "dynamic.onnx", folder / "stereo.ogg", "--window-s", 2, "--overlap", 0.75)
    assert [row["start_s"] for row in found] == [0.0, 0.5, 1.0, 1.3]


def test_a_short_recording_is_followed_by_silence_and_that_is_reported(
    folder: Path, toys: Path
) -> None:
    done = command(
        "predict-audio", toys / "static.onnx", folder / "short.flac", "--format", "jsonl"
    )
    (row,) = rows(succeeded(done))
    assert row["end_s"] == 0.4
    assert "1 recording(s) are shorter than 1 s" in done.stderr
    done = command("predict-audio", toys / "dynamic.onnx", folder / "short.flac")
    assert succeeded(done)
    assert done.stderr == ""


def test_an_export_folder_stands_for_its_file(folder: Path, toys: Path) -> None:
    assert asked(toys / "export", folder / "plain.wav") == asked(
        toys / "static.onnx", folder / "plain.wav"
    )


def test_a_multi_label_student_reports_every_class_to_programs(folder: Path, toys: Path) -> None:
    words = (toys / "multi.onnx", folder / "plain.wav")
    (row,) = rows(succeeded(command("predict-audio", *words, "--format", "jsonl")))
    scores = [one["score"] for one in row["classes"]]
    assert scores == sorted(scores, reverse=True)
    assert set(scores_of(row)) == set(CLASSES)
    table = succeeded(command("predict-audio", *words))
    for name, score in scores_of(row).items():
        assert (f" {score:.4f} " in table) == (score >= 0.5), name


def test_csv_goes_to_a_file_whole_or_not_at_all(folder: Path, toys: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/out.csv"
    words = (toys / "static.onnx", folder / "plain.wav", folder / "nowhere.wav", "--frames")
    done = command("predict-audio", *words, "--out", out)
    assert done.returncode == 1  # of the other recording
    assert done.stdout == ""
    (row,) = csv.DictReader(io.StringIO(out.read_text()))
    assert row["recording"] == str(folder / "plain.wav")
    assert sum(map(float, row["attention"].split())) == pytest.approx(1, abs=1e-3)
    assert [path.name for path in out.parent.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_lines_come_as_they_are_found(folder: Path, toys: Path, format_: str) -> None:
    words = [toys / "static.onnx", folder / "plain.wav", "nowhere.wav", "--format", format_]
    code, text = run_here(main, *words)
    assert code == 1
    assert text.index("plain.wav") < text.index("could not be used")


def test_a_recording_that_may_not_be_read_is_named_at_the_end(
    folder: Path, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, opened = tmp_path / "other.wav", os.open
    shutil.copy(folder / "plain.wav", other)

    def refused(path: Any, *words: Any, **more: Any) -> int:
        if str(path) == str(other):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *words, **more)

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: str(path) != str(other))
    code, text = run_here(main, toys / "static.onnx", other, folder / "plain.wav")
    assert code == 1
    assert text.index("plain.wav") < text.index("1 of 2 recording(s) could not be used")
    assert "other.wav: Permission denied" in text


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_an_earlier_output_is_replaced(
    folder: Path, toys: Path, tmp_path: Path, format_: str
) -> None:
    words = [toys / "static.onnx", folder / "plain.wav", "--format", format_]
    for _ in range(2):
        assert run_here(main, *words, "--out", tmp_path / f"x.{format_}")[0] == 0


def test_what_is_requested_wrongly_is_one_line(folder: Path, toys: Path, tmp_path: Path) -> None:
    plain = folder / "plain.wav"
    copy = tmp_path / "copy.wav"
    copy.write_bytes(plain.read_bytes())
    model = write_toy(tmp_path / "kept.onnx")
    (alone := tmp_path / "alone").mkdir()
    write_toy(alone / "model.onnx")
    (lst := tmp_path / "list.csv").write_text("path,label\n")
    os.mkfifo(pipe := tmp_path / "pipe")
    cases: list[tuple[list[object], int, str]] = [
        ([tmp_path / "nowhere.onnx", plain], 1, "No such file"),
        ([plain, plain], 1, "is not an ONNX file that can be run"),
        ([tmp_path, plain], 1, "is neither a run (config.json) nor an exported student"),
        ([toys / "step.onnx", plain, "--frames"], 2, "has no attention"),
        ([toys / "static.onnx", plain, "--window-s", 2], 2, "this student takes 1 s"),
        ([toys / "static.onnx", plain, "--window-s", "nan"], 2, "not a finite number"),
        ([toys / "static.onnx", plain, "--overlap", 1], 2, "0<=x<=0.99"),
        (
            [toys / "static.onnx", plain, "--format", "table", "--out", tmp_path / "x.csv"],
            2,
            "leave --format out",
        ),
        ([toys / "static.onnx", copy, "--format", "csv", "--out", copy], 2, "known: .csv, .jsonl"),
        ([model, plain, "--format", "csv", "--out", model], 2, "known: .csv, .jsonl"),
        ([alone, plain, "--format", "csv", "--out", lst], 2, "not written by this"),
        ([alone, plain, "--format", "csv", "--out", alone / "new.csv"], 2, "is to be read"),
        ([toys / "static.onnx", plain, "--format", "csv", "--out", pipe], 2, "a device"),
        (
            [toys / "static.onnx", plain, "--format", "csv", "--out", plain / "x.csv"],
            2,
            "no folder",
        ),
        ([toys / "static.onnx", plain, "--format", "csv", "--out", tmp_path], 2, "is a directory"),
        (
            [toys / "static.onnx", plain, "--format", "jsonl", "--out", tmp_path / "x.csv"],
            2,
            "in .jsonl",
        ),
        ([toys / "static.onnx"], 2, "Missing argument"),
        (["s3://bucket/model", plain], 2, "name a local path"),
    ]
    for words, code, reported in cases:
        found, text = run_here(main, *words)
        assert (found, reported in text) == (code, True), (words, text)
    assert copy.read_bytes() == plain.read_bytes()


def test_half_an_hour_is_answered_in_the_memory_of_a_minute(toys: Path, tmp_path: Path) -> None:
    def peak_kbytes(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(sound(60.0))
        code = (
            "import resource, sys\nfrom student.predict.cli import main\n"
            "main(sys.argv[1:], standalone_mode=False)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        words = [toys / "static.onnx", path, "--format", "csv"]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            capture_output=True, text=True, check=False, env=plain_environment(),
        )  # fmt: skip
        lines = succeeded(done).splitlines()
        assert len(lines) == 2 + 60 * minutes
        return int(lines[-1])

    assert peak_kbytes(30) < peak_kbytes(1) + 8_000
