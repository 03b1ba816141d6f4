"""OSNet: omni-scale feature learning (Zhou et al., ICCV 2019, arXiv 1905.00953), at any width."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (64, 256, 384, 512)  # stem, conv2, conv3, conv4 and conv5 at width 1.0


def scaled_channels(width: float) -> tuple[int, int, int, int]:
    """Channels of stem, conv2, conv3 and conv4/conv5 at a width multiplier."""
    stem, second, third, fourth = (round(channels * width) for channels in CHANNELS)
    return stem, second, third, fourth


def conv_bn(channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Bias-free convolution that keeps the size (at stride 1), and BatchNorm."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class LiteConv(nn.Sequential):
    """1x1 linear, 3x3 depthwise, BatchNorm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class ChannelGate(nn.Module):
    """The sum of maps weighted by channel; the weights of each come from its average, through the same layers."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Several (B, C, H, W) -> (B, C, H, W); their averages stand below one another and are weighed at once."""
        averages = torch.cat([x.mean((2, 3), keepdim=True) for x in maps], 2)
        weights = torch.sigmoid(self.excite(functional.relu(self.squeeze(averages))))
        first, *others = (x * weight for x, weight in zip(maps, torch.split(weights, 1, 2), strict=True))
        mixed: Tensor = sum(others, start=first)
        return mixed


class OSBlock(nn.Module):
    """Residual block whose four streams see 3, 5, 7 and 9 pixels, mixed by one shared gate."""

    def __init__(self, channels_in: int, channels_out: int, instance_norm: bool = False) -> None:
        super().__init__()
        middle = channels_out // 4
        self.reduce = nn.Sequential(conv_bn(channels_in, middle), nn.ReLU(inplace=True))
        self.streams = nn.ModuleList(nn.Sequential(*(LiteConv(middle) for _ in range(depth))) for depth in (1, 2, 3, 4))
        self.gate = ChannelGate(middle)
        self.expand = conv_bn(middle, channels_out)
        self.shortcut = conv_bn(channels_in, channels_out) if channels_in != channels_out else nn.Identity()
        self.norm = nn.InstanceNorm2d(channels_out, affine=True) if instance_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        reduced = self.reduce(x)
        mixed = self.gate([stream(reduced) for stream in self.streams])
        return functional.relu(self.norm(self.expand(mixed) + self.shortcut(x)))


class Body(nn.Module):
    """OSNet up to conv5, without the pooled head.

    Args:
        width: multiplies every channel count.
        instance_norm: the IBN variant: InstanceNorm in the stem and in the residual tails of conv2.
    """

    def __init__(self, width: float = 1.0, instance_norm: bool = False) -> None:
        super().__init__()
        stem, second, third, fourth = scaled_channels(width)
        self.stem = nn.Sequential(conv_bn(3, stem, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        if instance_norm:
            cast(nn.Sequential, self.stem[0])[1] = nn.InstanceNorm2d(stem, affine=True)
        self.conv2 = self._stage(stem, second, instance_norm)
        self.conv3 = self._stage(second, third)
        self.conv4 = nn.Sequential(OSBlock(third, fourth), OSBlock(fourth, fourth))
        self.conv5 = nn.Sequential(conv_bn(fourth, fourth), nn.ReLU(inplace=True))

    @staticmethod
    def _stage(channels_in: int, channels_out: int, instance_norm: bool = False) -> nn.Sequential:
        return nn.Sequential(
            OSBlock(channels_in, channels_out, instance_norm),
            OSBlock(channels_out, channels_out, instance_norm),
            conv_bn(channels_out, channels_out),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 512 x width, H/16, W/16)."""
        return cast(Tensor, self.conv5(self.conv4(self.conv3(self.conv2(self.stem(images))))))


class OSNet(nn.Module):
    """The published network without classifier: body, global average pool, Linear, BatchNorm, ReLU."""

    def __init__(self, width: float = 1.0, instance_norm: bool = False, length: int = 512) -> None:
        super().__init__()
        self.body = Body(width, instance_norm)
        channels = scaled_channels(width)[-1]
        self.head = nn.Sequential(nn.Linear(channels, length), nn.BatchNorm1d(length), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, length)."""
        return cast(Tensor, self.head(self.body(images).mean((2, 3))))
