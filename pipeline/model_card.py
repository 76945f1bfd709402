"""The README.md of a fine-tuned teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIRST = """\
**This model classifies the first frame.** Its `config.json` says `aftersound_pooling: first`, which
Aftersound honours; a stock transformers class ignores that key, averages all frames and gives
other, worse answers.
"""
_MEAN = "It averages all frames, as the stock transformers class does.\n"
_TOKENS = "It averages the two special tokens, as the stock transformers class does.\n"

_CARD = """\
---
library_name: transformers
pipeline_tag: audio-classification
base_model: {base}
---

# {base}, fine-tuned on {classes} classes

Made by `finetune-teacher` to teach small students with `precompute-teacher`.
{pooling}
| | |
| --- | --- |
| architecture | {model_type} |
| sample rate | {sample_rate_hz} Hz |
| task | {task}-label |
| training clips | {train} |
| epochs | {epochs}, best {best_epoch} |
| validation {metric} | {validation:.4f} |
| test {metric} | {test} |

Classes: {class_names}.

All arguments and the figures of every epoch are in `training.json`.
"""


def model_card(facts: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Write the card from what training.json holds."""
    test = figures["test"]
    return _CARD.format(
        base=facts["base"],
        classes=len(facts["classes"]),
        class_names=", ".join(f"`{name}`" for name in facts["classes"]),
        pooling={"first": _FIRST, "mean": _MEAN}.get(facts["pooling"], _TOKENS),
        model_type=facts["model_type"],
        sample_rate_hz=facts["sample_rate_hz"],
        task=facts["task"],
        train=facts["clips"]["train"],
        epochs=len(figures["epochs"]),
        best_epoch=figures["best_epoch"],
        metric=figures["metric"],
        validation=figures["validation"],
        test="no test split" if test is None else f"{test:.4f}",
    )
