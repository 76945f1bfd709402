"""The page of an export in headless Chromium: the scores of Python, from a file and the microphone.

It needs Chromium and onnxruntime-web: ``npm install onnxruntime-web`` in the folder above the
repository, or AFTERSOUND_ONNXRUNTIME_WEB names its ``dist``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from browser import CHROMIUM, Browser, served
from commands import CLASSES as TONES
from commands import write_tones
from exported_students import RATE_HZ, sound, write_run
from fuzzing import run

from pipeline.precompute.cli import main as precompute_teacher
from student.export.browser_page import PAGE, RUNTIME, write_page
from student.export.cli import main
from student.predict.cli import main as predict_audio
from student.training.cli import main as train_student

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "student" / "export" / "page"
SHARED = Path(os.environ.get("AFTERSOUND_SHARED", REPOSITORY.parent / "shared"))
CLASSES = ("no", "<img src=x>yes", "=maybe")
FORMS = {"static": (("--length-s", 1), ()), "dynamic": (("--length-s", "any"), ("--window-s", 1))}
SHOWN = "import('./page.js').then(({ shown }) => shown)"
READY = "!document.querySelector('#file').disabled"
PROBLEM = (
    "(({ hidden, textContent }) => hidden ? '' : textContent)(document.querySelector('#problem'))"
)


@pytest.fixture(scope="module")
def runtime() -> Path:
    """onnxruntime-web's files."""
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    beside = REPOSITORY.parent / "node_modules" / "onnxruntime-web" / "dist"
    folder = Path(os.environ.get("AFTERSOUND_ONNXRUNTIME_WEB", beside))
    if not all((folder / name).is_file() for name in RUNTIME):
        pytest.skip(f"needs {folder} (npm install onnxruntime-web, or AFTERSOUND_ONNXRUNTIME_WEB)")
    return folder


def words() -> np.ndarray:
    """2.6 s of spoken words where there are some, else a rising tone in noise; shape (samples,)."""
    folders = [SHARED / "data" / "speech_commands_v2_12" / name for name in ("yes", "stop", "go")]
    found = [min(folder.glob("*.flac"), default=None) for folder in folders]
    decoded = [soundfile.read(file, dtype="float32")[0] for file in found if file is not None]
    return np.concatenate(decoded or [sound(2.6)])[: round(2.6 * RATE_HZ)]


def tones() -> np.ndarray:
    """2.6 s of the tones of `write_tones`, one after the other; shape (samples,)."""
    time_s = np.arange(round(2.6 * RATE_HZ)) / RATE_HZ
    pitch_hz = np.array(list(TONES.values()))[np.minimum(2, (time_s / 0.9).astype(int))]
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.3 * np.sin(2 * np.pi * pitch_hz * time_s) + 0.02 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def browser(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    soundfile.write(folder / "microphone.wav", tones(), RATE_HZ)
    with Browser(folder / "profile", folder / "microphone.wav") as browser:
        yield browser


@pytest.fixture(scope="module", params=FORMS)
def exported(
    runtime: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, tuple[object, ...]]:
    """An export with its page, and the options of predict-audio for the page's windows."""
    length, window = FORMS[request.param]
    folder = tmp_path_factory.mktemp("page")
    if request.param == "static":
        write_run(folder / "run", "lstm-p", CLASSES, "multi")
    else:
        train(folder)
    words = (folder / "run", "--to", "onnx", *length, "--waveform", "--page", runtime)
    code, message = run(main, *words, "--out", folder / "out")
    assert code == 0, message
    assert "python -m http.server" in message
    return folder / "out", window


def train(folder: Path) -> None:
    """Train a student on tones, the run beside them."""
    corpus, cache = write_tones(folder / "corpus", ragged=False), folder / "tones.zarr"
    code, message = run(precompute_teacher, f"folder:{corpus}", "--teacher", "toy", "--out", cache)
    assert code == 0, message
    words = (cache, "--student", "tc-resnet", "--epochs", 6, "--batch-size", 8)
    code, message = run(train_student, *words, "--out", folder / "run")
    assert code == 0, message


def expected(out: Path, recording: Path, *words: object) -> list[dict[str, Any]]:
    words = (out, recording, "--overlap", 0.75, "--top", 3, "--format", "jsonl", *words)
    code, message = run(predict_audio, *words)
    assert code == 0, message
    return [json.loads(line) for line in message.splitlines() if line.startswith("{")]


def answered(browser: Browser, recording: Path) -> list[dict[str, Any]]:
    """The windows that the page shows of a recording."""
    browser.choose("#file", recording)
    named = json.dumps(recording.name)
    browser.wait(f"{SHOWN}.then((s) => s.source === {named} && !s.busy)")
    assert browser.run(PROBLEM) == ""
    return list(browser.run(SHOWN)["windows"])


def classes_of(out: Path) -> list[str]:
    return list(json.loads((out / "card.json").read_text())["contract"]["classes"])


def largest_difference(
    classes: list[str], found: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> float:
    """Largest difference of a score in all windows."""
    assert [[w["startS"], w["endS"]] for w in found] == [[r["start_s"], r["end_s"]] for r in rows]
    scores = [{one["class"]: one["score"] for one in row["classes"]} for row in rows]
    differences = [
        abs(window["scores"][number] - row[name])
        for window, row in zip(found, scores, strict=True)
        for number, name in enumerate(classes)
    ]
    return max(differences)


def test_the_page_answers_a_recording_as_python_does(
    browser: Browser, exported: tuple[Path, tuple[object, ...]], tmp_path: Path
) -> None:
    out, window = exported
    classes = classes_of(out)
    mono = words() if CLASSES[1] in classes else tones()
    apart = np.stack([1.1 * mono, 0.9 * mono], axis=1)
    one, two, short, finer = (tmp_path / f"{name}.wav" for name in ("one", "two", "short", "finer"))
    soundfile.write(one, mono, RATE_HZ)
    soundfile.write(two, apart, RATE_HZ, subtype="FLOAT")
    soundfile.write(short, mono[4_000:13_000], RATE_HZ)
    soundfile.write(finer, soxr.resample(apart, RATE_HZ, 44_100), 44_100, subtype="FLOAT")
    with served(out) as address:
        browser.open(f"{address}/index.html")
        browser.wait(READY)
        for recording, bar in ((one, 1e-5), (two, 1e-5), (short, 1e-5), (finer, 0.05)):
            found, rows = answered(browser, recording), expected(out, recording, *window)
            difference = largest_difference(classes, found, rows)
            print(f"{out.parent.name}, {recording.name}: {len(rows)} windows, {difference:.2g}")
            assert difference < bar
            tops = [classes[int(np.argmax(w["scores"]))] for w in found]
            assert tops == [row["classes"][0]["class"] for row in rows]
            best = max((row["classes"][0] for row in rows), key=lambda top: top["score"])
            assert browser.run("document.querySelector('#top').textContent") == best["class"]
            assert len(rows) == (1 if recording == short else 8)
            varied = np.ptp([w["scores"] for w in found], axis=0).max()
            assert varied > 0.05 or recording == short
        reported = browser.run("document.querySelector('#classes').textContent")
        assert all(name in reported for name in classes)
        assert browser.run("document.images.length") == 0  # one class is called <img>
        assert all(requested.startswith(address) for requested in browser.requested)
        assert browser.complaints == []


def test_the_microphone_is_a_window_that_slides(
    browser: Browser, exported: tuple[Path, tuple[object, ...]], tmp_path: Path
) -> None:
    with served(exported[0]) as address:
        browser.open(f"{address}/index.html")
        browser.wait(READY)
        browser.permit_microphone("denied")
        browser.run("document.querySelector('#microphone').click()")
        browser.wait(PROBLEM)
        assert "The microphone was refused" in browser.run(PROBLEM)
        browser.permit_microphone("granted")
        hears(browser)
        soundfile.write(tmp_path / "words.wav", words(), RATE_HZ)
        answered(browser, tmp_path / "words.wav")  # a recording takes the microphone's place
        assert browser.run("document.querySelector('#microphone').ariaPressed") == "false"

        # A browser that takes the microphone at its own rate only.
        browser.run("""{
          const real = AudioContext.prototype.createMediaStreamSource;
          AudioContext.prototype.createMediaStreamSource = function (stream) {
            if (this.sampleRate === 16000) throw new DOMException('not this rate', 'NotSupportedError');
            return real.call(this, stream);
          };
        }""")
        hears(browser)
        browser.run("document.querySelector('#microphone').click()")


def hears(browser: Browser) -> None:
    """Start the microphone; what it records is not always the same."""
    browser.run("document.querySelector('#microphone').click()")
    browser.wait(f"{SHOWN}.then((s) => s.live && s.windows.length >= 12)")
    windows = browser.run(SHOWN)["windows"]
    assert np.ptp([window["scores"] for window in windows], axis=0).max() > 1e-3
    steps = np.diff([window["startS"] for window in windows])
    np.testing.assert_allclose(np.round(steps / 0.25) * 0.25, steps, atol=0.02)
    assert browser.run(PROBLEM) == ""


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "card.json is missing"),
        ({}, "contract that does not hold"),
        ({"takes": "features"}, "Export the run with --waveform"),
        ({"form": "step"}, "Export the run without --streaming"),
        ({"sample_rate_hz": 0}, "contract that does not hold"),
        ({"student": "x"}, "model.onnx is missing"),
    ],
)
def test_what_the_page_cannot_run_is_a_line_on_it(
    browser: Browser, tmp_path: Path, card: dict[str, Any] | None, message: str
) -> None:
    write_page(tmp_path, {})
    contract = {
        "form": "static", "takes": "waveform", "sample_rate_hz": RATE_HZ, "classes": ["a", "b"],
        "task": "single", "length_samples": RATE_HZ, "shortest_frames": 1,
        "front_end": {"window_samples": 640, "hop_samples": 320},
    }  # fmt: skip
    if card is not None:
        document = {"contract": {**contract, **card}}
        (tmp_path / "card.json").write_text(json.dumps(document))
    with served(tmp_path) as address:
        browser.open(f"{address}/index.html")
        browser.wait(PROBLEM)
        assert message in browser.run(PROBLEM)
        assert browser.run("document.querySelector('#microphone').disabled")


def test_what_is_no_audio_is_a_line_on_the_page(
    browser: Browser, exported: tuple[Path, tuple[object, ...]], tmp_path: Path
) -> None:
    (tmp_path / "letter.wav").write_text("Dear Sir or Madam")
    soundfile.write(tmp_path / "wild.wav", np.full(9_000, np.nan), RATE_HZ, subtype="FLOAT")
    with served(exported[0]) as address:
        browser.open(f"{address}/index.html")
        browser.wait(READY)
        for name, message in (
            ("letter.wav", "no audio that this browser can"),
            ("wild.wav", "finite"),
        ):
            browser.choose("#file", tmp_path / name)
            browser.wait(f"({PROBLEM}).startsWith('{name}')")
            assert message in browser.run(PROBLEM)


def test_the_page_is_whole_and_requests_nothing_else(tmp_path: Path) -> None:
    assert sorted(PAGE) == sorted(os.listdir(SOURCE))
    write_page(tmp_path, dict.fromkeys(RUNTIME, b""))
    assert sorted(os.listdir(tmp_path)) == sorted([*PAGE, *RUNTIME])
    text = {name: (tmp_path / name).read_text() for name in PAGE}
    assert "default-src 'none'" in text["index.html"]
    assert not [
        name for name, content in text.items() if "://" in content.replace("http://localhost", "")
    ]
    scripts = "".join(content for name, content in text.items() if name.endswith(".js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", scripts
    )


def test_a_page_needs_samples_and_the_runtime(tmp_path: Path) -> None:
    made = write_run(tmp_path / "run", "tc-resnet")
    words = (made, "--to", "onnx", "--out", tmp_path / "out", "--length-s", 1, "--page", tmp_path)
    code, message = run(main, *words)
    assert code == 2
    assert "add --waveform" in message
    shutil.copy(SOURCE / "page.js", tmp_path / RUNTIME[0])
    code, message = run(main, *words, "--waveform")
    assert code == 2
    assert f"{RUNTIME[1]}: No such file" in message
    assert RUNTIME[0] not in message
    assert "npm install onnxruntime-web" in message
    assert not (tmp_path / "out").exists()
