"""What this program relies on in the settings of a checkpoint, by architecture.

transformers takes nearly any number; a hop of 0 or a layer count of a billion shows much later, as
another error or none. Whether a model can be built is left to transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cache_schema.errors import UsageError, bullet_list

Size = Annotated[int, Field(gt=0, le=1 << 20)]
Amount = Annotated[float, Field(ge=-1e6, le=1e6)]
Rate = Annotated[int, Field(ge=1_000, le=1_000_000)]
# Receptive field and hop of a front end, in samples: minutes.
MAX_SAMPLES = 1 << 26


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, from_attributes=True, allow_inf_nan=False)


class _Extractor(_Settings):
    sampling_rate: Rate
    padding_value: Amount
    padding_side: Literal["left", "right"]
    return_attention_mask: bool


class _WhisperExtractor(_Extractor):
    feature_size: Annotated[int, Field(gt=0, le=4096)]
    hop_length: Annotated[int, Field(gt=0, le=1 << 16)]
    n_fft: Annotated[int, Field(gt=1, le=1 << 16)]
    chunk_length: Annotated[int, Field(gt=0, le=3600)]
    dither: Amount


class _WaveformExtractor(_Extractor):
    feature_size: Literal[1]
    do_normalize: bool


class _MelExtractor(_Extractor):
    num_mel_bins: Annotated[int, Field(gt=0, le=4096)]
    max_length: Size
    do_normalize: bool
    mean: Amount
    std: Amount

    @model_validator(mode="after")
    def _spread(self) -> Self:
        if self.std == 0:
            raise ValueError("std is 0, by which features cannot be divided")
        return self


class _Config(_Settings):
    id2label: dict[int, str | int]

    @model_validator(mode="after")
    def _classes(self) -> Self:
        if sorted(self.id2label) != list(range(len(self.id2label))):
            raise ValueError(f"id2label does not number its {len(self.id2label)} classes from 0")
        names = list(map(str, self.id2label.values()))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"id2label names a class twice: {', '.join(twice[:5])}")
        return self


class _TransformerConfig(_Config):
    hidden_size: Size
    num_hidden_layers: Size


class _WhisperConfig(_TransformerConfig):
    max_source_positions: Size
    num_mel_bins: Size


class _WaveformConfig(_TransformerConfig):
    conv_kernel: list[Size] | tuple[Size, ...]
    conv_stride: list[Size] | tuple[Size, ...]

    @model_validator(mode="after")
    def _front_end(self) -> Self:
        if not 0 < len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError(
                f"conv_kernel has {len(self.conv_kernel)} entries, conv_stride {len(self.conv_stride)}"
            )
        if math.prod(self.conv_stride) * max(self.conv_kernel) > MAX_SAMPLES:
            raise ValueError(f"a frame spans more than {MAX_SAMPLES} samples")
        return self


class _SpectrogramConfig(_TransformerConfig):
    patch_size: Size
    time_stride: Size
    frequency_stride: Size
    num_mel_bins: Size
    max_length: Size

    @model_validator(mode="after")
    def _a_patch_fits(self) -> Self:
        if self.patch_size > min(self.num_mel_bins, self.max_length):
            raise ValueError(
                f"patches of {self.patch_size} do not fit {self.num_mel_bins} bands by "
                f"{self.max_length} frames"
            )
        return self


class _ConvolutionalConfig(_Config):
    num_channels: Size
    hidden_dim: Size
    depth_coefficient: Annotated[float, Field(gt=0, le=100)]
    strides: list[Size]
    num_block_repeats: list[Size]
    depthwise_padding: list[int]

    @model_validator(mode="after")
    def _blocks(self) -> Self:
        if not 0 < len(self.strides) == len(self.num_block_repeats) <= 64:
            raise ValueError(
                f"strides has {len(self.strides)} entries, num_block_repeats "
                f"{len(self.num_block_repeats)}"
            )
        return self


_WAVEFORM = (_WaveformConfig, _WaveformExtractor)
_RELIED_ON: Mapping[str, tuple[type[_Settings], type[_Settings]]] = {
    "whisper": (_WhisperConfig, _WhisperExtractor),
    "wav2vec2": _WAVEFORM,
    "hubert": _WAVEFORM,
    "data2vec-audio": _WAVEFORM,
    "unispeech-sat": _WAVEFORM,
    "wavlm": _WAVEFORM,
    "audio-spectrogram-transformer": (_SpectrogramConfig, _MelExtractor),
    "efficientnet": (_ConvolutionalConfig, _MelExtractor),
}
# Where configuration and features have to agree: a name in each.
_AGREE = {
    "whisper": [("num_mel_bins", "feature_size")],
    "audio-spectrogram-transformer": [
        ("num_mel_bins", "num_mel_bins"),
        ("max_length", "max_length"),
    ],
}


def check_settings(config: Any, extractor: Mapping[str, Any], tensors: int, text: str) -> None:
    """Check what the adapters read of a configuration and a feature extractor.

    Parameters
    ----------
    config
        The transformers object.
    extractor : mapping
        What the feature extractor is to be made of, defaults included.
    tensors : int
        How many the weights hold; a layer has at least one.
    text : str
        The checkpoint as the user named it.

    Raises
    ------
    UsageError
        Listing every problem with the value found.
    """
    ours, theirs = _RELIED_ON[config.model_type]
    problems = [f"config.json: {p}" for p in _problems(ours, config)]
    problems += [f"preprocessor_config.json: {p}" for p in _problems(theirs, extractor)]
    problems += [
        f"config.json: {name} is {value}, the weights hold {tensors} tensors"
        for name, value in vars(config).items()
        if name.endswith("layers") and isinstance(value, int) and value > tensors
    ]
    for name, other in _AGREE.get(config.model_type, []):
        one, two = getattr(config, name), extractor[other]
        if one != two:
            problems.append(
                f"config.json has {name} {one!r}, preprocessor_config.json {other} {two!r}"
            )
    if problems:
        raise unusable_settings(text, problems)


def unusable_settings(text: str, problems: list[str]) -> UsageError:
    """Make the error that lists what is wrong with the settings of a checkpoint."""
    return UsageError(
        f"the settings of {text} are not usable; {len(problems)} problem(s)\n{bullet_list(problems)}\n"
        "Copy the files again from where the checkpoint came from, or choose another",
        kind="config",
    )


def _problems(model: type[_Settings], found: Any) -> list[str]:
    try:
        model.model_validate(found)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']} (found {e['input']!r:.60})"
            if e["loc"]
            else e["msg"].removeprefix("Value error, ")
            for e in error.errors()
        ]
    return []
