"""Every teacher keeps its contract, on tiny models with random weights and peaked attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_checkpoints import (
    CLASSES,
    CNN_POOLINGS,
    MAKERS,
    assert_within_one_ulp,
    oracle,
    stock_answer,
    write_checkpoints,
)

from cache_schema.errors import AftersoundError, RunError, UsageError
from cache_schema.plugins import load_plugin, plugin_names
from pipeline.plugin_checks import TEACHER_CHECKS
from pipeline.teachers import MODEL_TYPES, TEACHERS, Teacher, open_teacher

torch.set_num_threads(1)

CASES: list[tuple[str, dict[str, str]]] = [
    ("toy", {}),
    *((name, {}) for name in MAKERS),
    ("whisper", {"input": "native"}),
    ("ast", {"input": "short"}),
    ("wav2vec2_layer_norm", {"residual": "false"}),
    *((f"efficientnet_{pooling}", {}) for pooling in CNN_POOLINGS),
    ("ensemble_with_attention", {}),
    ("ensemble_without", {}),
]
MEMBERS = {
    "ensemble_with_attention": ("wav2vec2_layer_norm", "hubert"),
    "ensemble_without": ("whisper", "efficientnet_mean", "ast"),
}


def case_id(case: tuple[str, dict[str, str]]) -> str:
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a model, saved by transformers itself."""
    root = tmp_path_factory.mktemp("peaked_random_teachers")
    write_checkpoints(root)
    return root


@pytest.fixture(scope="session")
def loaded(checkpoints: Path) -> Callable[[str, dict[str, str]], Teacher]:
    teachers: dict[str, Teacher] = {}

    def load(name: str, options: dict[str, str]) -> Teacher:
        key = case_id((name, options))
        if key not in teachers:
            members = ";".join(str(checkpoints / member) for member in MEMBERS.get(name, ()))
            text = f"ensemble:members={members}" if members else str(checkpoints / name)
            teachers[key] = open_teacher("toy" if name == "toy" else text, options)
            teachers[key].load("cpu")
        return teachers[key]

    return load


@pytest.fixture(params=CASES, ids=case_id)
def teacher(
    request: pytest.FixtureRequest, loaded: Callable[[str, dict[str, str]], Teacher]
) -> Teacher:
    return loaded(*request.param)


WITHOUT_ATTENTION = {"efficientnet_mean", "efficientnet_attention", "ensemble_without"}


@pytest.fixture(params=[case for case in CASES if case[0] not in WITHOUT_ATTENTION], ids=case_id)
def attentive(
    request: pytest.FixtureRequest, loaded: Callable[[str, dict[str, str]], Teacher]
) -> Teacher:
    """A teacher with attention."""
    return loaded(*request.param)


def clips(*samples: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Noise whose loudness wanders, so that frames differ."""
    random = np.random.default_rng(seed)
    return [
        (0.3 * random.standard_normal(n) * np.abs(np.sin(np.arange(n) / 1500 + i))).astype("f4")
        for i, n in enumerate(samples)
    ]


def assert_agree(
    ours: dict[str, NDArray[np.float32]], theirs: dict[str, NDArray[np.float32]]
) -> None:
    for name, value in theirs.items():
        scale = max(float(np.abs(value).max()), 1e-3)
        assert np.abs(ours[name] - value).max() <= 1e-4 * scale, name


def test_every_family_and_every_architecture_is_tested() -> None:
    made = {maker()[0].model_type for maker in MAKERS.values()}
    assert made | {"efficientnet"} == set(MODEL_TYPES)


@pytest.mark.parametrize("check", TEACHER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(TEACHERS, "teacher"))
def test_every_teacher_by_name(name: str, check: Callable[[str], None]) -> None:
    check(getattr(load_plugin(TEACHERS, name, "teacher"), "example", name))


def test_it_is_a_teacher_with_json_provenance(teacher: Teacher) -> None:
    import json

    assert isinstance(teacher, Teacher)
    text = json.dumps(teacher.provenance)
    facts = json.loads(text)
    assert {"id", "family", "classes", "task", "sample_rate_hz", "options", "dtype"} <= facts.keys()
    assert '"/' not in text


@pytest.mark.parametrize("extra", [0, 1, 159, 160, 161, 2_399, 7_777, 15_999])
def test_shapes_are_what_row_shape_gives(teacher: Teacher, extra: int) -> None:
    samples = min(teacher.min_samples + extra, teacher.max_samples or 1_000_000)
    answer = teacher.infer(clips(samples), list(teacher.signals))[0]
    for name, value in answer.items():
        assert value.shape == teacher.row_shape(name, samples), name
        assert value.dtype == np.float32
        assert np.isfinite(value).all(), name


def test_longest_input_is_taken(teacher: Teacher) -> None:
    if teacher.max_samples is None:
        pytest.skip("takes any length")
    answer = teacher.infer(clips(teacher.max_samples), list(teacher.signals))[0]
    for name, value in answer.items():
        assert value.shape == teacher.row_shape(name, teacher.max_samples), name
    with pytest.raises(RunError, match=str(teacher.max_samples)):
        teacher.infer(clips(teacher.max_samples + 1), ["logits"])


def test_attention_sums_to_one(attentive: Teacher) -> None:
    answer = attentive.infer(clips(16_000), list(attentive.signals))[0]
    assert answer["temporal_attention"].sum() == pytest.approx(1, abs=1e-5)
    assert 0 <= answer["attention_dropped_mass"] < 1
    if "layer_attention" in answer:
        np.testing.assert_allclose(answer["layer_attention"].sum(axis=0), 1, atol=1e-5)
        np.testing.assert_allclose(answer["attention_map"].sum(axis=1), 1, atol=1e-5)


def test_attention_is_peaked_so_that_the_tests_mean_something(attentive: Teacher) -> None:
    name = "layer_attention" if "layer_attention" in attentive.signals else "temporal_attention"
    attention = attentive.infer(clips(16_000), [name])[0][name]
    assert attention.max() * len(attention) > 1.5


def test_a_signal_that_a_teacher_cannot_give_is_rejected(teacher: Teacher) -> None:
    missing = {"temporal_attention", "layer_attention", "clip_embedding"} - set(teacher.signals)
    for name in missing:
        with pytest.raises(UsageError, match=f"{name}.*known: logits"):
            teacher.infer(clips(9_000), [name])


def test_answers_repeat_bit_for_bit(teacher: Teacher) -> None:
    batch = clips(9_000, 9_000)
    first, second = (teacher.infer(batch, list(teacher.signals)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_answers_do_not_depend_on_neighbours(teacher: Teacher) -> None:
    lengths = (16_000, 12_345, 9_001) if teacher.batching == "near" else (12_345,) * 3
    batch = clips(*lengths)
    together = teacher.infer(batch, list(teacher.signals))
    for waveform, answer in zip(batch, together, strict=True):
        assert_agree(answer, teacher.infer([waveform], list(teacher.signals))[0])


def test_answers_do_not_depend_on_which_signals_are_requested(teacher: Teacher) -> None:
    batch = clips(9_000)
    every = teacher.infer(batch, list(teacher.signals))[0]
    for name in teacher.signals:
        assert np.array_equal(teacher.infer(batch, [name])[0][name], every[name]), name


def test_unequal_lengths_are_rejected_where_padding_would_matter(teacher: Teacher) -> None:
    if teacher.batching == "near":
        pytest.skip("takes near lengths")
    with pytest.raises(RunError, match="equal length"):
        teacher.infer(clips(9_000, 9_001), ["logits"])


def test_unknown_signal_is_rejected_with_the_nearest(teacher: Teacher) -> None:
    with pytest.raises(UsageError, match="Did you mean 'logits'"):
        teacher.infer(clips(9_000), ["logit"])


# Against the stock model.


# name, options, frames given to a shortened stock Whisper, special tokens, rows
STOCK: Sequence[tuple[str, dict[str, str], int | None, int, int]] = [
    ("wav2vec2_layer_norm", {}, None, 0, 1),
    ("wav2vec2_layer_norm", {"residual": "false"}, None, 0, 1),
    ("wav2vec2_group_norm", {}, None, 0, 1),
    ("hubert", {}, None, 0, 1),
    ("unispeech_sat", {}, None, 0, 1),
    ("wavlm", {}, None, 0, 1),
    ("data2vec_audio", {}, None, 0, 1),
    ("whisper", {}, 50, 0, 1),
    ("whisper", {"input": "native"}, None, 0, 1),
    ("whisper_first_frame", {}, 50, 0, 1),
    ("ast", {}, None, 2, 3),
]


@pytest.mark.parametrize(
    ("name", "options", "short_frames", "special", "rows"),
    STOCK,
    ids=[case_id((name, options)) for name, options, *_ in STOCK],
)
def test_rollout_and_logits_are_those_of_the_stock_model(
    checkpoints: Path,
    loaded: Callable[[str, dict[str, str]], Teacher],
    name: str,
    options: dict[str, str],
    short_frames: int | None,
    special: int,
    rows: int,
) -> None:
    waveform = clips(16_000)[0]
    teacher = loaded(name, options)
    answer = teacher.infer([waveform], ["temporal_attention", "logits"])[0]
    maps, logits = stock_answer(checkpoints / name, waveform, short_frames)
    positions = maps.shape[1]
    pooling = np.full(positions, 1 / positions)
    if special:
        pooling = np.repeat([0.5, 0.0], [special, positions - special])
    elif name == "whisper_first_frame":
        pooling = np.eye(positions)[0]
    expected = oracle(
        maps,
        pooling,
        residual=options.get("residual") != "false",
        special=special,
        rows=rows,
        frames=len(answer["temporal_attention"]),
    )
    assert_within_one_ulp(answer["temporal_attention"], expected)
    if name != "whisper_first_frame":  # the stock class would average
        np.testing.assert_allclose(answer["logits"], logits, atol=1e-5 * np.abs(logits).max())


# Frames in time.


@pytest.mark.parametrize(
    ("name", "hop_s", "first_frame_s"),
    [
        ("toy", 0.02, 0.01),
        ("whisper", 0.02, 0.0),
        ("wav2vec2_layer_norm", 0.02, 200 / 16_000),
        ("ast", 0.1, (200 + 7.5 * 160) / 16_000),
    ],
)
def test_frame_times(
    loaded: Callable[[str, dict[str, str]], Teacher], name: str, hop_s: float, first_frame_s: float
) -> None:
    teacher = loaded(name, {})
    grid = teacher.signals["temporal_attention"]
    assert grid is not None
    assert (grid.hop_s, grid.first_frame_s) == pytest.approx((hop_s, first_frame_s))
    coarse = teacher.signals["attention_map"]
    assert coarse is not None
    assert coarse.hop_s >= 0.08 - 1e-9


def test_padding_mass_is_recorded(loaded: Callable[[str, dict[str, str]], Teacher]) -> None:
    waveform = clips(16_000)
    dropped_mass = ["attention_dropped_mass"]
    short = loaded("whisper", {}).infer(waveform, dropped_mass)[0]["attention_dropped_mass"]
    native = loaded("whisper", {"input": "native"}).infer(waveform, dropped_mass)[0]
    assert short == 0
    assert native["attention_dropped_mass"] > 0.5


# What is rejected.


def test_pooling_and_task_of_the_configuration_are_honoured(checkpoints: Path) -> None:
    teacher = open_teacher(str(checkpoints / "whisper_first_frame"))
    assert teacher.provenance["pooling"] == "first"
    assert (teacher.task, teacher.classes) == ("multi", CLASSES)
    assert open_teacher(str(checkpoints / "whisper"), {"task": "multi"}).task == "multi"


def test_toy_takes_on_the_corpus_classes() -> None:
    assert open_teacher("toy", classes=("a", "b"), task="multi").task == "multi"
    assert open_teacher("toy:classes=x;y;z", classes=("a", "b")).classes == ("x", "y", "z")


def test_an_encoder_without_a_head_gives_no_logits(checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "encoder"
    folder.mkdir()
    for path in (checkpoints / "whisper").glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(checkpoints / "whisper" / "model.safetensors")
    encoder = {name: w for name, w in weights.items() if name.startswith("encoder.")}
    save_file(encoder, folder / "model.safetensors", metadata={"format": "pt"})
    teacher = open_teacher(str(folder))
    teacher.load("cpu")
    assert teacher.classes == ()
    assert "logits" not in teacher.signals
    assert "temporal_attention" in teacher.infer(clips(8_000), ["temporal_attention"])[0]


def broken_copy(source: Path, folder: Path, **config: Any) -> Path:
    import json

    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_pickled_weights_are_rejected(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_copy(checkpoints / "whisper", tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="never loaded"):
        open_teacher(str(folder))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "wav2vec3"}, "Did you mean 'wav2vec2'"),
        ({"use_weighted_layer_sum": True}, "use_weighted_layer_sum"),
        ({"aftersound_pooling": "last"}, "expected first or mean"),
    ],
)
def test_configurations_without_a_meaning_here_are_rejected(
    checkpoints: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    folder = broken_copy(checkpoints / "whisper", tmp_path / "changed", **config)
    with pytest.raises(AftersoundError, match=message):
        open_teacher(str(folder))


def test_missing_encoder_weights_are_rejected(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_copy(checkpoints / "whisper", tmp_path / "deeper", encoder_layers=4)
    teacher = open_teacher(str(folder))
    with pytest.raises(RunError, match=r"lacks \d+ weights"):
        teacher.load("cpu")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no teacher folder at"):
        open_teacher(str(tmp_path / "nowhere at all"))


def test_an_unknown_option_is_rejected_with_those_known(checkpoints: Path) -> None:
    with pytest.raises(UsageError, match="input, residual, task"):
        open_teacher(str(checkpoints / "whisper"), {"inputs": "short"})


def test_self_test_notices_a_model_that_treats_attention_differently(checkpoints: Path) -> None:
    teacher: Any = open_teacher(str(checkpoints / "whisper"))
    teacher.load("cpu")
    stock = teacher.stock_hidden
    teacher.stock_hidden = lambda waveforms: stock(waveforms) * 1.001
    with pytest.raises(RunError, match="plain eager model"):
        teacher.self_test()
