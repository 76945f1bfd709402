"""A corpus of tones and tiny untrained models of each family: fine-tuning in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch
import transformers

from cache_schema.clip import Clip
from cache_schema.plugins import load_plugin
from pipeline.corpora.interface import Corpus
from pipeline.finetune.finetune import finetune
from pipeline.finetune.recipe import FineTuneRecipe
from pipeline.precompute.plan import corpus_facts, order_clips
from pipeline.teachers import MODEL_TYPES
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from pipeline.teachers.checkpoints.random_init import write_untrained_cnn, write_untrained_encoder
from pipeline.teachers.hugging_face import HuggingFaceTeacher
from pipeline.views import ViewRecipe, view_context

RATE_HZ = 16_000
TONE_HZ = {"high": 3_000, "low": 300}
CLASSES = tuple(TONE_HZ)
RECIPE = FineTuneRecipe(epochs=2, batch_size=4, learning_rate=3e-3, seed=3)
FAMILIES = ("wav2vec2", "whisper", "ast", "efficientnet")

Task = Literal["single", "multi"]


def write_clip(
    root: Path, name: str, split: str, labels: tuple[str, ...], samples: int = 5_600
) -> Clip:
    """The tones of its classes in noise."""
    random = np.random.default_rng(list(name.encode()))
    time_s = np.arange(samples) / RATE_HZ
    tones = sum(0.3 * np.sin(2 * np.pi * TONE_HZ[label] * time_s) for label in labels)
    waveform = tones + 0.05 * random.standard_normal(samples)
    soundfile.write(root / name, waveform.astype(np.float32), RATE_HZ)
    return Clip(
        id=name, path=name, labels=labels, split=split, frames=samples, source_rate_hz=RATE_HZ
    )


def write_corpus(root: Path, task: Task = "single", train: int = 10) -> Corpus:
    """34 clips, or `train` of each class and 14, one file that is no audio and one clip without a label.

    Of a multi-label corpus every third clip has both labels.
    """
    root.mkdir()
    clips = [
        write_clip(
            root,
            f"{split}-{label}-{i}.wav",
            split,
            CLASSES if task == "multi" and i % 3 == 0 else (label,),
            5_600 + 160 * i,
        )
        for split, count in (("train", train), ("validation", 4), ("test", 3))
        for label in CLASSES
        for i in range(count)
    ]
    (root / "broken.wav").write_bytes(b"no audio")
    clips += [
        Clip(id="broken", path="broken.wav", labels=("low",), split="train"),
        Clip(id="unlabelled", path="train-low-0.wav", labels=(), split="train", frames=5_600),
    ]
    return Corpus(root=root, clips=tuple(clips), classes=CLASSES, task=task)


def views_of(corpus: Corpus, *steps: str) -> ViewRecipe:
    """A recipe made ready for a corpus."""
    clips = order_clips(corpus)
    context = view_context(corpus.root, RATE_HZ, corpus_facts(corpus, clips), lambda i: clips[i])
    return ViewRecipe(steps, context, seed=0)


def write_base(folder: Path, family: str = "wav2vec2", **settings: Any) -> Path:
    """A tiny model with random weights, for other classes; `settings` change its configuration."""
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    if family == "efficientnet":
        write_untrained_cnn(folder, seed=0, width=0.1, depth=0.1)
    elif family == "whisper":
        write_untrained_encoder(folder, seed=0)
    elif family == "ast":
        config = transformers.ASTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            num_mel_bins=64, max_length=64, num_labels=5,
        )  # fmt: skip
        transformers.ASTForAudioClassification(config).save_pretrained(folder)
        transformers.ASTFeatureExtractor(num_mel_bins=64, max_length=64).save_pretrained(folder)
    else:
        config = transformers.Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            conv_dim=(16, 16), conv_kernel=(40, 16), conv_stride=(20, 16), num_feat_extract_layers=2,
            num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
            do_stable_layer_norm=True, classifier_proj_size=8, num_labels=5, **settings,
        )  # fmt: skip
        transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def adopted(base: Path) -> HuggingFaceTeacher:
    """A teacher with its model in training configuration, as fine-tuning holds it."""
    checkpoint = open_checkpoint(str(base), MODEL_TYPES)
    teacher_class = load_plugin(MODEL_TYPES, checkpoint.model_type, "model type")
    teacher: HuggingFaceTeacher = teacher_class(checkpoint)
    torch.manual_seed(0)
    attention = "eager" if teacher.attention_implementation == "eager" else "sdpa"
    teacher.attach_model(teacher.new_model(attention=attention), "cpu")
    return teacher


def run(corpus: Corpus, base: Path, out: Path, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    """Fine-tune; the result and the lines reported."""
    lines: list[str] = []
    settings: dict[str, Any] = {"recipe": RECIPE, "report": lines.append} | changes
    return finetune(corpus, str(base), out, **settings), lines
