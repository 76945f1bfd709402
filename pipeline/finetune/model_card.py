"""The README.md of a fine-tuned teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache_schema.text import json_text, markdown

_FIRST = """\
**This model classifies the first frame.** Its `config.json` has `aftersound_pooling: first`, which
Aftersound honours; a stock transformers class ignores that key, averages all frames and gives
other, worse outputs.
"""
_MEAN = "It averages all frames, as the stock transformers class does.\n"
_TOKENS = "It averages the two special tokens, as the stock transformers class does.\n"
_MAP = """\
It averages the last feature map over time and frequency, as `EfficientNetForImageClassification`
does, which can load it. What it sees is no image: one channel of log-mel features as long as the
clip, bands by frames, made by the feature extractor of `preprocessor_config.json`.
"""
_ATTENTION = """\
**This model pools by attention.** The last feature map is averaged over frequency, and each class
weighs the frames by several heads, after Gong, Chung and Glass 2021
(https://arxiv.org/abs/2102.01243). Its `config.json` has `aftersound_pooling: attention`, which
Aftersound honours; a stock transformers class knows no such head and would start one of its own,
untrained.
"""
_POOLINGS = {"first": _FIRST, "mean": _MEAN, "cls+dist": _TOKENS}
_CNN_POOLINGS = {"mean": _MAP, "attention": _ATTENTION}

_CARD = """\
---
library_name: transformers
pipeline_tag: audio-classification
base_model: {base}
---

# {title}, fine-tuned on {classes} classes

Made by `finetune-teacher` to teach small students with `precompute-teacher`.
{pooling}
| | |
| --- | --- |
| architecture | {model_type} |
| sample rate | {sample_rate_hz} Hz |
| task | {task}-label |
| labelled training clips | {train} |
| epochs | {epochs}, best {best_epoch} |
| validation {metric} | {validation:.4f} |
| test {metric} | {test} |

Classes: {class_names}.

All arguments and the figures of every epoch are in `training.json`.
"""


def model_card(facts: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Write the card from what training.json holds."""
    test = figures["test"]
    poolings = _CNN_POOLINGS if facts["model_type"] == "efficientnet" else _POOLINGS
    return _CARD.format(
        base=json_text(facts["base"]),
        title=markdown(facts["base"]),
        classes=len(facts["classes"]),
        class_names=", ".join(map(markdown, facts["classes"])),
        pooling=poolings[facts["pooling"]],
        model_type=facts["model_type"],
        sample_rate_hz=facts["sample_rate_hz"],
        task=facts["task"],
        train=figures["labelled_train_clips"],
        epochs=len(figures["epochs"]),
        best_epoch=figures["best_epoch"],
        metric=figures["metric"],
        validation=figures["validation"],
        test="no test split" if test is None else f"{test:.4f}",
    )
