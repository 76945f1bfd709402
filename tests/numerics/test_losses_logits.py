"""All forms of the logits loss against hand values and NumPy float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from loss_inputs import batch_of, loss_setup, output_of, ragged, tensor

from cache_schema.errors import UsageError
from student.losses.logits import LogitsLoss
from student.models.interface import StudentOutput
from student.stream.batch import Batch

SIGMOID = {"activation": "sigmoid"}
FORMS: list[dict[str, Any]] = [
    {},
    SIGMOID,
    {**SIGMOID, "divergence": "kl"},
    {"form": "cmkd"},
    {"form": "cmkd", **SIGMOID},
    {"form": "efficientat", **SIGMOID},
]
every_form = pytest.mark.parametrize("options", FORMS, ids=str)
every_temperature = pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])


def inputs(student: Any, teacher: Any) -> tuple[StudentOutput, Batch]:
    output = output_of(torch.zeros(len(student), 1, 1), logits_BC=tensor(student))
    return output, batch_of({"logits": tensor(teacher)}, {})


def is_bce(options: dict[str, Any]) -> bool:
    return "activation" in options and options.get("form") != "cmkd" and "divergence" not in options


def entropy(teacher: Any) -> float:
    p = 1 / (1 + np.exp(-teacher))
    return float(-np.mean(p * np.log(p) + (1 - p) * np.log(1 - p)))


def oracle(student: Any, teacher: Any, options: dict[str, Any], temperature: float) -> float:
    hinton = options.get("form", "hinton") == "hinton"
    z_s, z_t = student / (temperature if hinton else 1.0), teacher / temperature
    if "activation" not in options:
        p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (z_t, z_s))
        value = np.mean(np.sum(p * np.log(p / q), axis=1))
    else:
        p, q = 1 / (1 + np.exp(-z_t)), 1 / (1 + np.exp(-z_s))
        value = -np.mean(p * np.log(q) + (1 - p) * np.log(1 - q))
        value -= 0 if is_bce(options) else entropy(z_t)
    return float(value * (temperature**2 if hinton else 1.0))


@every_form
@every_temperature
@pytest.mark.parametrize("seed", range(3))
def test_logits_equal_the_oracle(options: dict[str, Any], temperature: float, seed: int) -> None:
    student, teacher = np.random.default_rng(seed).normal(size=(2, 7, 3)) * 3
    loss = LogitsLoss(loss_setup(), temperature=temperature, **options)
    expected = oracle(student, teacher, options, temperature)
    assert loss(*inputs(student, teacher)).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_hinton_by_hand() -> None:
    # T = 2, teacher (2 ln 3, 0) softens to (3/4, 1/4), the student is (1/2, 1/2):
    # 4 (3/4 ln(3/2) + 1/4 ln(1/2)) = 4 * 0.13081.
    setup = loss_setup(classes=("a", "b"), covered=(0, 1))
    both = inputs([[0.0, 0.0]], [[2 * np.log(3), 0.0]])
    assert LogitsLoss(setup)(*both).item() == pytest.approx(0.52325, abs=1e-5)
    # With a sigmoid, T = 1, and teacher ln 3 (3/4) and 0 (1/2): the BCE is ln 2 each.
    both = inputs([[0.0, 0.0]], [[np.log(3), 0.0]])
    multi = replace(setup, task="multi")
    assert LogitsLoss(multi)(*both).item() == pytest.approx(0.69315, abs=1e-5)
    # Its KL is ln 2 less the teacher's entropy, 0.13081 and 0, over two classes.
    assert LogitsLoss(multi, divergence="kl")(*both).item() == pytest.approx(0.06541, abs=1e-5)


def test_cmkd_by_hand() -> None:
    # tau = 2 on the teacher alone: (2 ln 3, 0) softens to (3/4, 1/4); the student stays at
    # (3/4, 1/4) with (ln 3, 0), and no factor tau^2 follows the value for (0, 0).
    setup = loss_setup(classes=("a", "b"), covered=(0, 1))
    for student, value in ([0.0, 0.0], 0.13081), ([np.log(3), 0.0], 0.0):
        both = inputs([student], [[2 * np.log(3), 0.0]])
        cmkd = LogitsLoss(setup, form="cmkd", temperature=2.0)
        assert cmkd(*both).item() == pytest.approx(value, abs=1e-5)
    # Multi-label: KL of (3/4) and of (1/2) against 1/2, mean over two classes.
    multi = LogitsLoss(replace(setup, task="multi"), form="cmkd", temperature=2.0)
    both = inputs([[0.0, 0.0]], [[2 * np.log(3), 0.0]])
    assert multi(*both).item() == pytest.approx(0.06541, abs=1e-5)


def test_softmax_for_multi_label_is_the_variant_of_dass() -> None:
    setup = loss_setup(classes=("a", "b"), covered=(0, 1), task="multi")
    dass = LogitsLoss(setup, form="cmkd", activation="softmax")
    both = inputs([[0.0, 0.0]], [[np.log(3), 0.0]])
    assert dass(*both).item() == pytest.approx(0.13081, abs=1e-5)


def test_efficientat_by_hand() -> None:
    # Teacher 2 ln 3 at temperature 2 is 3/4, the student ln 3 is 3/4:
    # -(3/4 ln(3/4) + 1/4 ln(1/4)) = 0.21576 + 0.34657, the target's entropy.
    setup = loss_setup(classes=("a",), covered=(0,), task="multi")
    loss = LogitsLoss(setup, form="efficientat", temperature=2.0)
    assert loss(*inputs([[np.log(3)]], [[2 * np.log(3)]])).item() == pytest.approx(
        0.56234, abs=1e-5
    )


@every_form
@every_temperature
def test_logits_end_where_their_form_reports(options: dict[str, Any], temperature: float) -> None:
    teacher = np.random.default_rng(0).normal(size=(4, 3)) * 4
    hinton = options.get("form", "hinton") == "hinton"
    optimum = teacher if hinton else teacher / temperature
    output, batch = inputs(optimum, teacher)
    output.logits_BC.requires_grad_()
    value = LogitsLoss(loss_setup(), temperature=temperature, **options)(output, batch)
    value.backward()
    factor = temperature**2 if hinton else 1.0
    least = entropy(teacher / temperature) * factor if is_bce(options) else 0.0
    assert value.item() == pytest.approx(least, abs=2e-6)
    assert output.logits_BC.grad is not None
    assert output.logits_BC.grad.abs().max() < 1e-6


def test_kl_and_cross_entropy_have_the_same_gradient() -> None:
    gradients = []
    for divergence in ("kl", "bce"):
        output, batch = ragged()
        output.logits_BC.requires_grad_()
        loss = LogitsLoss(loss_setup(task="multi"), divergence=divergence)
        loss(output, batch).backward()
        gradients.append(output.logits_BC.grad)
    torch.testing.assert_close(*gradients)


@every_form
def test_a_mean_over_clips_is_what_forward_gives(options: dict[str, Any]) -> None:
    loss = LogitsLoss(loss_setup(), **options)
    output, batch = ragged()
    each_B = loss.per_clip(output, batch)
    assert each_B.shape == (3,)
    assert loss(output, batch).item() == pytest.approx(each_B.mean().item(), rel=1e-6)
    row = batch_of({"logits": batch.signals["logits"][1:2]}, {})
    alone = loss(output_of(torch.zeros(1, 1, 1), logits_BC=output.logits_BC[1:2]), row)
    assert alone.item() == pytest.approx(each_B[1].item(), rel=1e-5)
    assert "mixing" in loss.supports


@every_form
def test_classes_that_the_teacher_does_not_cover_take_no_part(options: dict[str, Any]) -> None:
    whole = loss_setup(classes=("a", "b", "c"), covered=(0, 2))
    fewer = loss_setup(classes=("a", "c"), covered=(0, 1))
    student, teacher = np.random.default_rng(0).normal(size=(2, 4, 3))
    output, batch = inputs(student, teacher[:, :2])
    output.logits_BC.requires_grad_()
    value = LogitsLoss(whole, **options)(output, batch)
    value.backward()
    expected = LogitsLoss(fewer, **options)(*inputs(student[:, [0, 2]], teacher[:, :2]))
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert output.logits_BC.grad is not None
    assert (output.logits_BC.grad[:, 1] == 0).all()
    assert (output.logits_BC.grad[:, [0, 2]] != 0).all()
    assert batch.signals["logits"].grad is None


@pytest.mark.parametrize(
    ("options", "task", "temperature"),
    [
        ({}, "single", 2.0),
        ({}, "multi", 1.0),
        ({"activation": "softmax"}, "multi", 2.0),
        ({"form": "cmkd"}, "single", 1.0),
        ({"form": "efficientat"}, "multi", 1.0),
    ],
)
def test_the_default_temperature(options: Any, task: str, temperature: float) -> None:
    assert LogitsLoss(loss_setup(task=task), **options).temperature == temperature


@pytest.mark.parametrize(
    ("options", "covered", "messages"),
    [
        ({"form": "efficientat"}, 3, ["form=efficientat is a sigmoid for each class"]),
        ({"form": "efficientat", **SIGMOID, "divergence": "kl"}, 3, ["use form=cmkd"]),
        ({"form": "cmkd", **SIGMOID, "divergence": "bce"}, 3, ["use form=efficientat"]),
        ({"divergence": "bce", "temperature": -1.0}, 3, ["use activation=sigmoid", "got -1.0"]),
        ({"temperature": float("inf")}, 3, ["temperature must be from 0.001 to 1000, got inf"]),
        ({"temperature": float("nan")}, 3, ["temperature must be from 0.001 to 1000, got nan"]),
        ({}, 1, ["softmax needs 2 or more classes that the teacher covers, got 1"]),
        (SIGMOID, 0, ["sigmoid needs 1 or more classes that the teacher covers, got 0"]),
    ],
)
def test_contradictions_are_listed(options: Any, covered: int, messages: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        LogitsLoss(loss_setup(covered=tuple(range(covered))), **options)
    assert f"loss logits: {len(messages)} problem(s)" in str(caught.value)
    assert all(message in str(caught.value) for message in messages)
    assert "For example: --distill" in str(caught.value)
