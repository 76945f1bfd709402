"""What a report shows of runs and their cache: calibration, clips, settings, groups."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_cache import clips, write_small_cache
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from cache_schema.inspection.log_mel import log_mel
from cache_schema.reader import open_cache
from cache_schema.report.charts.base import chart_text, embed
from student.evaluation.chosen_clips import divergence, most_unlike, most_wrong
from student.metrics.calibration import calibration
from student.metrics.interface import Predictions
from student.report.cache_facts import cache_facts
from student.report.classes import class_charts
from student.report.settings_text import learned_from, train_command
from student.runs.settings import distillation_as_json
from student.training import cli as train_cli


def answers(clips: int, task: str = "single", seed: int = 0) -> Predictions:
    """Random answers for random labels of four classes."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.standard_normal((clips, 4))
    labels = np.eye(4, dtype=bool)[generator.integers(0, 4, clips)]
    if task == "multi":
        labels = generator.random((clips, 4)) < 0.3
    return Predictions(logits, labels, task, tuple("abcd"), clips_N=np.arange(clips) * 3)


def test_calibration_is_the_librarys() -> None:
    single, multi = answers(400), answers(300, "multi", 1)
    wanted = multiclass_calibration_error(
        torch.from_numpy(single.logits_NC).softmax(1),
        torch.from_numpy(single.labels_NC.argmax(1)),
        num_classes=4,
        n_bins=15,
    )
    assert calibration(single).error == pytest.approx(float(wanted), abs=1e-6)
    wanted = binary_calibration_error(
        torch.from_numpy(multi.logits_NC).sigmoid().reshape(-1),
        torch.from_numpy(multi.labels_NC).long().reshape(-1),
        n_bins=15,
    )
    assert calibration(multi).error == pytest.approx(float(wanted), abs=1e-6)
    assert calibration(single).count_K.sum() == 400
    assert calibration(multi).count_K.sum() == 1200


def test_an_answer_that_is_quite_sure_falls_into_the_last_bin() -> None:
    sure = Predictions(np.array([[1000.0, 0.0]]), np.array([[True, False]]), "single", ("a", "b"))
    found = calibration(sure)
    assert (found.confidence_K.tolist(), found.right_K.tolist(), found.error) == ([1.0], [1.0], 0.0)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_clips_loss_is_the_trainings(task: str) -> None:
    found = answers(50, task)
    logits, labels = torch.from_numpy(found.logits_NC), torch.from_numpy(found.labels_NC).double()
    functional = torch.nn.functional
    if task == "single":
        wanted = functional.cross_entropy(logits, labels, reduction="none")
    else:
        wanted = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(
            1
        )
    np.testing.assert_allclose(found.losses(), wanted.numpy(), atol=1e-12)


def test_the_most_wrong_clips_are_wrong_ones_of_highest_loss() -> None:
    found = answers(60)
    rows = most_wrong(found, 5)
    wrong = np.flatnonzero(~found.right())
    assert rows == sorted(wrong, key=lambda row: -found.losses()[row])[:5]
    right = Predictions(found.labels_NC * 9.0, found.labels_NC, "single", found.classes)
    assert most_wrong(right, 5) == []


def test_clips_unlike_the_teacher_are_matched_by_clip_and_class() -> None:
    student = answers(20)
    shared = [2, 5, 9]
    logits = student.logits_NC[shared][:, [3, 1]].copy()
    logits[1] += [4.0, -4.0]
    teacher = Predictions(
        logits, student.labels_NC[shared][:, [3, 1]], "single", ("d", "b"), ("a", "c"),
        clips_N=np.array([6, 15, 27]),
    )  # fmt: skip
    found = most_unlike(student, teacher, 2)
    assert found[0][0] == 5
    assert found[1][1] == pytest.approx(0.0, abs=1e-12)
    p = np.exp(logits[1] - np.logaddexp.reduce(logits[1]))
    q = student.logits_NC[5, [3, 1]]
    q = np.exp(q - np.logaddexp.reduce(q))
    assert found[0][1] == pytest.approx(float((p * np.log(p / q)).sum()))


def test_divergence_of_several_labels_is_the_mean_of_each_classes() -> None:
    one, other = answers(4, "multi", 2), answers(4, "multi", 3)
    p, q = (1 / (1 + np.exp(-x.logits_NC)) for x in (one, other))
    wanted = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(1)
    np.testing.assert_allclose(divergence(one, other), wanted, atol=1e-12)


WORDS = [
    "",
    "--distill temporal=0.1 --distill logits=0.7:temperature=2",
    "--distill sp=30 --label-weight 1 --learning-rate 0.002",
    "--distill logits=0.3:temperature=4,teacher=b,warm_up_epochs=2,decay_epochs=3 --seed 7 --epochs 3",
    "--recipe psla --epochs 9",
    "--recipe efficientat --batch-size 16 --mixup 0",
    "--schedule cosine:floor=0.01 --average ema:decay=0.99 --spec-augment",
    "--metric roc-auc --precision bf16-mixed --no-spec-augment",
    "--patience 3 --validate-every 2 --labelled-share 0.25 --unlabelled 0",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("student", ["tc-resnet", "mobilenet:width=0.5", "att-rnn"])
def test_the_command_that_is_shown_trains_the_same(words: str, student: str) -> None:
    def settings(line: list[str]) -> Any:
        context = train_cli.main.make_context("train-student", line)
        return train_cli.resolve(context.params)

    if student == "att-rnn" and "mixup" in words:
        words = words.replace(" --mixup 0", "")
    asked = settings(["c.zarr", "--student", student, "--out", "run", *words.split()])
    config = as_config(asked)
    shown = train_command(config, "c.zarr", Path("run")).split()
    assert shown[0] == "train-student"
    assert settings(shown[1:]) == asked


def as_config(settings: Any) -> dict[str, Any]:
    """As ``config.json`` has it, JSON and back."""
    facts = asdict(settings) | {"distill": [distillation_as_json(d) for d in settings.distill]}
    found: dict[str, Any] = json.loads(json.dumps(facts))
    return found


def test_what_was_learned_is_reported_as_a_condition() -> None:
    def message(*words: str) -> str:
        line = ["c.zarr", "--student", "tc-resnet", "--out", "r", *words]
        context = train_cli.main.make_context("train-student", line)
        return learned_from(as_config(train_cli.resolve(context.params)))

    assert message() == "none"
    assert message("--unlabelled", "0") == "none unlabelled=0"
    assert message("--distill", "temporal=0.1") == "temporal=0.1"
    few = ("--distill", "sp=30", "--label-weight", "1", "--unlabelled", "90")
    assert message(*few) == "sp=30 label=1 unlabelled=90"
    assert message("--distill", "sp=30", "--label-weight", "1") == "sp=30 label=1"
    assert message("--distill", "logits=0.5:temperature=2,teacher=first+b") == (
        "logits=0.5:temperature=2,teacher=first+b"
    )


def test_what_was_learned_from_is_counted(tmp_path: Path) -> None:
    speakers = [replace(clip, group=f"speaker {n // 2}") for n, clip in enumerate(clips())]
    unlabelled = [replace(speakers[0], labels=()), *speakers[1:]]
    cache = open_cache(str(write_small_cache(tmp_path / "sounds.zarr", unlabelled)))
    assert cache_facts(cache, "test") == (
        "sounds.zarr: 2 classes (single-label), 2 view(s); 3 labelled and 1 unlabelled clips in train; "
        "1 clips in test; 1 unusable clips put aside; groups: 2 in train, 1 in test"
    )


def test_a_tone_lies_in_the_picture_where_the_axis_has_its_frequency() -> None:
    time_S = np.arange(16_000) / 16_000
    picture = log_mel((9000 * np.sin(2 * np.pi * 2000 * time_S)).astype(np.int16), 16_000)
    brightest = int(picture.bands_TM.mean(0).argmax())
    (height,) = [height for height, name in picture.ticks().items() if name == "2,000"]
    assert abs(height - (brightest + 0.5)) <= 1
    assert np.diff(list(picture.ticks())).min() >= 0.1 * picture.bands_TM.shape[1]


def test_charts_of_several_labels_have_no_confusions_and_of_many_classes_the_worst() -> None:
    several = class_charts({"distilled": answers(30, "multi"), "teacher": answers(30, "multi", 1)})
    assert sorted(several) == ["classes", "reliability"]
    labels = np.eye(60, dtype=bool)[np.arange(180) % 60]
    logits = labels.astype(float)
    logits[:6] = logits[1:7]  # classes 0 to 5 are taken for the next once
    many = Predictions(logits, labels, "single", tuple(f"class {n}" for n in range(60)))
    charts = class_charts({"distilled": many})
    shown = charts["confusion"].figure.yaxis[0].major_label_overrides
    assert len(shown) == 40
    assert {f"class {n}" for n in range(7)} <= set(shown.values())


def test_what_a_page_embeds_ends_no_script_and_begins_no_formula() -> None:
    hostile = ("</script><b>", "$$x$$", "\\(x\\)", "a\u202eb")
    labels = np.eye(4, dtype=bool)
    found = Predictions(labels * 3.0, labels, "single", hostile)
    embedded = embed(class_charts({"distilled": found}))
    assert "</script" not in embedded.script.lower()
    assert "$$" not in embedded.script
    assert "\u202e" not in embedded.script
    assert chart_text("\\(x\\)") == "\\\u200a(x\\)"
