"""Random changes of a whole batch at once: shift, scale, flip, colour, erasing."""

from typing import Annotated

import msgspec
import torch
from torch import Tensor
from torch.nn import functional

from mspf.ranges import NotNegative, Share


class AugmentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far images are changed.

    Attributes:
        flip, erase: probabilities.
        erase_largest: of the image at most this share is erased, and at least 0.02.
        shift: largest move, as a share of the side; scale: largest change of each side, likewise.
        brightness, colour, contrast, saturation: standard deviations of log gains; colour is per channel.
        blur: probability of a loss of resolution, to half or quarter size.
        noise: largest standard deviation of pixel noise, in units of 1/255.
    """

    flip: Share = 0.5
    erase: Share = 0.3
    erase_largest: Annotated[float, msgspec.Meta(ge=0.02, le=1)] = 0.3
    shift: Share = 0.05
    scale: Share = 0.1
    brightness: NotNegative = 0.2
    colour: NotNegative = 0.06
    contrast: NotNegative = 0.15
    saturation: NotNegative = 0.2
    blur: Share = 0.0
    noise: NotNegative = 0.0


def augment(images: Tensor, size_hw: tuple[int, int], config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Changed copies at the wanted size: (B, 3, H, W) in 0..255 -> (B, 3, *size_hw) in 0..255.

    Args:
        generator: of the images' device, so that nothing travels.
    """
    images = _warp(images, size_hw, config, generator)
    if config.blur:
        images = _blur(images, config, generator)
    images = _recolour(images, config, generator)
    if config.noise:
        strength = config.noise * _uniform(generator, len(images), 1, 1, 1)
        images = images + strength * _normal(generator, *images.shape)
    return _erase(images.clamp(0, 255), config, generator)


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _warp(images: Tensor, size_hw: tuple[int, int], config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Shifted, scaled and flipped; outside the image its edge goes on."""
    batch = len(images)
    uniform = _uniform(generator, 4, batch) * 2 - 1
    mirror = 1 - 2 * (_uniform(generator, batch) < config.flip).float()
    theta = torch.zeros(batch, 2, 3, device=images.device)
    theta[:, 0, 0] = (1 + config.scale * uniform[0]) * mirror
    theta[:, 1, 1] = 1 + config.scale * uniform[1]
    theta[:, :, 2] = 2 * config.shift * uniform[2:].T
    grid = functional.affine_grid(theta, [batch, 3, *size_hw], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _blur(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Some images through half or quarter size and back."""
    chosen = _uniform(generator, len(images), 1, 1, 1)
    for factor, share in ((2, 0.7), (4, 0.3)):
        small = functional.avg_pool2d(images, factor)
        blurred = functional.interpolate(small, images.shape[2:], mode="bilinear")
        images = torch.where(chosen < config.blur * share, blurred, images)
        chosen = torch.where(chosen < config.blur * share, 1.0, chosen - config.blur * share)
    return images


def _recolour(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Other light, white balance, contrast and saturation, one draw per image."""
    batch = len(images)

    def gain(deviation: float, channels: int = 1) -> Tensor:
        return torch.exp(deviation * _normal(generator, batch, channels, 1, 1))

    images = images * (gain(config.brightness) * gain(config.colour, 3))
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, gain(config.saturation))
    return torch.lerp(grey.mean((2, 3), keepdim=True), images, gain(config.contrast))


def _erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A rectangle of some images takes one random colour (random erasing, arXiv 1708.04896)."""
    batch, _, height, width = images.shape
    area = 0.02 + (config.erase_largest - 0.02) * _uniform(generator, batch)
    aspect = torch.exp(1.2 * (2 * _uniform(generator, batch) - 1))
    high = (area * aspect).sqrt().clamp(max=1) * height
    wide = (area / aspect).sqrt().clamp(max=1) * width
    top = _uniform(generator, batch) * (height - high)
    left = _uniform(generator, batch) * (width - wide)
    erased = _uniform(generator, batch) < config.erase
    y = torch.arange(height, device=images.device)[None, :, None]
    x = torch.arange(width, device=images.device)[None, None]
    inside = (y >= top[:, None, None]) & (y < (top + high)[:, None, None])
    inside = inside & (x >= left[:, None, None]) & (x < (left + wide)[:, None, None]) & erased[:, None, None]
    fill = 255 * _uniform(generator, batch, 3, 1, 1)
    return torch.where(inside[:, None], fill, images)
