"""Fine-tuning learns, continues after a kill, and writes a folder that others can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import soundfile
import torch
import transformers
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.clip import Clip
from cache_schema.errors import RunError, UsageError
from pipeline.corpora.interface import Corpus
from pipeline.finetune import finetune
from pipeline.finetune_cli import main
from pipeline.finetune_data import LabelledAudio
from pipeline.finetune_training import Recipe
from pipeline.scores import accuracy, average_precision, macro_average_precision
from pipeline.teachers import open_teacher

torch.set_num_threads(1)

RATE_HZ = 16_000
CLASSES = ("high", "low")
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=3e-3, seed=3)


def write_clip(root: Path, name: str, split: str, label: str, samples: int) -> Clip:
    """A tone of its class in noise."""
    random = np.random.default_rng(list(name.encode()))
    tone = np.sin(2 * np.pi * {"high": 3_000, "low": 300}[label] * np.arange(samples) / RATE_HZ)
    waveform = 0.3 * tone + 0.05 * random.standard_normal(samples)
    soundfile.write(root / name, waveform.astype(np.float32), RATE_HZ)
    return Clip(
        id=name, path=name, labels=(label,), split=split, frames=samples, source_rate_hz=RATE_HZ
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Tones of two classes; one file is no audio and one clip has no label."""
    root = tmp_path / "corpus"
    root.mkdir()
    clips = [
        write_clip(root, f"{split}-{label}-{i}.wav", split, label, 4_000 + 160 * i)
        for split, count in (("train", 10), ("validation", 4), ("test", 3))
        for label in CLASSES
        for i in range(count)
    ]
    (root / "broken.wav").write_bytes(b"no audio")
    clips += [
        Clip(id="broken", path="broken.wav", labels=("low",), split="train"),
        Clip(id="unlabelled", path="train-low-0.wav", labels=(), split="train", frames=4_000),
    ]
    return Corpus(root=root, clips=tuple(clips), classes=CLASSES, task="single")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny wav2vec 2.0 with random weights, for other classes."""
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_kernel=(40, 16),
        conv_stride=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        classifier_proj_size=8,
        mask_time_length=2,
        num_labels=5,
    )
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    folder = tmp_path / "base"
    transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def run(corpus: Corpus, base: Path, out: Path, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    settings: dict[str, Any] = {"recipe": RECIPE, "report": lines.append} | changes
    return finetune(corpus, str(base), out, **settings), lines


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


def test_it_learns(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=8, batch_size=4, learning_rate=3e-3, patience=8)
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


class KilledError(Exception):
    """Stands for a kill right after an epoch was reported."""


def killed_after_epoch(epoch: int) -> Callable[[str], None]:
    def report(line: str) -> None:
        if line.startswith(f"epoch {epoch} of"):
            raise KilledError

    return report


def test_a_killed_run_continues_to_the_same_weights(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    run(corpus, base, tmp_path / "undisturbed")
    with pytest.raises(KilledError):
        run(corpus, base, tmp_path / "killed", report=killed_after_epoch(1))
    assert not (tmp_path / "killed").exists()
    _, lines = run(corpus, base, tmp_path / "killed")
    assert "continuing after epoch 1" in lines
    for name in ("model.safetensors", "training.json", "config.json"):
        one, other = (tmp_path / run_ / name for run_ in ("undisturbed", "killed"))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_finished_run_repeated_is_already_done(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    first, _ = run(corpus, base, tmp_path / "teacher")
    second, lines = run(corpus, base, tmp_path / "teacher")
    assert second == json.loads(json.dumps(first))
    assert lines[0].startswith("already done: accuracy validation")


def test_another_configuration_in_the_same_folder_is_refused_with_both_values(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    run(corpus, base, tmp_path / "teacher")
    with pytest.raises(UsageError, match=r"seed: there 3, this run 4"):
        run(corpus, base, tmp_path / "teacher", recipe=Recipe(epochs=2, batch_size=4, seed=4))


def test_a_foreign_folder_is_left_alone(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not made by finetune-teacher"):
        run(corpus, base, tmp_path / "notes")


def test_a_corpus_without_validation_clips_is_refused(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    training = tuple(clip for clip in corpus.clips if clip.split == "train")
    only_training = Corpus(root=corpus.root, clips=training, classes=CLASSES, task="single")
    with pytest.raises(RunError, match="'validation'"):
        run(only_training, base, tmp_path / "teacher")


def test_pooling_is_refused_for_ast(corpus: Corpus, tmp_path: Path) -> None:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ASTConfig(**size, intermediate_size=16, max_length=32, num_mel_bins=32)
    folder = tmp_path / "ast"
    transformers.ASTForAudioClassification(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=32).save_pretrained(folder)
    with pytest.raises(UsageError, match="Leave out --pooling"):
        run(corpus, folder, tmp_path / "teacher", pooling="mean")


def test_the_command_says_what_is_wrong_and_exits_with_its_code(
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
    result, _ = run(multi, base, tmp_path / "teacher", recipe=Recipe(epochs=1, batch_size=8))
    config = json.loads((tmp_path / "teacher" / "config.json").read_text())
    assert result["metric"] == "macro mAP"
    assert config["problem_type"] == "multi_label_classification"
    assert open_teacher(str(tmp_path / "teacher")).task == "multi"


def test_frozen_layers_stay_as_they_are(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run(corpus, base, tmp_path / "teacher", recipe=Recipe(epochs=1, freeze_layers=1))
    before = load_file(base / "model.safetensors")
    after = load_file(tmp_path / "teacher" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ("wav2vec2.feature_extractor.", "wav2vec2.encoder.layers.0.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert any(name.startswith("wav2vec2.encoder.layers.1.") for name in changed)


def test_batches_hold_every_usable_clip_once_and_depend_on_the_seed_alone(corpus: Corpus) -> None:
    audio = LabelledAudio(
        corpus=corpus, sample_rate_hz=RATE_HZ, min_samples=400, max_samples=None, report=len
    )
    for batches in (
        list(audio.shuffled("train", 3, (0, 1))),
        list(audio.of_equal_length("train", 3)),
    ):
        assert sum(len(batch.waveforms) for batch in batches) == 20
        assert sum(batch.labels.sum() for batch in batches) == 20
    assert all(len({len(w) for w in b.waveforms}) == 1 for b in audio.of_equal_length("train", 3))
    first, again = (
        [len(b.waveforms[0]) for b in audio.shuffled("train", 3, (0, s))] for s in (1, 1)
    )
    assert first == again
    assert audio.batch_count("train", 3) == 7


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_average_precision_agrees_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    if labels.any():
        expected = sklearn.metrics.average_precision_score(labels, scores)
        assert average_precision(scores, labels) == pytest.approx(expected)


def test_scores_by_hand() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    labels = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert accuracy(logits, labels) == pytest.approx(2 / 3)
    assert macro_average_precision(logits, labels) == pytest.approx((5 / 6 + 5 / 6) / 2)


def test_patience_ends_training(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=30, batch_size=8, learning_rate=1e-9, patience=2)
    result, _ = run(corpus, base, tmp_path / "teacher", recipe=recipe)
    assert result["best_epoch"] == 1
    assert len(result["epochs"]) == 3
