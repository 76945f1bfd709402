"""Logit distillation: the student learns what the teacher makes of each class.

Shape suffixes: B clips in batch, C classes that the teacher's logits cover.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError, bullet_list
from cache_schema.signal_names import LOGITS
from student.losses.interface import DistillationLoss, LossSetup
from student.losses.precision import full_precision
from student.models.interface import StudentOutput
from student.stream.batch import Batch

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3

Form = Literal["hinton", "cmkd", "efficientat"]
Activation = Literal["softmax", "sigmoid"]
Divergence = Literal["kl", "bce"]


class LogitsLoss(DistillationLoss):
    """Pull the student's class scores z_s towards the teacher's cached logits z_t.

    Classes that the teacher does not cover are left out on both sides. A loss is a mean over clips,
    in nats; those with a sigmoid are also a mean over classes, as the label loss is.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache.
    form : {"hinton", "cmkd", "efficientat"}
        ``hinton`` (default) divides both sides by the temperature and multiplies the loss by its
        square, which keeps the size of gradients so that one weight survives a sweep (Hinton, Vinyals
        & Dean 2015, https://arxiv.org/abs/1503.02531, section 2). Ends at z_s = z_t.
        ``cmkd`` divides the teacher alone and has no factor (Gong et al. 2022,
        https://arxiv.org/abs/2203.06760; weight 0.5 beside 0.5 for the labels). Ends at
        z_s = z_t / temperature.
        ``efficientat`` is the binary cross-entropy of each class against sigmoid(z_t / temperature)
        (Schmid, Koutini & Widmer 2023, https://arxiv.org/abs/2211.04772; weight 0.9 beside 0.1 for
        the labels). Ends where ``cmkd`` does.
    activation : {"auto", "softmax", "sigmoid"}
        ``auto`` follows the task: softmax for single-label, sigmoid for multi-label. Softmax for
        multi-label with ``cmkd`` is the variant of DASS (Saurabhbhati/DASS, traintest.py).
    divergence : {"auto", "kl", "bce"}
        KL divergence, or the cross-entropy for each class, whose gradient is the same and whose
        least value is the target's entropy. ``auto`` is ``bce`` where classes have a sigmoid, but
        ``kl`` for ``cmkd``.
    temperature : float or None
        Dimensionless, above 0; larger is softer. Default 2 for ``hinton`` with softmax, a common
        choice that shows the ranking of wrong classes. Otherwise 1: EfficientAT's and DASS' value;
        CMKD's is not known.

    Raises
    ------
    UsageError
        Listing all options that contradict each other.

    Examples
    --------
    Student undecided, teacher (0, 2) at T = 1: p ln(p / 0.5) summed = 0.3278.

    >>> undecided, leaning = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> round(softmax_kl(undecided, leaning).item(), 4)
    0.3278
    """

    signals = (LOGITS,)
    averages_teachers = True
    supports = ("masking", "mixing")
    covered_C: Tensor

    def __init__(
        self,
        setup: LossSetup,
        *,
        form: Form = "hinton",
        activation: Literal["auto", "softmax", "sigmoid"] = "auto",
        divergence: Literal["auto", "kl", "bce"] = "auto",
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        by_task: Activation = "softmax" if setup.task == "single" else "sigmoid"
        shape: Activation = by_task if activation == "auto" else activation
        usual: Divergence = "bce" if shape == "sigmoid" and form != "cmkd" else "kl"
        kind: Divergence = usual if divergence == "auto" else divergence
        _check_options(form, shape, kind, temperature, len(setup.covered))
        default = 2.0 if form == "hinton" and shape == "softmax" else 1.0
        self.temperature = default if temperature is None else temperature
        self.form = form
        self.distance = _DISTANCES[shape, kind]
        self.register_buffer("covered_C", torch.tensor(setup.covered), persistent=False)

    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Distance between cached and student logits, averaged over clips."""
        return self.per_clip(output, batch).mean()

    @full_precision
    def per_clip(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Distance of each clip, shape (B,)."""
        student_BC = output.logits_BC.float()[:, self.covered_C]
        teacher_BC = batch.signals[LOGITS] / self.temperature
        if self.form != "hinton":
            return self.distance(student_BC, teacher_BC)
        return self.distance(student_BC / self.temperature, teacher_BC) * self.temperature**2


def softmax_kl(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """``KL(softmax(teacher) || softmax(student))``, summed over classes: (B,)."""
    student_log_BC = torch.log_softmax(student_BC, 1)
    teacher_log_BC = torch.log_softmax(teacher_BC, 1)
    return (teacher_log_BC.exp() * (teacher_log_BC - student_log_BC)).sum(1)


def bernoulli_kl(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """``KL(sigmoid(teacher) || sigmoid(student))`` of each class, mean over classes: (B,).

    >>> round(bernoulli_kl(torch.zeros(1, 1), torch.full((1, 1), 3.0).log()).item(), 4)
    0.1308
    """
    logsigmoid = nn.functional.logsigmoid
    yes_BC = logsigmoid(teacher_BC) - logsigmoid(student_BC)
    no_BC = logsigmoid(-teacher_BC) - logsigmoid(-student_BC)
    return (torch.sigmoid(teacher_BC) * yes_BC + torch.sigmoid(-teacher_BC) * no_BC).mean(1)


def bernoulli_cross_entropy(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Binary cross-entropy of each class against ``sigmoid(teacher)``, mean over classes: (B,)."""
    terms_BC = nn.functional.binary_cross_entropy_with_logits(
        student_BC, torch.sigmoid(teacher_BC), reduction="none"
    )
    return terms_BC.mean(1)


_DISTANCES = {
    ("softmax", "kl"): softmax_kl,
    ("sigmoid", "kl"): bernoulli_kl,
    ("sigmoid", "bce"): bernoulli_cross_entropy,
}


def _check_options(
    form: Form, shape: Activation, kind: Divergence, temperature: float | None, covered: int
) -> None:
    problems = []
    if form == "efficientat" and shape == "softmax":
        problems.append("form=efficientat is a sigmoid for each class, got softmax: use sigmoid")
    if form == "efficientat" and kind == "kl" and shape == "sigmoid":
        problems.append("form=efficientat is divergence=bce, got kl: use form=cmkd for the KL")
    if form == "cmkd" and kind == "bce":
        problems.append("form=cmkd is divergence=kl, got bce: use form=efficientat for the BCE")
    if shape == "softmax" and kind == "bce":
        problems.append("divergence=bce is for a sigmoid, got softmax: use activation=sigmoid")
    if covered < (least := 2 if shape == "softmax" else 1):
        problems.append(
            f"{shape} needs {least} or more classes that the teacher covers, got {covered}"
        )
    if temperature is not None and not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        problems.append(
            f"temperature must be from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}, got {temperature}"
        )
    if problems:
        raise UsageError(
            f"loss logits: {len(problems)} problem(s)\n{bullet_list(problems)}\n"
            "For example: --distill logits=0.5:form=cmkd,temperature=2",
            kind="options",
        )
