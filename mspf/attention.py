"""Channel and spatial attention (CBAM, Woo et al., ECCV 2018), in either order or alone."""

from typing import Literal, cast

import torch
from torch import Tensor, nn

AttentionKind = Literal["none", "spatial", "channel", "spatial-channel", "channel-spatial"]


class ChannelAttention(nn.Module):
    """One shared MLP over the average- and the max-pooled map weighs the channels."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        weight = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        return x * weight[:, :, None, None]


class SpatialAttention(nn.Module):
    """A 7x7 convolution over the channels' maximum and mean, with BatchNorm, weighs the places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        summary = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)
        return x * torch.sigmoid(cast(Tensor, self.norm(self.conv(summary))))


class Attention(nn.Sequential):
    """The attentions that a kind names, in its order; the identity for "none"."""

    def __init__(self, channels: int, kind: AttentionKind) -> None:
        parts = [] if kind == "none" else kind.split("-")
        super().__init__(*(ChannelAttention(channels) if part == "channel" else SpatialAttention() for part in parts))
