"""View step ``mixup``: a clip mixed with another one, and their labels alike.

Shape suffixes: S samples, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.limits import MAX_ALPHA
from pipeline.audio.decode import UnusableAudio
from pipeline.corpora.clip_audio import decode_clip
from pipeline.views.interface import UNKNOWN, AudioView, Drawn, PlainStep, ViewContext, Waveform

# Of the clips, as in PSLA.
MIXED_SHARE = 0.5
UNMIXED: Drawn = (-1.0, 1.0)


class Mixup(PlainStep):
    """Mix half of the training views with a clip of the training split, as its file has it.

    As PSLA (Gong, Chung and Glass 2021, https://arxiv.org/abs/2102.01243, section III-C) does; there
    alpha is 10. A view mixed with or of an unlabelled clip is unlabelled, its labels `UNKNOWN`. Other
    splits get no partner.

    Fine-tuning mixes clips of a batch (`pipeline.finetune.augmentation.mixup`), which are in memory and
    drawn by balance; a cached view may not depend on a batch.

    Parameters
    ----------
    alpha : float
        The clip's own share is drawn from Beta(alpha, alpha).
    """

    draws = ("partner", "share")
    mixes_labels = True

    def __init__(self, *, alpha: float = 10.0) -> None:
        if not 0 < alpha <= MAX_ALPHA:
            raise UsageError(
                f"view mixup: alpha must be a number above 0, at most {MAX_ALPHA:g}, got {alpha}",
                kind="options",
            )
        self._alpha = alpha

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Remember the corpus, which a cache records by its fingerprint."""
        self._context = context
        return {}

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw the partner, a position among all clips or -1, and the clip's own share."""
        if split != "train" or random.random() >= MIXED_SHARE:
            return UNMIXED
        train = self._context.train_clips
        partner = train[int(random.integers(len(train)))]
        return (partner, float(random.beta(self._alpha, self._alpha)))

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Add the partner.

        Raises
        ------
        UnusableAudio
            If the partner cannot be decoded; names it.
        """
        if drawn == UNMIXED:
            return audio
        clip, share = self._context.clip(int(drawn[0])), np.float32(drawn[1])
        waveform_S = mix_waveforms(audio.waveform_S, self._decoded(clip), share)
        own_C, partner_C = audio.labels_C, self._context.labels(clip)
        unknown_C = (own_C < 0) | (partner_C < 0)
        labels_C = np.where(unknown_C, UNKNOWN, share * own_C + (1 - share) * partner_C)
        return replace(audio, waveform_S=waveform_S, labels_C=labels_C)

    def _decoded(self, clip: Clip) -> Waveform:
        context = self._context
        try:
            return decode_clip(context.corpus_root, clip, context.sample_rate_hz).waveform
        except UnusableAudio as error:
            raise UnusableAudio(f"its partner {clip.id}: {error.reason}") from None


def mix_waveforms(own_S: Waveform, partner_S: Waveform, share: np.float32) -> Waveform:
    """Mix two waveforms without their means; the partner is cut or padded with silence."""
    other_S, cut_S = np.zeros_like(own_S), partner_S[: len(own_S)]
    other_S[: len(cut_S)] = cut_S - cut_S.mean()
    both_S: Waveform = share * (own_S - own_S.mean()) + (1 - share) * other_S
    return both_S
