"""Models with random weights as Hugging Face folders: starting points that are not trained."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import (
    EfficientNetConfig,
    EfficientNetForImageClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)
from transformers.utils import logging

from pipeline.teachers.checkpoints.checkpoint import new_log_mel_extractor

LAYERS, WIDTH, HEADS = 2, 64, 4
POSITION_SCALE = 0.1


def write_untrained_encoder(folder: Path, *, seed: int) -> None:
    """Write an encoder of Whisper's architecture that is not trained.

    Parameters
    ----------
    folder : Path
        Made by this call.
    seed : int
        Of the weights.
    """
    torch.manual_seed(seed)
    config = WhisperConfig(
        encoder_layers=LAYERS, encoder_attention_heads=HEADS, d_model=WIDTH, encoder_ffn_dim=2 * WIDTH,
        decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=1, num_mel_bins=40,
        classifier_proj_size=WIDTH, dropout=0.1, vocab_size=1, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    model = WhisperForAudioClassification(config)
    for convolution in (model.encoder.conv1, model.encoder.conv2):
        torch.nn.init.kaiming_normal_(convolution.weight)
    for weight in model.encoder.layers.parameters():
        if weight.dim() == 2:
            torch.nn.init.xavier_uniform_(weight)
    with torch.no_grad():
        # At their stock size the positions drown the output of an untrained front end.
        model.encoder.embed_positions.weight.mul_(POSITION_SCALE)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)


def write_untrained_cnn(folder: Path, *, seed: int, width: float, depth: float) -> None:
    """Write an EfficientNet over 128 mel bands that is not trained.

    Parameters
    ----------
    folder : Path
        Made by this call.
    seed : int
        Of the weights.
    width, depth : float
        Factors of EfficientNet-B0's channels and blocks (Tan and Le 2019, table 1,
        https://arxiv.org/abs/1905.11946).
    """
    torch.manual_seed(seed)
    config = EfficientNetConfig(
        num_channels=1, width_coefficient=width, depth_coefficient=depth,
        hidden_dim=_channels(1280 * width), dropout_rate=0.2, batch_norm_momentum=0.1,
    )  # fmt: skip
    model = EfficientNetForImageClassification(config)
    for module in model.modules():
        _start(module)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    new_log_mel_extractor().save_pretrained(folder)


def _channels(wanted: float) -> int:
    """Round to a multiple of 8, never below 90 %, as EfficientNet rounds its channels."""
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _start(module: nn.Module) -> None:
    """Draw weights that keep the scale of what passes; transformers' own would let it vanish."""
    if isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
