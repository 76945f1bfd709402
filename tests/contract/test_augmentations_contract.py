"""Every augmentation of the trainer with every loss: it trains, or reports why not and what to do."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from loss_inputs import loss_setup, ragged
from small_cache import write_small_cache

from cache_schema.errors import UsageError
from cache_schema.plugins import load_plugin
from pipeline.views import VIEWS
from student.augmentation.compatibility import AUGMENTATIONS, REASONS, check_augmentations
from student.augmentation.mixup import draw_mixup
from student.augmentation.spec_augment import spec_augment
from student.losses import LOSSES
from student.losses.interface import DistillationLoss, Effect
from student.recipes import RECIPES, Recipe, SpecAugment
from student.runs.settings import Settings, parse_distillation
from student.training import cli as train_cli
from student.training.objective import label_loss, mixup_loss

PLAIN = replace(RECIPES["ast"], spec_augment=None, mixup=None)
WITH = {
    "band masks": replace(PLAIN, spec_augment=SpecAugment(0, 1, 2, 5)),
    "time masks": replace(PLAIN, spec_augment=SpecAugment(2, 10, 0, 1)),
    "mixup": replace(PLAIN, mixup=0.3),
}

every_augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS)
every_loss = pytest.mark.parametrize("name", LOSSES)


def loss_class(name: str) -> type[DistillationLoss]:
    found: type[DistillationLoss] = load_plugin(LOSSES, name, "loss")
    return found


def supported(augmentation: str, name: str) -> bool:
    """Whether a loss declares that its target stays true; everything else must be a view."""
    return AUGMENTATIONS[augmentation].effect in ("safe", *loss_class(name).supports)


def settings(recipe: Recipe, *distill: str) -> Settings:
    return Settings(
        student="tc-resnet", student_options={}, seed=0, recipe=recipe, label_weight=0.5,
        distill=tuple(parse_distillation(f"{name}=0.1") for name in distill),
    )  # fmt: skip


def test_each_recipe_above_has_one_augmentation() -> None:
    assert set(WITH) == set(AUGMENTATIONS)
    for name, recipe in WITH.items():
        assert [n for n, a in AUGMENTATIONS.items() if a.used(recipe)] == [name]
    assert not any(augmentation.used(PLAIN) for augmentation in AUGMENTATIONS.values())


@every_augmentation
def test_what_is_declared_is_known(augmentation: str) -> None:
    declared = AUGMENTATIONS[augmentation]
    assert declared.effect in get_args(Effect)
    assert declared.view in ("", *VIEWS)
    options = [text for option in train_cli.main.params
               for text in (*option.opts, *option.secondary_opts)]  # fmt: skip
    assert declared.off.split()[0] in options


@every_loss
def test_a_loss_declares_what_it_supports(name: str) -> None:
    supported = loss_class(name).supports
    assert set(supported) <= set(get_args(Effect)) - {"safe", "needs a view"}
    assert set(REASONS) == set(get_args(Effect)) - {"safe"}


@every_augmentation
@every_loss
def test_it_trains_or_reports_why_not_and_what_to_do(augmentation: str, name: str) -> None:
    if supported(augmentation, name):
        settings(WITH[augmentation], name)
        return
    with pytest.raises(UsageError) as caught:
        settings(WITH[augmentation], name)
    message = str(caught.value)
    assert f"{augmentation} has no target for {name}, which learns from " in message
    assert all(signal in message for signal in loss_class(name).signals)
    declared = AUGMENTATIONS[augmentation]
    assert REASONS[declared.effect] in message
    assert f"switch {augmentation} off by the training option {declared.off}" in message
    assert f"precompute-teacher ... --view {declared.view} --views 8" in message


@pytest.mark.parametrize("name", ["temporal", "sp", "iusp", "attention-map"])
def test_these_losses_have_no_target_in_a_mixture(name: str) -> None:
    assert not supported("mixup", name)


@every_augmentation
def test_labels_alone_train_under_each(augmentation: str) -> None:
    settings(WITH[augmentation])


@pytest.mark.parametrize("names", list(itertools.combinations(LOSSES, 2)))
def test_all_problems_are_reported_at_once(names: tuple[str, str]) -> None:
    both = replace(WITH["mixup"], spec_augment=SpecAugment())
    refused = [name for name in names if not supported("mixup", name)]
    if not refused:
        settings(both, *names)
        return
    with pytest.raises(UsageError, match=f"{len(refused)} problem") as caught:
        settings(both, *names)
    error_text = str(caught.value)
    assert [name for name in names if f"no target for {name}," in error_text] == refused


def test_what_needs_a_view_is_rejected_by_every_loss() -> None:
    for name in LOSSES:
        assert "needs a view" not in loss_class(name).supports


@pytest.mark.parametrize(
    ("augmentation", "name"),
    [pair for pair in itertools.product(AUGMENTATIONS, LOSSES) if supported(*pair)],
)
@pytest.mark.parametrize("task", ["single", "multi"])
def test_what_is_declared_to_be_supported_is(augmentation: str, name: str, task: str) -> None:
    torch.manual_seed(0)
    loss, random = loss_class(name)(loss_setup(task=task)), np.random.default_rng(0)
    output, batch = ragged()
    output.context_BTD.requires_grad_()
    output.logits_BC.requires_grad_()
    recipe = WITH[augmentation]
    mixing = None
    if recipe.spec_augment is not None:
        batch = spec_augment(batch, recipe.spec_augment, random)
    if recipe.mixup is not None:
        mixing = draw_mixup(len(batch.clips), recipe.mixup, random)
    value = loss(output, batch) if mixing is None else mixup_loss(loss, output, batch, mixing)
    (value + label_loss(output, batch, mixing, task)).backward()
    assert torch.isfinite(value)
    assert value > 0
    for leaf in (output.context_BTD, output.logits_BC):
        assert leaf.grad is None or torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("name", ["temporal", "iusp", "attention-map"])
def test_a_loss_over_frames_requires_nothing_of_hidden_ones(name: str) -> None:
    torch.manual_seed(0)
    loss = loss_class(name)(loss_setup())
    output, batch = ragged(hide=True)
    output.context_BTD.requires_grad_()
    loss(output, batch).backward()
    assert output.context_BTD.grad is not None
    asked_BT = (output.context_BTD.grad != 0).any(2)
    assert batch.hidden_BT is not None
    offset = output.first_frame_s_B[0].item() - batch.feature_grid.first_frame_s
    for frame in range(asked_BT.shape[1]):
        nearest = int(np.floor((offset + frame * output.hop_s) / batch.feature_grid.hop_s + 0.501))
        if nearest < batch.hidden_BT.shape[1]:
            assert not (asked_BT[:, frame] & batch.hidden_BT[:, nearest]).any()


def test_the_command_rejects_before_it_writes(tmp_path: Path) -> None:
    cache = write_small_cache(tmp_path / "c.zarr")
    words = [str(cache), "--student", "tc-resnet", "--out", f"{tmp_path}/r", "--mixup", "0.3",
             "--distill", "temporal=0.25"]  # fmt: skip
    refused = CliRunner().invoke(train_cli.main, words)
    assert refused.exit_code == 2
    assert "mixup has no target for temporal" in refused.stderr


def test_a_further_teachers_loss_goes_by_its_own_name() -> None:
    entry = parse_distillation("temporal=0.1:teacher=b")
    with pytest.raises(UsageError, match="no target for temporal@b,"):
        check_augmentations(WITH["mixup"], {entry.key: entry.loss})
