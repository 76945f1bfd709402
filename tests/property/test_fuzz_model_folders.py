"""Model folders of any content: a teacher comes of them, or a message; never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fuzzing import ODD_VALUES, fuzzing, mutated_bytes, mutated_json, only_reported, run, seeds
from hypothesis import given
from safetensors.torch import load_file, save_file
from small_finetuning import FAMILIES, write_base

from cache_schema.errors import AftersoundError
from pipeline.precompute.cli import main as precompute_teacher
from pipeline.teachers import open_teacher

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {family: write_base(root / family, family) for family in FAMILIES}


@contextmanager
def restored(folder: Path) -> Iterator[Path]:
    """The folder, all of whose files are put back afterwards."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        yield folder
    finally:
        for path in folder.iterdir():
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)


def use(folder: Path) -> None:
    """Open it, load it and run it; only errors with a message may come out."""
    with only_reported():
        teacher = open_teacher(str(folder))
        teacher.load("cpu")
        samples = max(teacher.min_samples, min(16_000, teacher.max_samples or 16_000))
        names = [name for name in ("logits", "clip_embedding") if name in teacher.signals]
        (answer,) = teacher.infer([np.full(samples, 0.1, np.float32)], names)
        for name, value in answer.items():
            assert value.shape == teacher.row_shape(name, samples)


@fuzzing(90)
@given(seeds)
def test_settings_of_any_content_make_a_teacher_or_a_message(
    bases: dict[str, Path], seed: int
) -> None:
    dice = random.Random(seed)
    with restored(bases[dice.choice(FAMILIES)]) as folder:
        path = folder / dice.choice([CONFIG, CONFIG, PREPROCESSOR])
        path.write_bytes(mutated_json(path.read_bytes(), dice))
        use(folder)


@fuzzing(40)
@given(seeds)
def test_weights_of_any_content_make_a_teacher_or_a_message(
    bases: dict[str, Path], seed: int
) -> None:
    dice = random.Random(seed)
    with restored(bases[dice.choice(FAMILIES)]) as folder:
        path = folder / WEIGHTS
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        if dice.random() < 0.6:
            header = mutated_json(content[8 : 8 + size], dice)
            content = len(header).to_bytes(8, "little") + header + content[8 + size :]
        else:
            content = mutated_bytes(content, dice)
        path.write_bytes(content)
        use(folder)


@fuzzing(40)
@given(seeds)
def test_an_index_of_any_content_makes_a_teacher_or_a_message(
    bases: dict[str, Path], seed: int
) -> None:
    dice = random.Random(seed)
    with restored(bases["whisper"]) as folder:
        (folder / WEIGHTS).rename(folder / "part-1.safetensors")
        index = {
            "metadata": {},
            "weight_map": {"a": "part-1.safetensors", "b": "part-1.safetensors"},
        }
        content = json.dumps(index).encode()
        if dice.random() < 0.8:
            content = mutated_json(content, dice)
        (folder / "model.safetensors.index.json").write_bytes(content)
        use(folder)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        {"id2label": {"0": "a", "2": "b"}}, {"id2label": {"0": "a", "1": "a"}}, {"hidden_size": 10**9},
        {"num_hidden_layers": 10**8, "encoder_layers": 10**8}, {"d_model": 10**9},
        {"conv_stride": [0, 0]}, {"patch_size": 0}, {"strides": []}, {"model_type": ["whisper"]},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"transformers_weights": "../elsewhere.safetensors"}, {"per_layer_config": {"0": 1}},
        {"dtype": "os"}, {"attn_implementation": "someone/kernel"}, {"fusion_config": {"x": True}},
        {"aftersound_pooling": 7}, {"aftersound_task": "many"}, {"problem_type": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_that_requests_too_much_does_not_get_it(
    bases: dict[str, Path], family: str, change: dict[str, object]
) -> None:
    with restored(bases[family]) as folder:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | change))
        use(folder)


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR, WEIGHTS])
@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"{" * 10**5, b'{"a": NaN}'])
def test_the_command_reports_what_is_wrong_and_writes_nothing(
    bases: dict[str, Path], tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "corpus/dog").mkdir(parents=True)
    soundfile.write(tmp_path / "corpus/dog/a.wav", np.full(16_000, 0.1), 16_000)
    folder = tmp_path / "model"
    shutil.copytree(bases["whisper"], folder)
    (folder / name).write_bytes(content)
    out = tmp_path / "out.zarr"
    code, output = run(
        precompute_teacher, f"folder:{tmp_path / 'corpus'}", "--teacher", folder, "--out", out
    )
    assert code in (1, 2)
    assert "Copy" in output or "copy" in output or "known:" in output
    assert not out.exists()


def test_every_problem_of_the_settings_is_listed(bases: dict[str, Path]) -> None:
    with restored(bases["whisper"]) as folder:
        for name, change in {
            CONFIG: {"id2label": {"0": "a", "5": "b"}, "max_source_positions": 0},
            PREPROCESSOR: {"hop_length": 0, "sampling_rate": 10},
        }.items():
            settings = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(settings | change))
        with pytest.raises(AftersoundError) as caught:
            open_teacher(str(folder))
    for part in ("max_source_positions", "hop_length", "sampling_rate"):
        assert part in str(caught.value)


@fuzzing(30)
@given(seeds)
def test_options_of_any_value_make_a_teacher_or_a_message(
    bases: dict[str, Path], seed: int
) -> None:
    dice = random.Random(seed)
    name = dice.choice(["residual", "input", "task", "members", "classes", "sample_rate_hz", ""])
    text = dice.choice([str(bases["whisper"]), "toy", "ensemble:members=toy;toy"])
    with only_reported():
        open_teacher(text, {name: str(dice.choice(ODD_VALUES))})


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_are_integers_are_named(bases: dict[str, Path], family: str) -> None:
    with restored(bases[family]) as folder:
        weights = load_file(folder / WEIGHTS)
        name = max(weights, key=lambda one: weights[one].numel())
        save_file(weights | {name: weights[name].to(torch.int64)}, folder / WEIGHTS)
        with pytest.raises(AftersoundError, match="1 weights are integers") as raised:
            open_teacher(str(folder)).load("cpu")
        assert f"{name} (int64)" in str(raised.value)
