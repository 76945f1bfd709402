"""Exported files and recordings with anything wrong in them: answered, or rejected in words."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from fuzzing import fuzzing, mutated_bytes, mutated_json, only_reported, seeds
from hypothesis import given
from sound_files import encoded, kinds
from toy_onnx import contract, graph, write_toy

from cache_schema.errors import RunError
from student.predict.contract import METADATA_KEY, parse_contract
from student.predict.exported import ExportedStudent
from student.predict.onnx_session import open_onnx
from student.predict.pcm import read_pipe
from student.predict.recordings import UnusableRecording, read_recording

FORMS = ("static", "dynamic", "step")
CONTRACTS = [json.dumps(contract(form, attention=form != "step")).encode() for form in FORMS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzing(400)
@given(seed=seeds)
def test_a_mutated_contract_is_read_or_rejected(seed: int) -> None:
    dice = random.Random(seed)
    data = mutated_json(dice.choice(CONTRACTS), dice)
    with only_reported(RunError):
        found = parse_contract(data, "x.onnx")
        assert parse_contract(found.encode(), "x.onnx") == found


@fuzzing(150)
@given(seed=seeds)
def test_a_graph_with_a_mutated_contract_answers_as_it_reports_or_is_rejected(
    folder: Path, seed: int
) -> None:
    dice = random.Random(seed)
    form = dice.randrange(len(FORMS))
    model = graph(json.loads(CONTRACTS[form]))
    promised = mutated_json(CONTRACTS[form], dice).decode("utf-8", "replace").replace("\0", "")
    onnx.helper.set_model_props(model, {METADATA_KEY: promised})
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    with only_reported(RunError):
        student = ExportedStudent(open_onnx(folder / "x.onnx"))
        found = student.predict(np.zeros(8000))
        assert len(found.logits_C) == len(found.classes)
        assert len(found.times_T) == len(found.attention_T)


@fuzzing(150)
@given(seed=seeds)
def test_mutated_bytes_of_a_file_are_answered_or_rejected(folder: Path, seed: int) -> None:
    dice = random.Random(seed)
    content = write_toy(folder / "whole.onnx", dice.choice(FORMS)).read_bytes()
    (folder / "y.onnx").write_bytes(mutated_bytes(content, dice))
    with only_reported(RunError):
        ExportedStudent(open_onnx(folder / "y.onnx")).predict(np.zeros(8000))


@fuzzing(400)
@given(seed=seeds)
def test_a_mutated_recording_is_read_or_rejected(folder: Path, seed: int) -> None:
    dice = random.Random(seed)
    made = encoded(*dice.choice(kinds()))
    if made is None:
        return
    (folder / "x.wav").write_bytes(mutated_bytes(made[0], dice))
    with only_reported(UnusableRecording):
        samples = sum(len(block) for block in read_recording(folder / "x.wav", 16_000))
        assert samples > 0


@fuzzing(300)
@given(seed=seeds)
def test_a_mutated_wav_in_a_pipe_is_decoded_or_rejected(seed: int) -> None:
    dice = random.Random(seed)
    content = io.BytesIO()
    wave = np.sin(np.arange(2000) / 9)
    soundfile.write(content, wave, 16_000, format="WAV", subtype=dice.choice(["PCM_16", "PCM_U8"]))
    pipe = io.BytesIO(mutated_bytes(content.getvalue(), dice))
    with only_reported(UnusableRecording):
        assert sum(len(block) for block in read_pipe(pipe, 16_000, None, None)) > 0
