"""What a training minimises: the label loss and a weighted sum of distillation losses.

Shape suffixes: B clips in batch, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.errors import CacheError, bullet_list
from cache_schema.frame_grid import FrameGrid
from cache_schema.plugins import typed_options
from cache_schema.reader import Cache, suggested_command
from cache_schema.signal_names import LOGITS, qualified
from student.augmentation.mixup import MixupDraw, mix_features, partner_targets
from student.losses.interface import DistillationLoss, LossSetup
from student.models.interface import Student, StudentOutput
from student.runs.settings import Distillation, Settings, build_student
from student.stream.batch import Batch
from student.stream.class_map import ClassMap, build_class_map, check_names
from student.stream.teacher_selection import (
    select_teacher_signals,
    shared_classes,
    teacher_classes,
    teacher_facts,
)
from student.stream.unit_loader import typical_frames


class Objective(nn.Module):
    """A student with the losses it is trained by; its distillation heads are not the student's.

    Parameters
    ----------
    student : Student
        The model that is kept.
    losses : dict
        Distillation losses by key.
    settings : Settings
        Their weights.
    teachers : dict
        For each loss its teachers as `taught_by` takes them.
    task : {"single", "multi"}
        Cross-entropy or binary cross-entropy on the labels.

    Attributes
    ----------
    epochs_done : float
        How far the training is, for weights that warm up.
    """

    def __init__(
        self,
        student: Student,
        losses: dict[str, DistillationLoss],
        settings: Settings,
        teachers: dict[str, dict[str, list[int]]],
        task: str,
    ) -> None:
        super().__init__()
        self.student = student
        self.losses = losses
        self.heads = nn.ModuleDict(losses)  # what trains beside the student
        self.entries = {entry.key: entry for entry in settings.distill}
        self.teachers = teachers
        self.label_weight = settings.label_weight
        self.task = task
        self.epochs_done = 0.0

    def forward(self, batch: Batch, mixing: MixupDraw | None = None) -> dict[str, Tensor]:
        """Give ``"total"`` and its parts unweighted: ``"labels"`` and one entry per loss.

        A clip without labels takes no part in the label loss, which is a mean over those that have.
        With `mixing` the student gets mixtures, and each loss is the same mixture of the losses
        against both clips' targets (EfficientAT's mixup).
        """
        features_BTM = batch.features_BTM if mixing is None else mix_features(batch, mixing)
        output = self.student(features_BTM, batch.ragged_lengths)
        parts = {"labels": label_loss(output, batch, mixing, self.task)}
        total = self.label_weight * parts["labels"]
        for key, loss in self.losses.items():
            entry = self.entries[key]
            taught = select_teacher_signals(batch, entry.loss.signals, self.teachers[key])
            parts[key] = (
                loss(output, taught) if mixing is None else mixup_loss(loss, output, taught, mixing)
            )
            total = total + entry.weight_after(self.epochs_done) * parts[key]
        return {"total": total, **parts}


def label_loss(output: StudentOutput, batch: Batch, mixing: MixupDraw | None, task: str) -> Tensor:
    """Cross-entropy (single) or mean binary cross-entropy (multi) over the labelled clips; 0 without.

    Labels may be shares, as those of a view that mixes two clips are. Gradients flow through
    ``output.logits_BC`` alone.
    """
    own_B, weight_B = _each_label_loss(output, batch, task), batch.labelled_B.float()
    if mixing is None:
        return (own_B * weight_B).sum() / weight_B.sum().clamp_min(1)
    other = partner_targets(batch, mixing)
    weight_B = weight_B * mixing.share_B
    other_B = _each_label_loss(output, other, task)
    other_weight_B = (1 - mixing.share_B) * other.labelled_B
    total = (own_B * weight_B + other_B * other_weight_B).sum()
    labelled = (weight_B + other_weight_B).sum()
    return total / torch.where(labelled > 0, labelled, 1.0)


def _each_label_loss(output: StudentOutput, batch: Batch, task: str) -> Tensor:
    logits_BC = output.logits_BC.float()
    if task == "single":
        return nn.functional.cross_entropy(logits_BC, batch.labels_BC, reduction="none")
    return nn.functional.binary_cross_entropy_with_logits(
        logits_BC, batch.labels_BC, reduction="none"
    ).mean(1)


def mixup_loss(
    loss: DistillationLoss, output: StudentOutput, batch: Batch, mixing: MixupDraw
) -> Tensor:
    """Mix the losses against a clip's own target and its partner's."""
    own_B = loss.per_clip(output, batch)
    other_B = loss.per_clip(output, partner_targets(batch, mixing))
    return other_B.lerp(own_B, mixing.share_B).mean()


def build_objective(cache: Cache, settings: Settings) -> Objective:
    """Build student and losses from one seed; the student's start does not depend on the losses.

    Raises
    ------
    CacheError
        ``"missing_signal"``: listing the signals that the losses need and the cache lacks.
    UsageError
        If a loss rejects its options, this student or this cache.
    """
    check_signals(cache, settings)
    torch.manual_seed(settings.seed)
    student = build_student(settings.student, settings.student_options, len(cache.classes))
    student.start_memory(typical_frames(cache, student.front_end))
    maps = class_maps(cache, settings)
    losses = {
        entry.key: entry.loss(
            _setup(cache, settings, student, entry, maps),
            **typed_options(entry.loss, entry.options, f"loss {entry.name}"),
        )
        for entry in settings.distill
    }
    teachers = {entry.key: _shared(entry, maps) for entry in settings.distill}
    return Objective(student, losses, settings, teachers, cache.task)


def _setup(
    cache: Cache,
    settings: Settings,
    student: Student,
    entry: Distillation,
    maps: dict[str, ClassMap],
) -> LossSetup:
    """Describe to a loss the student and about what its own teacher left in the cache."""
    specs = {
        signal: cache.signals[qualified(signal, entry.teachers[0])] for signal in entry.loss.signals
    }
    covered = tuple(range(len(cache.classes)))
    if LOGITS in entry.loss.signals:
        first = entry.teachers[0]
        own = maps[qualified(LOGITS, first)].covered
        covered = tuple(own[position] for position in _shared(entry, maps)[first])
    return LossSetup.of(
        student,
        settings.student,
        task=cache.task,
        classes=cache.classes,
        covered=covered,
        grids={
            name: FrameGrid(spec.hop_s, spec.first_frame_s)
            for name, spec in specs.items()
            if spec.hop_s is not None and spec.first_frame_s is not None
        },
    )


def class_maps(cache: Cache, settings: Settings) -> dict[str, ClassMap]:
    """Match the classes of each teacher whose logits are learned from, by the name of its logits.

    Raises
    ------
    UsageError
        If a class is not covered and no class map was given, or the map names what is not there.
    """
    teachers = [
        t for entry in settings.distill if LOGITS in entry.loss.signals for t in entry.teachers
    ]
    return {
        qualified(LOGITS, teacher): build_class_map(
            cache.classes, teacher_classes(cache, teacher), settings.class_map, cache.task
        )
        for teacher in teachers
    }


def check_class_map(cache: Cache, settings: Settings) -> None:
    """Reject a class map that names a class which neither the cache nor any teacher has."""
    if settings.class_map is not None:
        known = [name for teacher in cache.teachers for name in teacher_classes(cache, teacher)]
        check_names(settings.class_map, cache.classes, known)


def _shared(entry: Distillation, maps: dict[str, ClassMap]) -> dict[str, list[int]]:
    if LOGITS not in entry.loss.signals:
        return {teacher: [] for teacher in entry.teachers}
    return shared_classes({t: maps[qualified(LOGITS, t)].covered for t in entry.teachers})


def needed_signals(settings: Settings) -> tuple[str, ...]:
    """Teacher signals that the losses need, each once."""
    return tuple(dict.fromkeys(signal for entry in settings.distill for signal in entry.signals))


def check_signals(cache: Cache, settings: Settings) -> None:
    """Reject losses whose signals the cache lacks, with the command that would add them."""
    for entry in settings.distill:
        for teacher in entry.teachers:
            teacher_facts(cache, teacher)
    problems = [
        f"loss {entry.key!r} needs the signal {signal!r}"
        for entry in settings.distill
        for signal in entry.signals
        if signal not in cache.signals
    ]
    if not problems:
        return
    missing = [name for name in needed_signals(settings) if name not in cache.signals]
    commands = [f"repeat {suggested_command(name)}" for name in missing]
    raise CacheError(
        f"{cache.root} cannot serve {len(problems)} loss(es); it has: {', '.join(cache.signals)}\n"
        f"{bullet_list(problems)}\nTo add what is missing:\n{bullet_list(commands)}",
        kind="missing_signal",
    )
