"""The building block of MobileNetV3 and EfficientNet over spectrograms, blind to padding.

Convolutions are padded by half a kernel on both sides, so frame t of a convolution with stride 2 is
centred on input frame 2t and exists where that one is valid: striding a mask strides the lengths.

Shape suffixes: B clips, C channels, T frames, F bands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from student.models.layers import MaskedBatchNorm

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Channels and geometry of a block.

    Attributes
    ----------
    before, expanded, after : int
        Channels; a block that does not expand lacks the first convolution.
    kernel, stride : int
        Of the depthwise convolution.
    squeezed : int or None
        Channels inside squeeze-and-excitation, None without.
    """

    before: int
    expanded: int
    after: int
    kernel: int
    stride: int
    squeezed: int | None


@dataclass(frozen=True, slots=True)
class BlockStyle:
    """What a network's blocks have in common.

    Attributes
    ----------
    norm : callable
        Builds the normalisation of so many channels.
    squeeze, gate : callable
        Activations of squeeze-and-excitation.
    """

    norm: Callable[[int], MaskedBatchNorm]
    squeeze: Activation
    gate: Activation


def make_divisible(channels: float) -> int:
    """Nearest multiple of 8, the next one where that would lose over 10 % (MobileNet's rule).

    >>> [make_divisible(c) for c in (6.4, 9.6, 35.2, 16 * 0.75)]
    [8, 16, 32, 16]
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def same_conv(
    before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Convolution padded by half its kernel, without bias: a normalisation follows."""
    return nn.Conv2d(
        before, after, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )


class InvertedResidual(nn.Module):
    """Expand 1x1, convolve each channel, squeeze-and-excite, project 1x1, add the input.

    Sandler et al. 2018 (MobileNetV2, section 3.3) with Hu et al. 2018's squeeze-and-excitation.

    Parameters
    ----------
    shape : BlockShape
        Channels and geometry.
    activation : callable
        Behind the first two normalisations.
    dialect : BlockStyle
        What all blocks of the network share.
    drop_connect : float
        Probability that a clip goes through a training step without the branch (Huang et al. 2016).
    """

    def __init__(
        self,
        shape: BlockShape,
        *,
        activation: Activation,
        dialect: BlockStyle,
        drop_connect: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = shape.stride
        self.activation = activation
        self.shortcut = shape.stride == 1 and shape.before == shape.after
        self.conv_pw, self.bn1 = None, None
        if shape.expanded != shape.before:
            self.conv_pw = same_conv(shape.before, shape.expanded, 1)
            self.bn1 = dialect.norm(shape.expanded)
        self.conv_dw = same_conv(
            shape.expanded,
            shape.expanded,
            shape.kernel,
            stride=shape.stride,
            groups=shape.expanded,
        )
        self.bn2 = dialect.norm(shape.expanded)
        self.se = None
        if shape.squeezed is not None:
            self.se = SqueezeExcite(shape.expanded, shape.squeezed, dialect)
        self.conv_pwl = same_conv(shape.expanded, shape.after, 1)
        self.bn3 = dialect.norm(shape.after)
        self.drop_connect = StochasticDepth(drop_connect)

    def forward(self, image_BCTF: Tensor, mask_B1T1: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Give the image, zero on padding, and its mask."""
        branch = image_BCTF
        if self.conv_pw is not None and self.bn1 is not None:
            branch = self.activation(self.bn1(self.conv_pw(branch), mask_B1T1))
        if mask_B1T1 is not None:
            mask_B1T1 = mask_B1T1[:, :, :: self.stride]
        branch = self.activation(self.bn2(self.conv_dw(branch), mask_B1T1))
        if self.se is not None:
            branch = self.se(branch, mask_B1T1)
        branch = self.bn3(self.conv_pwl(branch), mask_B1T1)
        if self.shortcut:
            branch = image_BCTF + self.drop_connect(branch)
        return branch, mask_B1T1


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate that sees the mean of all channels over valid frames.

    Parameters
    ----------
    channels, squeezed : int
        Outside and inside.
    dialect : BlockStyle
        Gives both activations.
    """

    def __init__(self, channels: int, squeezed: int, dialect: BlockStyle) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)
        self.squeeze = dialect.squeeze
        self.gate = dialect.gate

    def forward(self, image_BCTF: Tensor, mask_B1T1: Tensor | None) -> Tensor:
        """Gate an image that is zero on padding."""
        mean_BC11 = mean_over_valid(image_BCTF, mask_B1T1)
        hidden = self.squeeze(self.conv_reduce(mean_BC11))
        return image_BCTF * self.gate(self.conv_expand(hidden))


class StochasticDepth(nn.Dropout):
    """Dropout of a whole branch, clip by clip."""

    def forward(self, branch_BCTF: Tensor) -> Tensor:
        """Give the branch, scaled or zero in training."""
        if not self.training:
            return branch_BCTF
        return branch_BCTF * super().forward(branch_BCTF.new_ones(len(branch_BCTF), 1, 1, 1))


def mean_over_valid(image_BCTF: Tensor, mask_B1T1: Tensor | None) -> Tensor:
    """Mean over valid frames and all bands of an image that is zero on padding: (B, C, 1, 1)."""
    if mask_B1T1 is None:
        return image_BCTF.mean((2, 3), keepdim=True)  # the only mean that XNNPACK has
    return image_BCTF.mean(3, keepdim=True).sum(2, keepdim=True) / mask_B1T1.sum((2, 3), True)


def init_convolutions(module: nn.Module) -> None:
    """He initialisation by the fan out, as both networks' authors start their convolutions.

    A depthwise kernel feeds one channel only, and its fan is counted so (EfficientNet's rule); by
    torch's count it would start near zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[0, 0].numel() * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, 0.0, (2.0 / fan_out) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
