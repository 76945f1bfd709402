"""Learning rates by layer, frozen layers, several batches a step, mixed precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_finetuning import (
    FAMILIES,
    adopted,
    run,
    views_of,
    write_base,
    write_clip,
    write_corpus,
)

from cache_schema.errors import RunError, UsageError
from pipeline.finetune.data import LabelledAudio
from pipeline.finetune.optimizer import Optimizer, freeze, parameter_groups, training_mode
from pipeline.finetune.recipe import FineTuneRecipe, resolved_precision
from pipeline.finetune.training_loop import FineTuning
from pipeline.teachers.hugging_face import HuggingFaceTeacher

torch.set_num_threads(1)


def rates(teacher: HuggingFaceTeacher, layer_decay: float) -> dict[str, float]:
    """The learning rate of each parameter by name; the head's is 1."""
    name_of = {id(p): name for name, p in teacher.model.named_parameters()}
    groups = parameter_groups(teacher, 1.0, layer_decay)
    return {name_of[id(p)]: group["lr"] for group in groups for p in group["params"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_learns_slower_than_the_one_above_and_the_front_end_slowest(
    tmp_path: Path, family: str
) -> None:
    teacher = adopted(write_base(tmp_path / "base", family))
    rate = rates(teacher, 0.5)
    named = {id(p): name for name, p in teacher.model.named_parameters()}
    layers = teacher.layers()
    for depth, layer in enumerate(layers, 1):
        for parameter in filter(lambda p: p.requires_grad, layer.parameters()):
            assert rate[named[id(parameter)]] == 0.5 ** (len(layers) + 1 - depth)
    for module in teacher.front_end():
        for parameter in module.parameters():
            assert rate[named[id(parameter)]] == 0.5 ** (len(layers) + 1)
    assert {rate[name] for name in rate if name.startswith(("classifier", "projector"))} == {1.0}


def test_layer_decay_leaves_frozen_layers_out(tmp_path: Path) -> None:
    teacher = adopted(write_base(tmp_path / "base"))
    freeze(teacher, 1, front_end=True)
    rate = rates(teacher, 0.5)
    assert rate["wav2vec2.encoder.layers.1.attention.v_proj.weight"] == 0.5
    assert not [name for name in rate if name.startswith("wav2vec2.encoder.layers.0.")]
    assert not [name for name in rate if name.startswith("wav2vec2.feature_extractor.")]
    assert rate["wav2vec2.feature_projection.projection.weight"] == 0.125


def test_without_decay_there_is_one_rate(tmp_path: Path) -> None:
    teacher = adopted(write_base(tmp_path / "base"))
    assert len(parameter_groups(teacher, 1e-3, 1.0)) == 1


FULL = {torch.float32, torch.int64}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def moved(base: Path, teacher: Path, part: str) -> float:
    """How far the weights of a part went, relative to their size."""
    before, after = weights(base), weights(teacher)
    names = [name for name in before if part in name and before[name].dim() > 1]
    assert names
    return max(float((after[n] - before[n]).norm() / before[n].norm()) for n in names)


def test_lower_layers_move_less_and_frozen_ones_not_at_all(tmp_path: Path) -> None:
    corpus, base = write_corpus(tmp_path / "corpus"), write_base(tmp_path / "base")
    plain = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3}
    for name, changes in {
        "even": {},
        "decayed": {"layer_decay": 0.1},
        "both": {"layer_decay": 0.1, "freeze_layers": 1},
    }.items():
        run(corpus, base, tmp_path / name, recipe=FineTuneRecipe(**plain, **changes))
    lower, upper = "encoder.layers.0.attention.v_proj", "encoder.layers.1.attention.v_proj"
    even, decayed, both = (tmp_path / name for name in ("even", "decayed", "both"))
    assert moved(base, even, lower) > 0.3 * moved(base, even, upper)
    assert 0 < moved(base, decayed, lower) < 0.3 * moved(base, decayed, upper)
    assert moved(base, both, lower) == 0
    assert moved(base, both, upper) > 0
    assert moved(base, both, "feature_extractor.conv_layers") == 0


def test_a_frozen_batch_norm_keeps_its_statistics_and_others_learn_theirs(tmp_path: Path) -> None:
    corpus, base = (
        write_corpus(tmp_path / "corpus"),
        write_base(tmp_path / "base", "efficientnet"),
    )
    run(corpus, base, tmp_path / "teacher", recipe=FineTuneRecipe(epochs=1, freeze_layers=2))
    before, after = weights(base), weights(tmp_path / "teacher")
    changed = {
        name.partition("efficientnet.")[2]
        for name in before
        if "running_mean" in name and not torch.equal(before[name], after[name])
    }
    frozen = ("embeddings.", "encoder.blocks.0.", "encoder.blocks.1.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert [name for name in changed if name.startswith("encoder.blocks.2.")]


def still(base: Path) -> Path:
    """Take dropout out of a model's configuration."""
    config = (base / "config.json").read_text().replace('"dropout": 0.1', '"dropout": 0.0')
    (base / "config.json").write_text(config)
    return base


@pytest.mark.parametrize("task", ["single", "multi"])
def test_two_batches_of_four_make_the_step_of_one_batch_of_eight(tmp_path: Path, task: Any) -> None:
    """22 clips of one length: steps of 8, 8 and 6, the last one of batches of 4 and 2."""
    corpus = write_corpus(tmp_path / "corpus", task)
    labels = [corpus.classes[i % 2 : i % 2 + 1] for i in range(22)]
    clips = [write_clip(corpus.root, f"{i}.wav", "train", of) for i, of in enumerate(labels)]
    others = [clip for clip in corpus.clips if clip.split != "train"]
    corpus = replace(corpus, clips=(*clips, *others))
    base = still(write_base(tmp_path / "base", "whisper"))
    for name, batch_size, accumulate in (("two", 4, 2), ("one", 8, 1)):
        recipe = FineTuneRecipe(
            epochs=2, batch_size=batch_size, accumulate=accumulate, learning_rate=1e-3
        )
        run(corpus, base, tmp_path / name, recipe=recipe)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert moved(base, tmp_path / "one", "encoder.layers.0.self_attn.v_proj") > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_runs_on_a_cpu_and_keeps_weights_in_float32(tmp_path: Path, family: str) -> None:
    corpus, base = write_corpus(tmp_path / "corpus"), write_base(tmp_path / "base", family)
    results = {
        precision: run(
            corpus, base, tmp_path / precision, recipe=FineTuneRecipe(epochs=1, precision=precision)
        )[0]
        for precision in ("32-true", "bf16-mixed")
    }
    exact, rough = (result["epochs"][0]["loss"] for result in results.values())
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.1)
    assert results["bf16-mixed"]["facts"]["precision"] == "bf16-mixed"
    assert {w.dtype for w in weights(tmp_path / "bf16-mixed").values()} <= FULL


def test_float16_is_rejected_without_cuda_and_auto_is_float32_on_a_cpu() -> None:
    with pytest.raises(UsageError, match="16-mixed needs --device cuda, and this is --device cpu"):
        resolved_precision("16-mixed", "cpu")
    assert resolved_precision("auto", "cpu") == "32-true"
    assert resolved_precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests what happens without a GPU")
def test_bfloat16_is_rejected_on_a_gpu_that_has_none() -> None:
    with pytest.raises(UsageError, match="the GPU of --device cuda has no bfloat16"):
        resolved_precision("bf16-mixed", "cuda")
    assert resolved_precision("auto", "cuda") == "32-true"
    assert resolved_precision("16-mixed", "cuda") == "16-mixed"


def test_an_overflow_of_float16_takes_no_step_and_halves_the_scale(tmp_path: Path) -> None:
    teacher = adopted(write_base(tmp_path / "base"))
    optimizer = Optimizer(teacher, FineTuneRecipe(precision="16-mixed"), steps=10)
    bias = teacher.model.classifier.bias
    before, state = bias.detach().clone(), optimizer.state()
    for factor, moves in ((float("inf"), False), (1.0, True)):
        optimizer.add_gradient(factor * bias.sum())
        optimizer.step()
        assert torch.equal(before, bias) is not moves
    after = optimizer.state()
    assert after["scaler"]["scale"] == state["scaler"]["scale"] / 2
    assert after["schedule"]["last_epoch"] == 1


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_gradient_that_is_not_finite_stops_before_the_update(
    tmp_path: Path, precision: Any
) -> None:
    teacher = adopted(write_base(tmp_path / "base"))
    optimizer = Optimizer(teacher, FineTuneRecipe(precision=precision), steps=10)
    parameters = list(teacher.model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    loss = torch.sqrt(0 * teacher.model.classifier.bias.sum())
    assert loss.item() == 0, "the loss itself is finite"
    optimizer.add_gradient(loss)
    with pytest.raises(RunError, match=r"norm of the gradient became nan in step 1; .*smaller"):
        optimizer.step()
    assert all(map(torch.equal, before, parameters))


def test_training_mode_spares_frozen_batch_norms_alone(tmp_path: Path) -> None:
    teacher = adopted(write_base(tmp_path / "base", "efficientnet"))
    freeze(teacher, 0, front_end=True)
    training_mode(teacher.model)
    assert [name for name, module in teacher.model.named_modules() if not module.training] == [
        "efficientnet.embeddings.batchnorm"
    ]


def test_float16_trains_with_a_scaled_loss(tmp_path: Path) -> None:
    """On a CPU, as only here: the command rejects it."""
    corpus, teacher = write_corpus(tmp_path / "corpus"), adopted(write_base(tmp_path / "base"))
    teacher.model.classifier = torch.nn.Linear(teacher.model.classifier.in_features, 2)
    audio = LabelledAudio(
        corpus=corpus, sample_rate_hz=teacher.sample_rate_hz, min_samples=teacher.min_samples,
        max_samples=None, report=lambda line: None, recipe=views_of(corpus),
    )  # fmt: skip
    recipe = FineTuneRecipe(epochs=4, batch_size=4, learning_rate=3e-3, precision="16-mixed")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/facts.json").touch()
    training = FineTuning(
        teacher, audio, recipe, folder=tmp_path / "state", report=lambda line: None
    )
    training.run()
    assert training.epochs[-1]["loss"] < training.epochs[0]["loss"]
    assert np.isfinite(training.score("test"))
