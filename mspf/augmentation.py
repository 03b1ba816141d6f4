"""Random changes of a whole batch at once: shift, scale, flip, colour, erasing."""

import msgspec
import torch
from torch import Tensor
from torch.nn import functional


class AugmentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far images are changed.

    Attributes:
        flip, erase: probabilities.
        shift: largest move, as a share of the side; scale: largest change of each side, likewise.
        brightness, colour, contrast, saturation: standard deviations of log gains; colour is per channel.
        blur: probability of a loss of resolution, to half or quarter size.
        noise: largest standard deviation of pixel noise, in units of 1/255.
    """

    flip: float = 0.5
    erase: float = 0.3
    shift: float = 0.05
    scale: float = 0.1
    brightness: float = 0.2
    colour: float = 0.06
    contrast: float = 0.15
    saturation: float = 0.2
    blur: float = 0.0
    noise: float = 0.0


def augment(images: Tensor, size_hw: tuple[int, int], config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Changed copies at the wanted size: (B, 3, H, W) in 0..255 -> (B, 3, *size_hw) in 0..255."""
    images = _warp(images, size_hw, config, generator)
    if config.blur:
        images = _blur(images, config, generator)
    images = _recolour(images, config, generator)
    if config.noise:
        strength = config.noise * torch.rand(len(images), 1, 1, 1, generator=generator)
        images = images + strength * torch.randn(images.shape, generator=generator)
    return _erase(images.clamp(0, 255), config, generator)


def _warp(images: Tensor, size_hw: tuple[int, int], config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Shifted, scaled and flipped; outside the image its edge goes on."""
    batch = len(images)
    uniform = torch.rand(4, batch, generator=generator) * 2 - 1
    mirror = 1 - 2 * (torch.rand(batch, generator=generator) < config.flip).float()
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = (1 + config.scale * uniform[0]) * mirror
    theta[:, 1, 1] = 1 + config.scale * uniform[1]
    theta[:, :, 2] = 2 * config.shift * uniform[2:].T
    grid = functional.affine_grid(theta, [batch, 3, *size_hw], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _blur(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Some images through half or quarter size and back."""
    chosen = torch.rand(len(images), generator=generator) < config.blur
    factor = 2 if torch.rand((), generator=generator) < 0.7 else 4
    small = functional.avg_pool2d(images[chosen], factor)
    blurred = images.clone()
    blurred[chosen] = functional.interpolate(small, scale_factor=factor, mode="bilinear")
    return blurred


def _recolour(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Other light, white balance, contrast and saturation, one draw per image."""
    batch = len(images)

    def gain(deviation: float, channels: int = 1) -> Tensor:
        return torch.exp(deviation * torch.randn(batch, channels, 1, 1, generator=generator))

    images = images * (gain(config.brightness) * gain(config.colour, 3))
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, gain(config.saturation))
    return torch.lerp(grey.mean((2, 3), keepdim=True), images, gain(config.contrast))


def _erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A rectangle of 2-30 % of some images takes one random colour (random erasing, arXiv 1708.04896)."""
    batch, _, height, width = images.shape
    area = 0.02 + 0.28 * torch.rand(batch, generator=generator)
    aspect = torch.exp(torch.empty(batch).uniform_(-1.2, 1.2, generator=generator))
    high = (area * aspect).sqrt().clamp(max=1) * height
    wide = (area / aspect).sqrt().clamp(max=1) * width
    top = torch.rand(batch, generator=generator) * (height - high)
    left = torch.rand(batch, generator=generator) * (width - wide)
    erased = torch.rand(batch, generator=generator) < config.erase
    y, x = torch.arange(height)[None, :, None], torch.arange(width)[None, None]
    inside = (y >= top[:, None, None]) & (y < (top + high)[:, None, None])
    inside = inside & (x >= left[:, None, None]) & (x < (left + wide)[:, None, None]) & erased[:, None, None]
    fill = 255 * torch.rand(batch, 3, 1, 1, generator=generator)
    return torch.where(inside[:, None], fill, images)
