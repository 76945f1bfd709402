"""A small encoder with random weights, as a Hugging Face folder: the demo's starting point."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

LAYERS, WIDTH, HEADS = 2, 64, 4
POSITION_SCALE = 0.1


def write_untrained_encoder(folder: Path, *, seed: int) -> None:
    """Write an encoder of Whisper's architecture that has heard nothing.

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
        # At their stock size the positions drown what an untrained front end has to say.
        model.encoder.embed_positions.weight.mul_(POSITION_SCALE)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
