"""What augmentation does to a batch: masks that are noted, mixtures with both targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache_schema.frame_grid import FrameGrid
from student.augmentation.mixup import MixupDraw, draw_mixup, mix_features, partner_targets
from student.augmentation.spec_augment import spec_augment
from student.recipes import SpecAugment
from student.stream.batch import Batch

LENGTHS = (40, 1, 12)


def batch_of(features: torch.Tensor, lengths: tuple[int, ...] = LENGTHS) -> Batch:
    clips = len(features)
    return Batch(
        features_BTM=features,
        lengths_B=torch.tensor(lengths),
        labels_BC=torch.eye(clips),
        labelled_B=torch.arange(clips) > 0,
        signals={"logits": torch.arange(clips * 2.0).reshape(clips, 2)},
        signal_lengths={"logits": torch.full((clips,), 2)},
        clips=np.arange(clips),
        feature_grid=FrameGrid(0.02, 0.02),
    )


def padded() -> torch.Tensor:
    features = torch.randn(3, 40, 20, generator=torch.Generator().manual_seed(0))
    for row, length in enumerate(LENGTHS):
        features[row, length:] = 0
    return features


@pytest.mark.parametrize("masks", [SpecAugment(), SpecAugment(1, 192, 1, 48)])
def test_spec_augment_notes_hidden_frames_and_keeps_padding(masks: SpecAugment) -> None:
    features = padded()
    before = features.clone()
    for seed in range(20):
        augmented = spec_augment(batch_of(features), masks, np.random.default_rng(seed))
        assert torch.equal(features, before)
        assert augmented.hidden_BT is not None
        for row, length in enumerate(LENGTHS):
            shown = augmented.features_BTM[row]
            assert (shown[length:] == 0).all()
            hidden = augmented.hidden_BT[row]
            assert not hidden[length:].any()
            mean = features[row, :length].mean(0)
            torch.testing.assert_close(shown[hidden], mean.expand(int(hidden.sum()), -1))
            assert hidden.sum() <= masks.time_masks * min(length // 2, masks.time_mask_frames - 1)
            # A band is as it was in every frame that is not hidden, or its mean in all of them.
            visible = ~hidden[:length]
            bands = (shown[:length] != features[row, :length])[visible].any(0)
            torch.testing.assert_close(shown[:length, bands], mean[bands].expand(length, -1))
            assert bands.sum() <= masks.band_masks * min(20 // 2, masks.band_mask_bands - 1)


def test_a_band_mask_is_up_to_half_of_the_bands_and_each_clips_own() -> None:
    features, masks = padded(), SpecAugment(0, 1, 1, 48)
    widths: set[tuple[int, ...]] = set()
    for seed in range(100):
        augmented = spec_augment(batch_of(features), masks, np.random.default_rng(seed))
        assert augmented.hidden_BT is not None
        assert not augmented.hidden_BT.any(), "the student is shown a part of every frame"
        changed_BM = (augmented.features_BTM != features).any(1)
        # In the clip of one frame each band is its own mean, but for rounding.
        widths.add(tuple(changed_BM[[0, 2]].sum(1).tolist()))
        for changed_M in changed_BM[[0, 2]]:
            places = changed_M.nonzero()[:, 0]
            assert len(places) == 0 or places[-1] - places[0] + 1 == len(places), "one stretch"
    for clip in (0, 1):
        assert {pair[clip] for pair in widths} == set(range(11))
    assert any(first != second for first, second in widths)


def test_no_mask_hides_nothing() -> None:
    augmented = spec_augment(batch_of(padded()), SpecAugment(0, 1, 0, 1), np.random.default_rng(0))
    assert torch.equal(augmented.features_BTM, padded())
    assert augmented.hidden_BT is not None
    assert not augmented.hidden_BT.any()


def test_a_mixture_keeps_its_clips_length() -> None:
    features = torch.stack([torch.full((4, 1), 1.0), torch.full((4, 1), 3.0)])
    features[1, 2:] = 0
    mixing = MixupDraw(torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))
    mixed = mix_features(batch_of(features, (4, 2)), mixing)
    # 3/4 of 1 and 1/4 of 3; alone beyond the shorter partner's end.
    assert mixed[0, :, 0].tolist() == [1.5, 1.5, 1.0, 1.0]
    assert mixed[1, :, 0].tolist() == [2.0, 2.0, 0.0, 0.0]


def test_partners_bring_all_their_targets() -> None:
    batch = batch_of(padded())
    other = partner_targets(batch, MixupDraw(torch.tensor([2, 0, 1]), torch.ones(3)))
    assert other.labels_BC.argmax(1).tolist() == [2, 0, 1]
    assert other.labelled_B.tolist() == [True, False, True]
    assert other.signals["logits"][:, 0].tolist() == [4.0, 0.0, 2.0]


def test_shares_are_at_least_a_half_and_partners_a_permutation() -> None:
    mixing = draw_mixup(200, 0.3, np.random.default_rng(0))
    assert sorted(mixing.partner_B.tolist()) == list(range(200))
    assert mixing.share_B.min() >= 0.5
    # Beta(0.3, 0.3) lies near 0 and 1: max(b, 1 - b) has mean 0.85.
    assert 0.8 < mixing.share_B.mean() < 0.9
