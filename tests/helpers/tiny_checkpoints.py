"""Tiny models of every architecture with random weights and peaked attention, and the exact answer.

Queries and keys are scaled up, because random weights otherwise attend evenly to everything and a
wrong rollout would pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModelForAudioClassification

from pipeline.teachers import MODEL_TYPES
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from pipeline.teachers.checkpoints.random_init import write_untrained_cnn
from pipeline.teachers.efficientnet import EfficientNetTeacher

CLASSES = ("bark", "meow", "rain")
LABELS = {
    "id2label": dict(enumerate(CLASSES)),
    "label2id": {name: i for i, name in enumerate(CLASSES)},
}
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
CONVOLUTIONS = {
    "conv_dim": (16,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "num_conv_pos_embedding_groups": 4,
}
WAVEFORM = {**LABELS, **SIZE, **CONVOLUTIONS, "classifier_proj_size": 16}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}

# Queries and keys are scaled up by this, so that attention is far from uniform.
PEAKED = 12.0


def waveform_extractor() -> Any:
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def wav2vec2_layer_norm() -> tuple[Any, Any]:
    config = transformers.Wav2Vec2Config(**WAVEFORM, **LAYER_NORM, num_conv_pos_embeddings=16)
    return config, waveform_extractor()


def wav2vec2_group_norm() -> tuple[Any, Any]:
    config = transformers.Wav2Vec2Config(
        **WAVEFORM, feat_extract_norm="group", num_conv_pos_embeddings=16
    )
    return config, waveform_extractor()


def hubert() -> tuple[Any, Any]:
    config = transformers.HubertConfig(**WAVEFORM, **LAYER_NORM, num_conv_pos_embeddings=16)
    return config, waveform_extractor()


def unispeech_sat() -> tuple[Any, Any]:
    config = transformers.UniSpeechSatConfig(**WAVEFORM, **LAYER_NORM, num_conv_pos_embeddings=16)
    return config, waveform_extractor()


def wavlm() -> tuple[Any, Any]:
    config = transformers.WavLMConfig(**WAVEFORM, **LAYER_NORM, num_conv_pos_embeddings=16)
    return config, waveform_extractor()


def data2vec_audio() -> tuple[Any, Any]:
    config = transformers.Data2VecAudioConfig(
        **WAVEFORM, num_conv_pos_embeddings=3, conv_pos_kernel_size=5
    )
    return config, waveform_extractor()


def whisper() -> tuple[Any, Any]:
    config = transformers.WhisperConfig(
        **LABELS,
        d_model=32,
        encoder_layers=3,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_mel_bins=20,
        max_source_positions=200,
        vocab_size=50,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        classifier_proj_size=16,
    )
    return config, transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=4)


def whisper_first_frame() -> tuple[Any, Any]:
    config, extractor = whisper()
    config.aftersound_pooling, config.aftersound_task = "first", "multi"
    return config, extractor


def ast() -> tuple[Any, Any]:
    config = transformers.ASTConfig(**LABELS, **SIZE, max_length=128, num_mel_bins=40)
    return config, transformers.ASTFeatureExtractor(num_mel_bins=40, max_length=128)


CNN_POOLINGS = ("mean", "attention")

Maker = Callable[[], tuple[Any, Any]]
MAKERS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        wav2vec2_layer_norm,
        wav2vec2_group_norm,
        hubert,
        unispeech_sat,
        wavlm,
        data2vec_audio,
        whisper,
        whisper_first_frame,
        ast,
    )
}


def write_checkpoints(root: Path) -> None:
    """One folder a model, saved by transformers itself."""
    transformers.utils.logging.disable_progress_bar()
    for name, maker in MAKERS.items():
        config, extractor = maker()
        torch.manual_seed(0)
        model = AutoModelForAudioClassification.from_config(config)
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter.data.mul_(PEAKED)
            elif parameter_name.startswith(("classifier", "projector")):
                parameter.data.mul_(5)
        model.save_pretrained(root / name)
        extractor.save_pretrained(root / name)
    for pooling in CNN_POOLINGS:
        write_cnn(root / f"efficientnet_{pooling}", pooling)


def write_cnn(folder: Path, pooling: str) -> None:
    """An EfficientNet whose batch norms have seen noise, else nothing of a clip would get through."""
    write_untrained_cnn(folder, seed=0, width=0.25, depth=0.3)
    checkpoint = open_checkpoint(str(folder), MODEL_TYPES)
    teacher = EfficientNetTeacher(checkpoint.changed(**LABELS, aftersound_pooling=pooling))
    torch.manual_seed(0)
    teacher.attach_model(teacher.new_model(attention="eager").train(), "cpu")
    noise = np.random.default_rng(0).standard_normal((8, 16_000)).astype(np.float32)
    with torch.no_grad():
        for loudness in np.geomspace(1e-3, 1, 30, dtype=np.float32):
            teacher.logits(list(loudness * noise))
    teacher.save(folder)


def stock_answer(
    folder: Path, waveform: NDArray[np.float32], frames: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Head-mean maps (L, N, N) and logits of plain transformers with eager attention."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModelForAudioClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    )
    settings: dict[str, Any] = {}
    if frames is not None:  # Whisper, shortened by hand
        settings = {"padding": "longest"}
        model.config.max_source_positions = frames
        weight = model.encoder.embed_positions.weight[:frames]
        model.encoder.embed_positions = torch.nn.Embedding.from_pretrained(weight)
    inputs = extractor(
        waveform, sampling_rate=16_000, return_tensors="pt", return_attention_mask=False, **settings
    )
    with torch.inference_mode():
        output = model.eval()(**inputs, output_attentions=True)
    maps = np.stack([a[0].double().mean(0).numpy() for a in output.attentions])
    return maps, output.logits[0].double().numpy()


def oracle(
    maps: NDArray[np.float64],
    pooling: NDArray[np.float64],
    *,
    residual: bool,
    special: int,
    rows: int,
    frames: int,
) -> NDArray[np.float64]:
    """Rollout by explicit float64 products, folded to time."""
    identity = np.eye(maps.shape[1])
    rolled = identity
    for layer in maps:
        rolled = (0.5 * (layer + identity) if residual else layer) @ rolled
    in_time = (pooling @ rolled)[special:].reshape(rows, -1).sum(axis=0)[:frames]
    return np.asarray(in_time / in_time.sum())


def assert_within_one_ulp(ours: NDArray[np.floating], exact: NDArray[np.floating]) -> None:
    stored, expected = ours.astype(np.float16), exact.astype(np.float16)
    difference = np.abs(stored.astype(float) - expected.astype(float))
    assert (difference <= np.spacing(expected).astype(float) + 6e-8).all(), difference.max()
