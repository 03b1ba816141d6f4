"""Pixels to what the networks take: ImageNet's mean and deviation."""

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in 0..1
STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in 0..255 -> what the network takes, on the same device."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
    return (images / 255 - mean) / std
