"""Thirty steps of each loss alone, on real cached speech: does it fall on clips that were held out?

As a script, on a cache with all signals (tests/integration/test_thirty_steps.py makes one)::

    python tests/experiments/thirty_steps.py CACHE
"""

from __future__ import annotations

import sys
from contextlib import closing
from copy import deepcopy
from functools import lru_cache
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from cache_schema.reader import Cache, open_cache
from student.losses import LOSSES
from student.runs.settings import Settings, parse_distillation, student_class
from student.stream.batch import Batch
from student.stream.stream import Stream
from student.stream.unit_loader import UnitLoader
from student.training.determinism import prepare_torch
from student.training.objective import Objective, build_objective, class_maps, needed_signals

STUDENTS = ("lstm-p", "tc-resnet", "crnn", "att-rnn", "mhatt-rnn")
STEPS, BATCH, HELD_BATCHES = 30, 16, 4


def thirty_steps(cache: Cache, student: str, loss: str) -> tuple[float, float]:
    """Train on one loss alone; give it on held-out clips before and after."""
    batches, held, settled = material(cache, student)
    settings = settings_of(student, loss)
    objective = build_objective(cache, settings)
    objective.student.load_state_dict(settled)
    optimizer = torch.optim.Adam(objective.parameters(), lr=settings.recipe.learning_rate)
    before = held_loss(objective, held)
    objective.train()
    for batch in batches:
        optimizer.zero_grad()
        objective(batch)["total"].backward()
        optimizer.step()
    return before, held_loss(objective, held)


def settings_of(student: str, *losses: str) -> Settings:
    """Distillation alone."""
    return Settings(
        student=student,
        student_options={},
        distill=tuple(parse_distillation(f"{loss}=1") for loss in losses),
        label_weight=0.0,
        seed=0,
        recipe=student_class(student).recipe,
    )


@lru_cache(maxsize=1)
def material(cache: Cache, student: str) -> tuple[list[Batch], list[Batch], dict[str, Tensor]]:
    """What all losses share: batches to train on, held-out ones, and weights to start with."""
    settings = settings_of(student, *LOSSES)
    objective = build_objective(cache, settings)
    names, maps = needed_signals(settings), class_maps(cache, settings)
    loader = UnitLoader(cache, objective.student.front_end, names, class_maps=maps)
    with closing(Stream(loader, "test", batch_size=BATCH, seed=0).in_order()) as rows:
        held = list(islice(rows, HELD_BATCHES))
    batches = training_batches(loader)
    settle(objective, batches)
    return batches, held, deepcopy(objective.student.state_dict())


@torch.no_grad()
def settle(objective: Objective, batches: list[Batch]) -> None:
    """Show BatchNorm the batches without a step, so that its statistics explain no fall."""
    objective.train()
    for batch in batches:
        objective(batch)


def training_batches(loader: UnitLoader) -> list[Batch]:
    """As many batches as there are steps, over as many epochs as that takes."""
    stream = Stream(loader, "train", batch_size=BATCH, seed=0)
    found: list[Batch] = []
    epoch = 0
    while len(found) < STEPS:
        with closing(stream.epoch(epoch)) as batches:
            found += islice(batches, STEPS - len(found))
        epoch += 1
    return found


@torch.no_grad()
def held_loss(objective: Objective, held: list[Batch]) -> float:
    """Mean of the loss over held-out batches, in evaluation mode."""
    objective.eval()
    return sum(float(objective(batch)["total"]) for batch in held) / len(held)


if __name__ == "__main__":
    prepare_torch(1)
    opened = open_cache(Path(sys.argv[1]))
    print("| student | " + " | ".join(f"`{loss}`" for loss in LOSSES) + " |")
    print("| --- |" + " --- |" * len(LOSSES))
    for name in STUDENTS:
        pairs = [thirty_steps(opened, name, loss) for loss in LOSSES]
        print(
            f"| `{name}` | " + " | ".join(f"{a:.3g} → {b:.3g}" for a, b in pairs) + " |", flush=True
        )
