"""Fine-tuning learns, rejects what does not fit, and writes a folder that others can read."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from small_finetuning import CLASSES, run, write_base, write_corpus

from cache_schema.errors import RunError, UsageError
from pipeline.corpora.interface import Corpus
from pipeline.finetune.cli import main
from pipeline.finetune.data import AudioBatch
from pipeline.finetune.recipe import FineTuneRecipe
from pipeline.finetune.training_loop import FineTuning
from pipeline.teachers import open_teacher

torch.set_num_threads(1)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


def test_it_writes_a_folder_that_teaches_the_corpus_classes(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    result, lines = run(corpus, base, tmp_path / "teacher")
    assert {p.name for p in (tmp_path / "teacher").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "training.json",
    }
    teacher = open_teacher(str(tmp_path / "teacher"))
    teacher.load("cpu")
    assert (teacher.classes, teacher.task) == (CLASSES, "single")
    assert teacher.provenance["pooling"] == "first"
    assert len(result["epochs"]) == 2
    assert list(result["unusable"]) == ["broken"]
    assert any("left out broken" in line for line in lines)
    assert "stock transformers class" in (tmp_path / "teacher" / "README.md").read_text()
    assert str(tmp_path) not in (tmp_path / "teacher" / "training.json").read_text()
    assert not (tmp_path / "teacher.partial").exists()
    modes = {path.stat().st_mode for path in (tmp_path / "teacher").iterdir()}
    assert len(modes) == 1  # as the user's umask has them


def test_it_learns(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    recipe = FineTuneRecipe(epochs=8, batch_size=4, learning_rate=3e-3, patience=8)
    result, _ = run(corpus, base, tmp_path / "teacher", recipe=recipe, pooling="mean")
    assert result["epochs"][-1]["loss"] < 0.7 * result["epochs"][0]["loss"]
    assert result["validation"] == 1.0
    assert result["test"] == 1.0


def test_the_written_weights_give_the_reported_score(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    result, _ = run(corpus, base, tmp_path / "teacher")
    teacher = open_teacher(str(tmp_path / "teacher"))
    teacher.load("cpu")
    right = []
    for clip in (c for c in corpus.clips if c.split == "test"):
        waveform = soundfile.read(corpus.root / clip.path, dtype="float32")[0]
        logits = teacher.infer([waveform], ["logits"])[0]["logits"]
        right.append(teacher.classes[int(logits.argmax())] in clip.labels)
    assert np.mean(right) == pytest.approx(result["test"])


def test_a_finished_run_repeated_is_already_done(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "teacher"
    first, wrote = run(corpus, base, out)
    step = f"Next: precompute-teacher CORPUS --teacher {out} --out CACHE"
    assert wrote[-2].startswith(f"wrote {out}: accuracy validation")
    assert wrote[-1] == step
    for finish in (False, True):
        second, lines = run(corpus, base, out, finish=finish)
        assert second == json.loads(json.dumps(first))
        assert lines[0].startswith(f"already done: {out}: accuracy validation")
        assert lines[1:] == [step]


def test_another_configuration_in_the_same_folder_is_rejected_with_both_values(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    run(corpus, base, tmp_path / "teacher")
    with pytest.raises(UsageError, match=r"seed: there 3, this run 4"):
        run(
            corpus,
            base,
            tmp_path / "teacher",
            recipe=FineTuneRecipe(epochs=2, batch_size=4, seed=4),
        )


def test_a_link_to_an_empty_folder_is_that_folder(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk/teachers").mkdir(parents=True)
    (tmp_path / "teacher").symlink_to(tmp_path / "disk/teachers")
    run(corpus, base, tmp_path / "teacher")
    assert (tmp_path / "teacher").is_symlink()
    assert (tmp_path / "disk/teachers/model.safetensors").is_file()
    assert os.listdir(tmp_path / "disk") == ["teachers"]


def test_weights_that_may_not_be_read_are_not_called_missing(
    corpus: Corpus, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path.open

    def locked(path: Path, *words: Any, **more: Any) -> Any:
        if path.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path, *words, **more)

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(PermissionError, match=r"Permission denied.*model\.safetensors"):
        run(corpus, base, tmp_path / "teacher")


def test_the_base_is_not_replaced(corpus: Path, base: Path) -> None:
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    with pytest.raises(UsageError, match="is the --base itself, which stays as it is"):
        run(corpus, base, base)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_a_base_with_weights_that_are_no_numbers_is_named(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    """Its loss is NaN with any learning rate."""
    broken = shutil.copytree(base, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "layer_norm.weight" in name)
    weights[name][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        RunError, match=r"1 of its weights hold NaN or infinity, first .*layer_norm"
    ):
        run(corpus, broken, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()
    assert not (tmp_path / "teacher.partial").exists()


def test_a_foreign_folder_is_left_alone(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not made by finetune-teacher"):
        run(corpus, base, tmp_path / "notes")


def test_a_foreign_folder_called_like_an_unfinished_one_is_left_alone(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    partial = tmp_path / "teacher.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")
    with pytest.raises(
        UsageError, match=r"is no unfinished teacher: it was not made by .* holds thesis.txt"
    ):
        run(corpus, base, tmp_path / "teacher")
    assert (partial / "thesis.txt").read_text() == "mine"


def test_a_corpus_without_validation_clips_is_rejected(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    training = tuple(clip for clip in corpus.clips if clip.split == "train")
    only_training = Corpus(root=corpus.root, clips=training, classes=CLASSES, task="single")
    with pytest.raises(RunError, match="'validation'"):
        run(only_training, base, tmp_path / "teacher")


@pytest.mark.parametrize(
    ("family", "pooling", "wanted"),
    [
        ("ast", "mean", "audio-spectrogram-transformer has its own. Leave out --pooling"),
        ("whisper", "attention", "whisper takes first or mean"),
        ("efficientnet", "first", "efficientnet takes mean or attention"),
    ],
)
def test_a_pooling_that_a_family_lacks_is_rejected(
    corpus: Corpus, tmp_path: Path, family: str, pooling: str, wanted: str
) -> None:
    base = write_base(tmp_path / "base", family)
    with pytest.raises(UsageError, match=f"--pooling {pooling} does not apply to base: {wanted}"):
        run(corpus, base, tmp_path / "teacher", pooling=pooling)


@pytest.mark.parametrize(
    ("family", "pooling", "wanted"),
    [
        ("wav2vec2", None, "This model classifies the first frame."),
        ("wav2vec2", "mean", "It averages all frames, as the stock"),
        ("ast", None, "It averages the two special tokens"),
        ("efficientnet", None, "averages the last feature map over time and frequency"),
        ("efficientnet", "attention", "**This model pools by attention.**"),
    ],
)
def test_the_card_reports_what_the_head_pools(
    corpus: Corpus, tmp_path: Path, family: str, pooling: str | None, wanted: str
) -> None:
    base, out = write_base(tmp_path / "base", family), tmp_path / "teacher"
    recipe = FineTuneRecipe(epochs=1, train_front_end=True)
    result, _ = run(corpus, base, out, recipe=recipe, pooling=pooling)
    assert wanted in (out / "README.md").read_text(encoding="utf-8")
    teacher = open_teacher(str(out))
    teacher.load("cpu")
    assert teacher.provenance["pooling"] == result["facts"]["pooling"]


def test_the_command_reports_what_is_wrong_and_exits_with_its_code(
    corpus: Corpus, tmp_path: Path
) -> None:
    manifest = tmp_path / "clips.csv"
    lines = [f"{c.path},{c.labels[0]},{c.split}" for c in corpus.clips if c.labels]
    manifest.write_text("\n".join(["path,label,split", *lines]) + "\n")
    arguments = [f"csv:{manifest}?root={corpus.root}", "--base", str(tmp_path / "no such folder")]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "teacher")])
    assert result.exit_code == 1
    assert "no teacher folder at" in result.output


def test_multi_label_corpora_train_with_sigmoids(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    multi = Corpus(root=corpus.root, clips=corpus.clips, classes=CLASSES, task="multi")
    result, _ = run(
        multi, base, tmp_path / "teacher", recipe=FineTuneRecipe(epochs=1, batch_size=8)
    )
    config = json.loads((tmp_path / "teacher" / "config.json").read_text())
    assert result["metric"] == "macro mAP"
    assert config["problem_type"] == "multi_label_classification"
    assert open_teacher(str(tmp_path / "teacher")).task == "multi"


def test_the_card_counts_labelled_clips_alone(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    train = [clip.id for clip in corpus.clips if clip.split == "train" and clip.labelled]
    clips = tuple(
        replace(clip, labels=()) if clip.id in train[:8] else clip for clip in corpus.clips
    )
    partly = replace(corpus, clips=clips)
    result, _ = run(partly, base, tmp_path / "teacher", recipe=FineTuneRecipe(epochs=1))
    assert result["labelled_train_clips"] == len(train) - 8
    card = (tmp_path / "teacher" / "README.md").read_text(encoding="utf-8")
    assert f"| labelled training clips | {len(train) - 8} |" in card


def test_frozen_layers_stay_as_they_are(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    run(corpus, base, tmp_path / "teacher", recipe=FineTuneRecipe(epochs=1, freeze_layers=1))
    before = load_file(base / "model.safetensors")
    after = load_file(tmp_path / "teacher" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ("wav2vec2.feature_extractor.", "wav2vec2.encoder.layers.0.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert any(name.startswith("wav2vec2.encoder.layers.1.") for name in changed)


def test_patience_ends_training(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    recipe = FineTuneRecipe(epochs=30, batch_size=8, learning_rate=1e-9, patience=2)
    result, _ = run(corpus, base, tmp_path / "teacher", recipe=recipe)
    assert result["best_epoch"] == 1
    assert len(result["epochs"]) == 3


def test_the_loss_of_an_epoch_is_the_mean_over_its_clips(
    corpus: Corpus, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(_: FineTuning, batches: Sequence[AudioBatch], seed: tuple[int, ...]) -> float:
        return float(sum(len(batch.waveforms) for batch in batches))

    monkeypatch.setattr(FineTuning, "_step", step)
    recipe = FineTuneRecipe(epochs=1, batch_size=16)
    result, _ = run(corpus, base, tmp_path / "teacher", recipe=recipe)
    # 20 clips and one that is no audio, which is the shortest: steps of 15 and of 5.
    assert result["epochs"][0]["loss"] == pytest.approx((15 * 15 + 5 * 5) / 20)


def test_clips_that_the_base_takes_none_of_are_rejected_before_anything_is_written(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    short = replace(corpus, view_steps=("crop:length_s=0.001",))
    with pytest.raises(UsageError, match="none of the 20 train clips that can be read is of"):
        run(short, base, tmp_path / "teacher")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "corpus"}
