"""What a training minimises: the label loss and a weighted sum of distillation losses.

Shape suffixes: B clips in batch, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.errors import CacheError, listed
from cache_schema.plugins import load_plugin, typed_options
from cache_schema.reader import Cache
from student.batch import Batch
from student.losses import LOSSES
from student.losses.interface import DistillationLoss, LossSetup
from student.models.interface import Student, TimeGrid
from student.settings import Settings, student_class
from student.unit_rows import teacher_classes


class Objective(nn.Module):
    """A student with the losses it is trained by; its distillation heads are not the student's.

    Parameters
    ----------
    student : Student
        The model that is kept.
    losses : dict
        Distillation losses by name.
    settings : Settings
        Their weights.
    task : {"single", "multi"}
        Cross-entropy or binary cross-entropy on the labels.
    """

    def __init__(
        self, student: Student, losses: dict[str, DistillationLoss], settings: Settings, task: str
    ) -> None:
        super().__init__()
        self.student = student
        self.losses = nn.ModuleDict(losses)
        self.weights = {entry.name: entry.weight for entry in settings.distill}
        self.label_weight = settings.label_weight
        self.task = task

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Give ``"total"`` and its parts unweighted: ``"labels"`` and one entry per loss.

        A clip without labels takes no part in the label loss, which is a mean over those that have.
        """
        output = self.student(batch.features_BTM, batch.lengths_B)
        logits_BC = output.logits_BC.float()
        parts = {"labels": label_loss(logits_BC, batch.labels_BC, batch.labelled_B, self.task)}
        total = self.label_weight * parts["labels"]
        for name, loss in self.losses.items():
            parts[name] = loss(output, batch)
            total = total + self.weights[name] * parts[name]
        return {"total": total, **parts}


def label_loss(logits_BC: Tensor, labels_BC: Tensor, labelled_B: Tensor, task: str) -> Tensor:
    """Cross-entropy (single) or mean binary cross-entropy (multi) over the labelled clips; 0 without.

    >>> logits, labels = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    >>> round(label_loss(logits, labels, torch.tensor([True, False]), "single").item(), 4)
    0.6931
    """
    if task == "single":
        clip_B = nn.functional.cross_entropy(logits_BC, labels_BC.argmax(1), reduction="none")
    else:
        each_BC = nn.functional.binary_cross_entropy_with_logits(
            logits_BC, labels_BC, reduction="none"
        )
        clip_B = each_BC.mean(1)
    return torch.where(labelled_B, clip_B, 0.0).sum() / labelled_B.sum().clamp_min(1)


def build_objective(cache: Cache, settings: Settings) -> Objective:
    """Build student and losses from one seed; the student's start does not depend on the losses.

    Raises
    ------
    CacheError
        ``"missing_signal"``: listing the signals that the losses need and the cache lacks.
    UsageError
        If a loss refuses its options, this student or this cache.
    """
    check_signals(cache, settings)
    torch.manual_seed(settings.seed)
    kind = student_class(settings.student)
    student = kind(len(cache.classes))
    grids = {
        name: TimeGrid(spec.hop_s, spec.first_frame_s)
        for name, spec in cache.signals.items()
        if spec.hop_s is not None and spec.first_frame_s is not None
    }
    setup = LossSetup.of(
        kind,
        settings.student,
        task=cache.task,
        classes=cache.classes,
        teacher_classes=teacher_classes(cache),
        grids=grids,
    )
    losses: dict[str, DistillationLoss] = {}
    for entry in settings.distill:
        loss = load_plugin(LOSSES, entry.name, "loss")
        options = typed_options(loss, entry.options, f"loss {entry.name}")
        losses[entry.name] = loss(setup, **options)
    return Objective(student, losses, settings, cache.task)


def needed_signals(settings: Settings) -> tuple[str, ...]:
    """Teacher signals that the losses need, each once."""
    names = [
        signal
        for entry in settings.distill
        for signal in load_plugin(LOSSES, entry.name, "loss").signals
    ]
    return tuple(dict.fromkeys(names))


def check_signals(cache: Cache, settings: Settings) -> None:
    """Refuse losses whose signals the cache lacks, with the command that would add them."""
    problems = [
        f"loss {entry.name!r} needs the signal {signal!r}"
        for entry in settings.distill
        for signal in load_plugin(LOSSES, entry.name, "loss").signals
        if signal not in cache.signals
    ]
    if not problems:
        return
    missing = [name for name in needed_signals(settings) if name not in cache.signals]
    added = " ".join(f"--signal {name}" for name in missing)
    raise CacheError(
        f"{cache.root} cannot serve {len(problems)} loss(es); it has: {', '.join(cache.signals)}\n"
        f"{listed(problems)}\nRepeat the precompute-teacher command of this cache with {added}",
        kind="missing_signal",
    )
