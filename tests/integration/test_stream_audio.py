"""``stream-audio``: what is processed is reported at once, frame by frame or window by window."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import command, plain_environment, script, succeeded
from exported_students import RATE_HZ, sound, write_onnx, write_run
from fuzzing import run as run_here
from toy_onnx import write_toy

from student.predict.detections import frame_scores, window_scores
from student.predict.predictor import open_predictor
from student.predict.stream_cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small exported students and a recording of 3 s, in 16 bits."""
    root = tmp_path_factory.mktemp("stream")
    for form in ("static", "dynamic", "step"):
        write_toy(root / f"{form}.onnx", form)
    soundfile.write(root / "plain.wav", sound(3.0), RATE_HZ)
    return root


def raw(folder: Path) -> bytes:
    samples, _ = soundfile.read(folder / "plain.wav", dtype="int16")
    content: bytes = samples.astype("<i2").tobytes()
    return content


def started(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [script("stream-audio"), *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=plain_environment(),
    )  # fmt: skip


def lines_of(text: str) -> list[tuple[float, str, float]]:
    cells = [line.split("\t") for line in text.splitlines()]
    return [(float(start), label, float(score)) for start, label, score in cells]


@pytest.mark.parametrize("name", ["crnn", "lstm-p"])
def test_an_exported_step_answers_as_the_run_at_every_frame(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run", name)
    exported = write_onnx(run, tmp_path / "step.onnx", "step")
    samples_S = sound(1.5)
    blocks = [samples_S[first : first + 320] for first in range(0, len(samples_S), 320)]
    found = {}
    for model in (run, exported):
        stepper = open_predictor(model).stepper()
        assert stepper is not None
        found[model] = list(frame_scores(stepper, iter(blocks)))
    assert len(found[run]) == 1 + (len(samples_S) - 640) // 320
    for (one_s, one_C), (other_s, other_C) in zip(found[run], found[exported], strict=True):
        assert one_s == other_s
        np.testing.assert_allclose(other_C, one_C, atol=1e-5)
    # After the last frame the stream's answer is the clip's.
    rounded_S = np.round(samples_S.astype(np.float64) * 2**15) / 2**15
    for model in (run, exported):
        whole_C = open_predictor(model).predict(rounded_S).probabilities_C
        np.testing.assert_allclose(found[model][-1][1], whole_C, atol=1e-5)


def test_windows_answer_as_clips_of_their_own(folder: Path) -> None:
    predictor = open_predictor(folder / "static.onnx")
    samples_S, _ = soundfile.read(folder / "plain.wav", dtype="float32")
    blocks = np.array_split(samples_S, 37)
    found = list(window_scores(predictor, iter(blocks), RATE_HZ, 4000))
    assert [start_s for start_s, _ in found] == [0.25 * turn for turn in range(9)]
    for start_s, scores_C in found:
        clip_S = samples_S[round(start_s * RATE_HZ) :][:RATE_HZ].astype(np.float64)
        np.testing.assert_allclose(scores_C, predictor.predict(clip_S).probabilities_C, atol=1e-6)


@pytest.mark.parametrize("form", ["static", "dynamic", "step"])
def test_a_recording_and_a_pipe_of_its_samples_are_decoded_alike(folder: Path, form: str) -> None:
    words = [folder / f"{form}.onnx", "--threshold", 0.34, "--refractory-s", 0]
    of_file = succeeded(command("stream-audio", words[0], folder / "plain.wav", *words[1:]))
    assert lines_of(of_file)
    for content in (raw(folder), (folder / "plain.wav").read_bytes()):
        pipe = started(words[0], "-", *words[1:])
        out, err = pipe.communicate(content, timeout=120)
        assert pipe.returncode == 0, err
        assert out.decode() == of_file
        assert err.decode().endswith("3.0 s processed\n")


def test_a_detection_is_reported_while_the_stream_goes_on(folder: Path) -> None:
    pipe = started(folder / "step.onnx", "-", "--threshold", 0.34)
    assert pipe.stdin is not None
    assert pipe.stdout is not None
    pipe.stdin.write(raw(folder)[:2560])  # 80 ms
    pipe.stdin.flush()
    ((start_s, _, score),) = lines_of(pipe.stdout.readline().decode())
    assert start_s < 0.08
    assert score >= 0.34
    pipe.communicate(timeout=60)
    assert pipe.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_is_ended_by_a_signal_without_a_word_of_failure(
    folder: Path, number: signal.Signals
) -> None:
    pipe = started(folder / "step.onnx", "-", "--threshold", 0.34)
    assert pipe.stdin is not None
    assert pipe.stdout is not None
    pipe.stdin.write(raw(folder)[:16_000])
    pipe.stdin.flush()
    assert pipe.stdout.readline()
    pipe.send_signal(number)
    assert pipe.wait(timeout=60) == 0
    assert pipe.stderr is not None
    reported = pipe.stderr.read().decode().splitlines()
    assert reported[0] == "frame by frame, every 20 ms"
    assert reported[1].endswith("s processed")
    assert len(reported) == 2
    for stream in (pipe.stdin, pipe.stdout, pipe.stderr):
        stream.close()


def test_a_reader_that_has_seen_enough_ends_the_stream(folder: Path) -> None:
    words = [folder / "static.onnx", folder / "plain.wav", "--threshold", 0, "--refractory-s", 0]
    pipe = started(*words, "--hop-s", 0.01)
    assert pipe.stdout is not None
    assert pipe.stderr is not None
    assert pipe.stdin is not None
    pipe.stdout.close()
    reported = pipe.stderr.read().decode()
    assert pipe.wait(timeout=60) == 0
    assert "Traceback" not in reported
    assert "Broken pipe" not in reported
    pipe.stderr.close()
    pipe.stdin.close()


def test_a_student_with_steps_listens_in_windows_where_that_is_requested(folder: Path) -> None:
    words = ["--threshold", 0.34, "--refractory-s", 0, "--window-s", 1]
    found = [
        command("stream-audio", folder / f"{form}.onnx", folder / "plain.wav", *words)
        for form in ("step", "dynamic")
    ]
    for done in found:
        assert lines_of(succeeded(done))
        assert done.stderr.startswith("windows of 1 s, every 0.1 s\n")


def test_what_cannot_be_decoded_is_one_line(folder: Path, tmp_path: Path) -> None:
    step, static, plain = folder / "step.onnx", folder / "static.onnx", folder / "plain.wav"
    (tmp_path / "text.wav").write_text("no recording" * 9)
    cases: list[tuple[list[object], int, str]] = [
        ([step, tmp_path / "nowhere.wav"], 1, "No such file or directory"),
        ([step, tmp_path], 1, "Is a directory"),
        ([step, tmp_path / "text.wav"], 1, "not audio that can be decoded"),
        ([step, "-"], 1, "standard input: it holds no samples"),
        ([step, plain, "--rate", 8000], 2, "are for bare samples on standard input"),
        ([static, plain, "--window-s", 2], 2, "this student takes 1 s"),
        ([static, plain, "--threshold", "nan"], 2, "not a finite number"),
        ([tmp_path / "nowhere.onnx", "-"], 1, "No such file"),
    ]
    for words, code, reported in cases:
        found, text = run_here(main, *words)
        assert (found, reported in text) == (code, True), (words, text)


def test_the_end_of_a_stream_is_answered_too(folder: Path) -> None:
    predictor = open_predictor(folder / "static.onnx")
    samples_S, _ = soundfile.read(folder / "plain.wav", dtype="float32")
    found = window_scores(predictor, iter([samples_S]), RATE_HZ, 11_200)
    assert [start_s for start_s, _ in found] == [0.0, 0.7, 1.4, 2.0]
    done = command("stream-audio", folder / "static.onnx", folder / "plain.wav", "--hop-s", 0.7)
    succeeded(done)
    assert done.stderr == "windows of 1 s, every 0.7 s\n3.0 s processed\n"
