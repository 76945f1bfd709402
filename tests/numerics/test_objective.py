"""What a training minimises, by pencil: labels, mixtures, weights, and whose parameters are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loss_inputs import TEACHER_GRID, batch_of, loss_setup, output_of, ragged
from safetensors.torch import load_file
from torch import Tensor, nn

from student.augmentation.mixup import MixupDraw
from student.losses.interface import DistillationLoss
from student.losses.logits import LogitsLoss
from student.losses.temporal import TemporalLoss
from student.models.interface import Student, StudentOutput
from student.recipes import Exponential, Recipe
from student.runs.checkpoint import WEIGHTS, save_weights
from student.runs.settings import Distillation, Settings
from student.stream.batch import Batch
from student.training.objective import Objective, label_loss, mixup_loss

LN2, LN3, LN4 = np.log([2.0, 3.0, 4.0]).tolist()
QUARTER = [0.0, LN3]
"""Logits of the probabilities 1/4 and 3/4, each by softmax and the latter by sigmoid."""
EVEN = [0.0, 0.0]

both_tasks = pytest.mark.parametrize("task", ["single", "multi"])


class Echo(Student):
    """Outputs the first frame of its features times a weight; its context is the features."""

    front_end = "mfcc40"
    recipe = Recipe("sgd", 0.1, Exponential(0.1))

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.context_width = classes
        self.weight = nn.Parameter(torch.ones(classes))

    def forward(self, features_BTM: Tensor, lengths_B: Tensor) -> StudentOutput:
        context_BTD = features_BTM * self.weight
        return StudentOutput(
            logits_BC=context_BTD[:, 0],
            context_BTD=context_BTD,
            context_lengths_B=lengths_B,
            hop_s=TEACHER_GRID.hop_s,
            first_frame_s_B=torch.full((len(lengths_B),), TEACHER_GRID.first_frame_s),
        )


def logits_output(logits: Sequence[Sequence[float]]) -> StudentOutput:
    """A student's output of these logits."""
    return output_of(torch.zeros(len(logits), 1, 1), logits_BC=torch.tensor(logits))


def labelled(labels: Sequence[Sequence[float]], known: Sequence[bool]) -> Batch:
    """A batch of these labels."""
    batch = batch_of({"logits": torch.zeros(len(labels), 2)}, {})
    return replace(batch, labels_BC=torch.tensor(labels), labelled_B=torch.tensor(known))


# Labels


def test_a_clip_without_labels_takes_no_part_single() -> None:
    # -ln 1/4, -ln 3/4 = ln 4 - ln 3; the third would be by far the largest.
    output = logits_output([QUARTER, QUARTER, [90.0, -90.0]])
    batch = labelled([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [True, True, False])
    value = label_loss(output, batch, None, "single").item()
    assert value == pytest.approx((LN4 + LN4 - LN3) / 2, abs=1e-6)


def test_a_clip_without_labels_takes_no_part_multi() -> None:
    # Means of (-ln 1/2, -ln 3/4) and of (-ln 1/2, -ln 1/4).
    output = logits_output([QUARTER, QUARTER, [90.0, -90.0]])
    batch = labelled([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]], [True, True, False])
    expected = ((LN2 + LN4 - LN3) / 2 + (LN2 + LN4) / 2) / 2
    assert label_loss(output, batch, None, "multi").item() == pytest.approx(expected, abs=1e-6)


@both_tasks
@pytest.mark.parametrize("mix", [False, True])
def test_no_labels_at_all_are_no_loss_and_no_gradient(task: str, mix: bool) -> None:
    output = logits_output([QUARTER, EVEN])
    output.logits_BC.requires_grad_()
    mixing = MixupDraw(torch.tensor([1, 0]), torch.tensor([0.75, 1.0])) if mix else None
    value = label_loss(output, labelled([EVEN, EVEN], [False, False]), mixing, task)
    value.backward()
    assert value.item() == 0
    assert output.logits_BC.grad is not None
    assert (output.logits_BC.grad == 0).all()


@both_tasks
def test_a_labelled_clip_teaches_its_mixtures_by_its_share_in_each(task: str) -> None:
    # Clip 0 has labels: 3/4 of mixture 0 and, as the partner, 2/5 of mixture 1. Its loss is
    # -ln 1/4 in mixture 0 and -ln 1/2 in mixture 1; multi, the mean of that and of the other class:
    # -ln 1/2 and -ln 1/4 in mixture 0, twice -ln 1/2 in mixture 1.
    output = logits_output([QUARTER, EVEN])
    batch = labelled([[1.0, 0.0], [0.0, 1.0]], [True, False])
    mixing = MixupDraw(torch.tensor([1, 0]), torch.tensor([0.75, 0.6]))
    first, second = (LN4, LN2) if task == "single" else ((LN2 + LN4) / 2, LN2)
    value = label_loss(output, batch, mixing, task).item()
    assert value == pytest.approx((0.75 * first + 0.4 * second) / (0.75 + 0.4), abs=1e-6)


@both_tasks
def test_labels_may_be_shares(task: str) -> None:
    # -ln 1/4 and -ln 3/4 by softmax; by sigmoid ln 2 for the first class whatever its share, and for
    # the second share 0.6 of -ln 3/4 and 0.4 of -ln 1/4. Alone in its batch, and beside none.
    expected = 0.4 * LN4 + 0.6 * (LN4 - LN3)
    if task == "multi":
        expected = (LN2 + 0.6 * (LN4 - LN3) + 0.4 * LN4) / 2
    output = logits_output([QUARTER, [90.0, -90.0]])
    batch = labelled([[0.4, 0.6], [0.0, 0.0]], [True, False])
    assert label_loss(output, batch, None, task).item() == pytest.approx(expected, abs=1e-6)


def test_labels_mix_each_clips_own_with_its_partners() -> None:
    # Losses of class 0 and 1: ln 4 and ln 4/3 in mixture 0, ln 2 both in mixture 1, and in mixture 2
    # ln 4/3 and ln 4. Own classes 0, 1, 0; partners' classes 0 (of 2), 0 (of 0), 1 (of 1).
    output = logits_output([QUARTER, EVEN, [LN3, 0.0]])
    batch = labelled([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [True, True, True])
    mixing = MixupDraw(torch.tensor([2, 0, 1]), torch.tensor([0.5, 0.75, 0.9]))
    value = label_loss(output, batch, mixing, "single").item()
    expected = (LN4 + LN2 + 0.9 * (LN4 - LN3) + 0.1 * LN4) / 3
    assert value == pytest.approx(expected, abs=1e-6)


# Distillation


def log_softmax(values: Any) -> Any:
    return values - np.log(np.exp(values).sum(1, keepdims=True))


def logits_oracle(student: Any, teacher: Any, task: str) -> Any:
    """The loss's default form of each clip: softmax and KL at temperature 2, or sigmoid and BCE."""
    if task == "multi":
        target, chance = 1 / (1 + np.exp(-teacher)), 1 / (1 + np.exp(-student))
        return -(target * np.log(chance) + (1 - target) * np.log(1 - chance)).mean(1)
    ours, theirs = log_softmax(student / 2), log_softmax(teacher / 2)
    return 4 * (np.exp(theirs) * (theirs - ours)).sum(1)


@both_tasks
@pytest.mark.parametrize("seed", range(3))
def test_logits_mix_each_clips_own_with_its_partners(task: str, seed: int) -> None:
    output, batch = ragged(seed)
    order, share = [2, 0, 1], np.array([0.9, 0.5, 0.7])
    student = output.logits_BC.double().numpy()
    teacher = batch.signals["logits"].double().numpy()
    own = logits_oracle(student, teacher, task)
    other = logits_oracle(student, teacher[order], task)
    expected = (share * own + (1 - share) * other).mean()
    mixing = MixupDraw(torch.tensor(order), torch.tensor(share, dtype=torch.float32))
    value = mixup_loss(LogitsLoss(loss_setup(task=task)), output, batch, mixing).item()
    assert value == pytest.approx(expected, abs=1e-5)
    assert abs(value - ((1 - share) * own + share * other).mean()) > 1e-3


# The whole

BATCH = replace(
    batch_of(
        {
            "logits": torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
            "temporal_attention": torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]]),
        },
        {"temporal_attention": torch.tensor([3, 2])},
    ),
    features_BTM=torch.tensor([[QUARTER, [1.0, 2.0], [3.0, 1.0]], [[1.0, 0.0], EVEN, EVEN]]),
    lengths_B=torch.tensor([3, 2]),
)
MIXING = MixupDraw(torch.tensor([1, 0]), torch.tensor([0.75, 0.6]))


def objective_of(*entries: Distillation, label_weight: float = 0.3) -> Objective:
    """An objective of `Echo` and these losses."""
    torch.manual_seed(0)
    setup = loss_setup(context_dim=2, classes=("a", "b"), covered=(0, 1))
    known: dict[str, type[DistillationLoss]] = {"logits": LogitsLoss, "temporal": TemporalLoss}
    settings = Settings(
        student="echo", student_options={}, distill=entries, label_weight=label_weight, seed=0,
        recipe=Echo.recipe,
    )  # fmt: skip
    losses = {entry.key: known[entry.name](setup) for entry in entries}
    teachers: dict[str, dict[str, list[int]]] = {entry.key: {"": []} for entry in entries}
    return Objective(Echo(2), losses, settings, teachers, "single")


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    objective = objective_of(Distillation("logits", 0.5, {}), Distillation("temporal", 0.2, {}))
    parts = {name: value.item() for name, value in objective(BATCH).items()}
    assert set(parts) == {"total", "labels", "logits", "temporal"}
    # Clip 0 gets 1/4 for its class 0, clip 1 e : 1 for class 0 while its class is 1.
    assert parts["labels"] == pytest.approx((LN4 + np.log(1 + np.e)) / 2, abs=1e-6)
    student, teacher = np.array([QUARTER, [1.0, 0.0]]), BATCH.signals["logits"].numpy()
    own = logits_oracle(student, teacher, "single").mean()
    assert parts["logits"] == pytest.approx(own, abs=1e-6)
    assert parts["temporal"] > 1e-3
    expected = 0.3 * parts["labels"] + 0.5 * parts["logits"] + 0.2 * parts["temporal"]
    assert parts["total"] == pytest.approx(expected, abs=1e-6)


def test_the_student_gets_mixtures_and_learns_both_targets() -> None:
    objective = objective_of(Distillation("logits", 0.5, {}))
    parts = {name: value.item() for name, value in objective(BATCH, MIXING).items()}
    clips, teacher = np.array([QUARTER, [1.0, 0.0]]), BATCH.signals["logits"].numpy()
    share = np.array([0.75, 0.6])
    mixed_logits = share[:, None] * clips + (1 - share)[:, None] * clips[::-1]
    classes = -log_softmax(mixed_logits)
    labels = (share * np.diag(classes) + (1 - share) * np.diag(classes[:, ::-1])).mean()
    own, other = (
        logits_oracle(mixed_logits, target, "single") for target in (teacher, teacher[::-1])
    )
    logits = (share * own + (1 - share) * other).mean()
    assert parts["labels"] == pytest.approx(labels, abs=1e-6)
    assert parts["logits"] == pytest.approx(logits, abs=1e-6)
    assert parts["total"] == pytest.approx(0.3 * labels + 0.5 * logits, abs=1e-6)


def test_a_weight_rises_over_its_epochs_and_stays() -> None:
    objective = objective_of(
        Distillation("logits", 0.8, {}, warm_up_epochs=4), Distillation("temporal", 0.1, {})
    )
    weights = []
    for objective.epochs_done in (0.0, 1.0, 2.5, 4.0, 9.0):
        parts = {name: value.item() for name, value in objective(BATCH).items()}
        others = 0.3 * parts["labels"] + 0.1 * parts["temporal"]
        weights.append((parts["total"] - others) / parts["logits"])
    assert weights == pytest.approx([0.0, 0.2, 0.5, 0.8, 0.8], abs=1e-5)


def test_heads_train_beside_the_student_and_the_student_alone_is_saved(tmp_path: Path) -> None:
    objective = objective_of(Distillation("temporal", 0.7, {}))
    before = {name: value.detach().clone() for name, value in objective.named_parameters()}
    assert set(before) == {"student.weight", "heads.temporal.query_D"}
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.5)
    objective(BATCH)["total"].backward()
    optimizer.step()
    for name, value in objective.named_parameters():
        assert not torch.equal(value, before[name]), name
    save_weights(tmp_path, objective.student)
    saved = load_file(tmp_path / WEIGHTS)
    assert list(saved) == ["weight"]
    assert torch.equal(saved["weight"], objective.student.state_dict()["weight"])
    assert set(objective.state_dict()) == set(before), "a training continues with its heads"
