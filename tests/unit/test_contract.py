"""A contract that contradicts itself is rejected, with every problem."""

from __future__ import annotations

import json
from typing import Any

import pytest
from toy_onnx import BINS, CLASSES, contract

from cache_schema.errors import RunError
from cache_schema.front_ends import FRONT_ENDS
from student.predict.contract import Contract, front_end_spec, parse_contract

FRONT_END = contract()["front_end"]


def tensors(name: str, shape: list[Any], dtype: str = "float32") -> list[dict[str, Any]]:
    return [{"name": name, "shape": shape, "dtype": dtype}]


def refused(document: Any) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(RunError, match="export-student RUN") as caught:
        parse_contract(data, "some.onnx")
    assert caught.value.kind == "contract"
    assert str(caught.value).startswith("some.onnx has a contract that does not hold")
    return str(caught.value)


@pytest.mark.parametrize("form", ["static", "dynamic", "step"])
@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_true_contract_is_read_and_written_as_it_was(form: str, task: str) -> None:
    found = parse_contract(json.dumps(contract(form, task=task)).encode(), "x")
    assert (found.form, found.task, found.classes) == (form, task, CLASSES)
    assert parse_contract(found.encode(), "x") == found


@pytest.mark.parametrize("preset", FRONT_ENDS.values(), ids=lambda preset: preset.name)
def test_every_front_end_fits_into_a_contract(preset: Any) -> None:
    assert front_end_spec(preset).front_end() == preset


def test_the_shortest_clip_is_a_window_and_so_many_hops_more() -> None:
    dynamic = parse_contract(json.dumps(contract("dynamic") | {"shortest_frames": 3}).encode(), "x")
    assert dynamic.shortest_samples == 640 + 2 * 320
    assert parse_contract(json.dumps(contract()).encode(), "x").shortest_samples == 16_000


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"format_version": 2}, "format_version"),
    "form": ({"form": "quick"}, "form"),
    "unknown field": ({"more": 1}, "more"),
    "no class": ({"classes": []}, "classes"),
    "a class twice": ({"classes": ["a", "b", "a"]}, "a class is named twice"),
    "classes": ({"classes": ["a", "b"]}, "output logits has shape [1, 3], expected (free, 2)"),
    "rate": ({"sample_rate_hz": 8000}, "8000 Hz, its front end 16000 Hz"),
    "huge rate": ({"sample_rate_hz": 10**12}, "sample_rate_hz"),
    "bins": ({"feature_bins": 40}, "40 feature_bins, its front end gives 20"),
    "frames": ({"frames": 50}, "16000 samples are 49 frames, not 50"),
    "no length": ({"length_samples": None}, "without its length_samples"),
    "length": ({"length_samples": 32_000}, "32000 samples are 99 frames, not 49"),
    "huge length": ({"length_samples": 2**40}, "length_samples"),
    "negative length": ({"length_samples": -1}, "length_samples"),
    "hop": ({"hop_s": 0}, "hop_s"),
    "text for a number": ({"frames": "49"}, "frames"),
    "weights": ({"weights_sha256": "../up"}, "weights_sha256"),
    "input": ({"inputs": tensors("sound", [1, 49, BINS])}, "inputs sound, expected features"),
    "input of an open length": ({"inputs": tensors("features", [1, None, BINS])}, "[1, None, 20]"),
    "input of another length": ({"inputs": tensors("features", [1, 48, BINS])}, "[1, 48, 20]"),
    "two clips": ({"inputs": tensors("features", [2, 49, BINS])}, "[2, 49, 20]"),
    "dtype": ({"inputs": tensors("features", [1, 49, BINS], "float64")}, "dtype"),
    "huge input": ({"inputs": tensors("features", [1, 2**40, BINS])}, "inputs.0.shape"),
    "no output": ({"outputs": []}, "outputs"),
    "output": ({"outputs": tensors("answer", [1, 3])}, "outputs answer, expected logits"),
    "a state where none is": (
        {"inputs": tensors("features", [1, 49, BINS]) + tensors("state_0", [1, 2])},
        "inputs features, state_0, expected features",
    ),
    "waveform": ({"takes": "waveform"}, "inputs features, expected waveform"),
    "front end missing": ({"front_end": {}}, "front_end.name"),
}


@pytest.mark.parametrize(("lie", "reported"), LIES.values(), ids=LIES)
def test_a_false_statement_is_reported(lie: dict[str, Any], reported: str) -> None:
    assert reported in refused(contract() | lie)


FRONT_END_LIES: dict[str, tuple[dict[str, Any], str]] = {
    "dft below the window": (
        {"dft_samples": 512},
        "a DFT of 512 samples cannot hold a window of 640",
    ),
    "dft of many hops": ({"hop_samples": 1}, "a DFT of 1024 samples every 1, at most 16 hops"),
    "huge dft": ({"dft_samples": 2**30}, "front_end.dft_samples"),
    "no hop": ({"hop_samples": 0}, "front_end.hop_samples"),
    "bands above half the rate": ({"high_hz": 9000.0}, "do not lie below half of 16000 Hz"),
    "bands upside down": ({"low_hz": 7000.0}, "bands from 7000 to 7000 Hz"),
    "coefficients": ({"coefficients": 41}, "41 coefficients of 40 bands"),
    "huge bands": ({"mel_bands": 10**9}, "front_end.mel_bands"),
    "floor": ({"log_floor": 0.0}, "front_end.log_floor"),
}


@pytest.mark.parametrize(("lie", "reported"), FRONT_END_LIES.values(), ids=FRONT_END_LIES)
def test_a_front_end_that_cannot_be_is_reported(lie: dict[str, Any], reported: str) -> None:
    assert reported in refused(contract() | {"front_end": FRONT_END | lie})


@pytest.mark.parametrize(
    ("states", "reported"),
    [
        ([[1, None]], "has a free size"),
        ([[1, 1 << 24], [1, 1 << 24]], "entries together, at most"),
        ([[3, 2]], "state_0 has shape [3, 2]"),
    ],
)
def test_states_are_bounded(states: list[list[Any]], reported: str) -> None:
    step = contract("step")
    step["inputs"][1:] = [one for n, s in enumerate(states) for one in tensors(f"state_{n}", s)]
    step["outputs"][1:] = [
        one for n, s in enumerate(states) for one in tensors(f"next_state_{n}", s)
    ]
    assert reported in refused(step)


def test_a_state_returns_as_it_came() -> None:
    step = contract("step")
    step["outputs"][1]["shape"] = [1, BINS + 1]
    assert "output next_state_0 has shape [1, 21], expected (1, 20)" in refused(step)


def test_all_problems_are_reported_at_once() -> None:
    reported = refused(contract() | {"frames": 50, "feature_bins": 40, "classes": ["a", "b"]})
    assert "not 50" in reported
    assert "40 feature_bins" in reported
    assert "expected (free, 2)" in reported


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": 1e999}', b"9" * 5000],
    ids=repr,
)
def test_what_is_no_document_is_reported(data: bytes) -> None:
    refused(data[:200_000])


def test_a_huge_contract_is_not_parsed() -> None:
    assert "are read" in refused(b'"' + b"x" * (5 << 20) + b'"')


def test_numbers_that_json_does_not_have_are_rejected() -> None:
    text = json.dumps(contract()).replace('"hop_s": 0.02', '"hop_s": NaN')
    assert "hop_s" in refused(text.encode())
    assert Contract.model_fields["hop_s"].is_required()
