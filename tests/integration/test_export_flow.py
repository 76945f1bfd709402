"""What an export does around the format: clips, bars, int8, cards, and nothing left where it fails."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import CLASSES, command, succeeded, write_tones
from exported_students import write_run
from fuzzing import run
from kept_exporter import WEIGHTS, KeptExporter
from safetensors.torch import load_file, save_file

from cache_schema.front_ends import FRONT_ENDS, front_end_features
from cache_schema.reader import open_cache
from cache_schema.signal_names import FULL_SCALE
from student.export import EXPORTERS, clips, parity
from student.export.cli import main
from student.models.interface import Student
from student.predict.contract import Contract
from student.stream import lengths

pytestmark = pytest.mark.usefixtures("operators_once")
NAMES = tuple(sorted(CLASSES))
CALIBRATED = 40


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, and untrained runs of its classes."""
    folder = tmp_path_factory.mktemp("work")
    corpus = write_tones(folder / "corpus", 30)
    words = (f"folder:{corpus}", "--teacher", "toy", "--signal", "mfcc40")
    succeeded(command("precompute-teacher", *words, "--out", folder / "waves.zarr"))
    for name in ("tc-resnet", "crnn", "att-rnn"):
        write_run(folder / name, name, NAMES)
    return folder


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS, "kept", "kept_exporter:KeptExporter")


def vectors_of(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "test_vectors.npz") as vectors:
        return dict(vectors)


def exported(work: Path, out: Path, name: str, *words: object) -> dict[str, object]:
    code, said = run(main, work / name, "--to", "kept", "--out", out, *words)
    assert code == 0, said
    card = json.loads((out / "card.json").read_text())
    assert set(os.listdir(out)) == {*card["files"], "card.json", "CARD.md"}
    assert all((out / n).stat().st_size == size for n, size in card["files"].items())
    Contract.model_validate_json(json.dumps(card["contract"]))
    return dict(card)


def failed(work: Path, tmp_path: Path, name: str, *words: object, code: int = 1) -> str:
    found, said = run(main, work / name, "--to", "kept", "--out", tmp_path / "out", *words)
    assert found == code, said
    assert os.listdir(tmp_path) == []
    return said


def test_int8_is_tried_on_held_out_clips_and_reports_how_many(work: Path, tmp_path: Path) -> None:
    words = ("--int8", "--calibrate", work / "waves.zarr", "--clips", CALIBRATED, "--length-s", 1)
    card = exported(work, tmp_path / "out", "tc-resnet", *words)
    assert (card["precision"], card["quantised"]) == ("int8", "weights and activations")
    parity = card["parity"]
    assert parity["int8"]["clips"] == 9 + 9 + 90 - CALIBRATED
    assert parity["int8"]["source"] == "68 labelled clips: 9 of test, 9 of validation, 50 of train"
    assert parity["float"]["metric"] == "accuracy"
    assert parity["float"]["scores"]["clips"] == 68
    held_out = parity["float"]["held_out"]
    assert held_out["clips"] == 9 + 9  # how good it is on what it was trained on is no result
    assert held_out["student"] == held_out["file"]
    assert len(KeptExporter.calibration) == CALIBRATED
    assert card["calibration"].startswith(f"{CALIBRATED} training clips of ")
    shapes = {tuple(inputs["features"].shape) for inputs in KeptExporter.calibration}
    assert shapes == {(1, card["contract"]["frames"], 40)}
    assert (tmp_path / "out" / "model.kept").read_bytes().startswith(b"int8")


def test_without_held_out_clips_no_metric_is_a_result(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "corpus/train", tmp_path / "corpus/train")
    cache = tmp_path / "train.zarr"
    succeeded(
        command(
            "precompute-teacher", f"folder:{tmp_path}/corpus", "--teacher", "toy", "--out", cache
        )
    )
    words = ("--to", "kept", "--out", tmp_path / "out", "--calibrate", cache, "--length-s", 1)
    code, said = run(main, work / "tc-resnet", *words)
    assert code == 0, said
    assert "; no clip is held out, so how good it is is not known" in " ".join(said.split())
    assert "None of them is held out from training" in (tmp_path / "out/CARD.md").read_text()
    parity = json.loads((tmp_path / "out/card.json").read_text())["parity"]["float"]
    assert parity["held_out"] == {"clips": 0, "student": None, "file": None}
    assert parity["scores"]["clips"] == 90


def test_ragged_clips_get_a_form_of_any_length(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = run(main, work / "tc-resnet", "--to", "kept", "--out", out, "--calibrate",
                     work / "waves.zarr")  # fmt: skip
    assert code == 0, said
    # Ten lengths from 0.5 to 1.4 s are equally common.
    why = "no length is common among 90 train clips of 0.5 to 1.4 s"
    assert f"clips of any length: {why} (--length-s changes it)" in " ".join(said.split())
    card = json.loads((out / "card.json").read_text())
    assert (card["contract"]["form"], card["why_length"]) == ("dynamic", why)
    assert f"The length was chosen by the clips: {why}." in (out / "CARD.md").read_text()


@pytest.mark.parametrize("reason", ["of the student", "of the format"])
def test_ragged_clips_of_one_length_get_one_that_holds_most(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    name, why_not = "att-rnn", "its recurrences export for one length only"
    if reason == "of the format":
        name, why_not = "tc-resnet", "its axes are fixed"
        monkeypatch.setattr(KeptExporter, "why_not_any_length", f"{why_not}. Choose one")
    card = exported(work, tmp_path / "out", name, "--calibrate", work / "waves.zarr")
    assert card["contract"]["length_samples"] == 20_800  # 1.3 s: a tenth has 1.4 s
    assert card["why_length"] == (
        f"it holds 90% of 90 train clips of 0.5 to 1.4 s; no form of any length: {why_not}"
    )


def said(work: Path, tmp_path: Path, length_s: str) -> str:
    words = ("--calibrate", work / "waves.zarr", "--length-s", length_s)
    out = tmp_path / length_s
    code, text = run(main, work / "tc-resnet", "--to", "kept", "--out", out, *words)
    assert code == 0, text
    return " ".join(text.split())


def test_a_length_that_cuts_many_clips_is_warned_of(work: Path, tmp_path: Path) -> None:
    assert "the file takes 0.5 s, and 90% of the training clips are longer" in said(
        work, tmp_path, "0.5"
    )
    assert "warning" not in said(work, tmp_path, "1.4")


def test_what_filling_clips_up_costs_is_measured(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student that is right about sounds, and about nothing that silence follows."""
    true = {}
    for split in ("test", "validation"):
        for unit in (cache := open_cache(work / "waves.zarr")).units(split, 0):
            rows = cache.read_unit(unit, ("waveform", *cache.target_signals))
            for wave_S, labels_C in zip(rows.signals["waveform"], rows.targets, strict=True):
                features_TM = front_end_features(
                    wave_S / np.float32(FULL_SCALE), FRONT_ENDS["mfcc40"]
                )
                true[features_TM.tobytes()] = labels_C

    def answer(student: Student, features_BTM: Any, *, attends: bool) -> dict[str, Any]:
        usual = usually(student, features_BTM, attends=attends)
        if (labels_C := true.get(features_BTM[0].tobytes())) is None:
            return usual
        return usual | {"logits": labels_C[None]}

    usually = parity._student_answer
    monkeypatch.setattr(parity, "_student_answer", answer)
    text = said(work, tmp_path, "4")
    assert "warning: silence fills 18 of 18 held-out clips up to 4 s" in text
    assert "and 1.0000 on their own sound" in text
    assert (
        "precompute-teacher --view placement:length_s=4), or export it with --length-s any" in text
    )
    card = json.loads((tmp_path / "4/card.json").read_text())
    assert card["parity"]["float"]["unfilled"] == {"clips": 18, "student": 1.0}
    page = (tmp_path / "4/CARD.md").read_text()
    assert (
        "Silence fills 18 of the held-out clips up to its length; with these on their own" in page
    )


def test_a_cache_of_features_alone_serves_where_features_are_taken(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of a cache whose waveform has a rate of another teacher's.
    for module in (clips, lengths):
        monkeypatch.setattr(module, "feature_sources", lambda _, front_end: [front_end.name])
    monkeypatch.setattr(KeptExporter, "why_not_any_length", "its axes are fixed")
    words = ("--calibrate", work / "waves.zarr")
    said = failed(work, tmp_path, "tc-resnet", *words, "--waveform", code=2)
    assert "keeps no waveform at 16000 Hz" in said
    card = exported(work, tmp_path / "out", "tc-resnet", *words)
    assert card["contract"]["length_samples"] == 640 + 63 * 320
    assert card["contract"]["frames"] == 64
    assert card["parity"]["float"]["clips"] < 108  # shorter ones are left out
    vectors = vectors_of(tmp_path / "out")
    assert "waveform_0" not in vectors
    assert vectors["features_0"].shape == (64, 40)


def test_generated_clips_are_called_so(work: Path, tmp_path: Path) -> None:
    card = exported(work, tmp_path / "out", "att-rnn", "--length-s", 1)
    assert not card["real_clips"]
    assert "generated clips of tones in noise, no recordings" in card["parity"]["float"]["source"]
    assert card["parity"]["float"]["held_out"]["file"] is None
    page = (tmp_path / "out" / "CARD.md").read_text()
    assert "generated clips of tones in noise, no recordings" in page
    assert "## Parity" in page


def test_a_step_is_tried_at_every_frame_and_calibrated_along_clips(
    work: Path, tmp_path: Path
) -> None:
    words = ("--streaming", "--int8", "--calibrate", work / "waves.zarr", "--clips", 20)
    card = exported(work, tmp_path / "out", "crnn", *words)
    assert card["contract"]["form"] == "step"
    seen = [inputs["state_2"].item() for inputs in KeptExporter.calibration]
    assert seen[:8] == [0, 1, 2, 3, 4, 5, 6, 7]  # frames seen, which stop at 7
    assert seen.count(0) == 20


def test_a_form_of_any_length_is_tried_at_others(work: Path, tmp_path: Path) -> None:
    card = exported(work, tmp_path / "out", "tc-resnet", "--length-s", "any", "--waveform")
    shapes = card["parity"]["float"]["shapes"]
    assert len(shapes) == 9
    assert len({clips for clips, _ in shapes}) == len({frames for _, frames in shapes}) == 3
    assert card["contract"]["inputs"][0]["shape"] == [None, None]


def test_the_card_has_costs_origin_and_versions(work: Path, tmp_path: Path) -> None:
    card = exported(work, tmp_path / "out", "tc-resnet", "--length-s", 1)
    cost = card["cost"]
    assert cost["of"] == "a clip of 49 frames"
    assert cost["macs"] == 13_514_064 - 72 * (12 - 3)
    assert 0 < cost["latency"]["file"]["p50_ms"] <= cost["latency"]["file"]["p95_ms"]
    assert card["machine"]["threads"] == 1
    assert card["versions"]["no-such-distribution"] == "not installed"
    assert card["versions"]["torch"] == torch.__version__
    assert card["test_vectors"] == 8
    assert card["format_facts"] == {"arena": "10 | bytes"}
    assert "| arena | 10 \\| bytes |" in (tmp_path / "out" / "CARD.md").read_text()
    vectors = vectors_of(tmp_path / "out")
    assert {"front_end_window", "front_end_mel", "front_end_dct", "logits_7"} <= set(vectors)


def test_a_missed_bar_leaves_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeptExporter, "error", 1e-3)
    said = failed(work, tmp_path, "tc-resnet", "--length-s", 1)
    assert "does not give its student" in said
    assert "allowed 1e-05" in said


@pytest.mark.parametrize(("error", "size"), [(100.0, 100), (0.0, 900_000)])
def test_an_int8_file_that_misses_a_bar_leaves_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, size: int
) -> None:
    monkeypatch.setattr(KeptExporter, "int8_error", error)
    monkeypatch.setattr(KeptExporter, "int8_bytes", size)
    words = ("--int8", "--calibrate", work / "waves.zarr", "--clips", CALIBRATED)
    said = failed(work, tmp_path, "tc-resnet", *words)
    assert "needed 97%" in said if error else "allowed 0.35" in said


def test_weights_alone_are_tried_where_activations_of_8_bits_miss_a_bar(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeptExporter, "int8_error", 100.0)
    monkeypatch.setattr(KeptExporter, "quantizes_weights_alone", lambda *_: True)
    words = ("--int8", "--calibrate", work / "waves.zarr", "--clips", CALIBRATED)
    card = exported(work, tmp_path / "out", "tc-resnet", *words)
    assert card["quantised"] == "weights alone"
    assert card["calibration"] == ""
    assert card["parity"]["int8"]["agreement"] == 1
    assert (tmp_path / "out" / "model.kept").read_bytes().startswith(WEIGHTS)
    assert "In int8: weights alone." in (tmp_path / "out" / "CARD.md").read_text()
    monkeypatch.setattr(KeptExporter, "int8_bytes", 900_000)
    (tmp_path / "other").mkdir()
    assert "allowed 0.35" in failed(work, tmp_path / "other", "tc-resnet", *words)


def test_too_few_clips_are_rejected(work: Path, tmp_path: Path) -> None:
    words = ("--int8", "--calibrate", work / "waves.zarr", "--clips")
    said = failed(work, tmp_path, "tc-resnet", *words, 80, code=2)
    assert "28 labelled clips" in said
    assert "at least 50 are needed to evaluate" in said
    said = failed(work, tmp_path, "tc-resnet", *words, 10, code=2)
    assert "10 training clips for this form, at least 20 are needed to calibrate" in said


def test_where_no_clip_is_left_the_way_on_works(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (clips, lengths):  # of features: those shorter than the form are left out
        monkeypatch.setattr(module, "feature_sources", lambda _, front_end: [front_end.name])
    words = ("--length-s", 2)
    message = failed(
        work, tmp_path, "tc-resnet", *words, "--calibrate", work / "waves.zarr", code=2
    )
    assert "has 0 labelled clips: none for this form; at least 1 are needed" in message
    assert "leave --calibrate out and give --length-s" in message
    exported(work, tmp_path / "out", "tc-resnet", *words)


def test_weights_that_are_not_finite_are_reported(tmp_path: Path) -> None:
    bad = write_run(tmp_path / "runs" / "bad", "tc-resnet", NAMES)
    weights = load_file(bad / "model.safetensors")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], torch.nan)
    save_file(weights, bad / "model.safetensors")
    (tmp_path / "below").mkdir()
    said = failed(tmp_path / "runs", tmp_path / "below", "bad", "--length-s", 1)
    assert "has weights that are not finite, first classifier.bias" in said


def test_a_name_of_a_stranger_is_escaped_on_the_page(tmp_path: Path) -> None:
    names = ("\x1b]0;owned\x07", "a|b <script>", "[x](http://y)")
    write_run(tmp_path / "odd", "tc-resnet", names)
    exported(tmp_path, tmp_path / "out", "odd", "--length-s", 1)
    page = (tmp_path / "out" / "CARD.md").read_text()
    assert "\x1b" not in page
    assert "<script>" not in page
    assert "a\\|b &lt;script&gt;" in page
