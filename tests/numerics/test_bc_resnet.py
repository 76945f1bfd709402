"""BC-ResNet against its equations written with plain layers, without masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from student.models.bc_resnet import STAGES, SUB_BANDS, BCResNet, SubSpectralNorm
from student.models.layers import MaskedBatchNorm

CLIPS, FRAMES, BANDS = 3, 23, 40


def plain_norm(values: Tensor, norm: MaskedBatchNorm) -> Tensor:
    """Batch statistics over all axes but channels, of (B, C, ...)."""
    axes = [axis for axis in range(values.dim()) if axis != 1]
    mean, variance = values.mean(axes, keepdim=True), values.var(axes, unbiased=False, keepdim=True)
    shape = [1, -1] + [1] * (values.dim() - 2)
    normalised = (values - mean) / (variance + norm.epsilon).sqrt()
    return normalised * norm.scale.view(shape) + norm.shift.view(shape)


def sub_spectral(values_BCTF: Tensor, norm: SubSpectralNorm) -> Tensor:
    """Each group of neighbouring bands normalised by itself."""
    channels, width = values_BCTF.shape[1], values_BCTF.shape[3] // SUB_BANDS
    groups = []
    for group in range(SUB_BANDS):
        own = values_BCTF[..., group * width : (group + 1) * width]
        place = torch.arange(channels) * SUB_BANDS + group
        alone = MaskedBatchNorm(channels, momentum=0.9, epsilon=norm.norm.epsilon).double()
        alone.scale, alone.shift = (
            nn.Parameter(norm.norm.scale[place]), nn.Parameter(norm.norm.shift[place]),
        )  # fmt: skip
        groups.append(plain_norm(own, alone))
    return torch.cat(groups, 3)


def expected_logits(model: BCResNet, features_BTM: Tensor) -> Tensor:
    x = plain_norm(features_BTM.transpose(1, 2), model.input_norm).transpose(1, 2)[:, None]
    x = torch.relu(plain_norm(model.stem(x), model.stem_norm))
    blocks = iter(model.blocks)
    for _, count, _, _ in STAGES:
        for index in range(count):
            block = next(blocks)
            y = x
            if index == 0:  # every stage changes the channels
                y = torch.relu(plain_norm(block.widen(x), block.widen_norm))
            y = sub_spectral(block.over_bands(y), block.band_norm)
            along = block.over_time(y.mean(3))
            along = block.mix(functional.silu(plain_norm(along, block.time_norm)))
            total = y + along[..., None] if index == 0 else x + y + along[..., None]
            x = torch.relu(total)
    x = torch.relu(plain_norm(model.pointwise(model.depthwise(x)), model.head_norm))
    return x[..., 0].mean(2) @ model.classifier.weight.T + model.classifier.bias


@pytest.mark.parametrize("width", [1.0, 2.0])
def test_logits_are_those_of_the_equations(width: float) -> None:
    torch.manual_seed(0)
    model = BCResNet(5, width=width).double().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout1d):
            module.p = 0.0
        if isinstance(module, MaskedBatchNorm):
            nn.init.uniform_(module.scale, 0.5, 1.5)
            nn.init.uniform_(module.shift, -0.5, 0.5)
    features = torch.randn(CLIPS, FRAMES, BANDS, dtype=torch.float64)
    found = model(features, torch.full((CLIPS,), FRAMES)).logits_BC
    torch.testing.assert_close(found, expected_logits(model, features), atol=1e-10, rtol=1e-10)


def test_time_is_seen_as_far_as_dilations_reach() -> None:
    """On either side stem and head add two frames, each block as many as its dilation."""
    dilations = [dilation for _, count, _, dilation in STAGES for _ in range(count)]
    reach = 2 + sum(dilations) + 2
    model = BCResNet(5).double().eval()
    features = torch.randn(1, 2 * reach + 21, BANDS, dtype=torch.float64, requires_grad=True)
    middle = reach + 10
    output = model(features, torch.tensor([features.shape[1]]))
    output.context_BTD[0, middle].sum().backward()
    assert features.grad is not None
    seen = features.grad[0].abs().sum(1).nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (middle - reach, middle + reach)
