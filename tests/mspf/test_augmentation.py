"""Batches are changed as asked, on their device, and stay pictures."""

import torch

from mspf.augmentation import AugmentConfig, augment
from mspf.normalisation import normalise

STILL = AugmentConfig(flip=0, erase=0, shift=0, scale=0, brightness=0, colour=0, contrast=0, saturation=0)


def test_augmentation_without_any_change_only_resizes() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 4)).float()

    torch.testing.assert_close(augment(images, (8, 4), STILL, torch.Generator()), images)
    assert augment(images, (16, 8), STILL, torch.Generator()).shape == (2, 3, 16, 8)


def test_augmented_images_stay_in_range() -> None:
    images = torch.randint(0, 256, (8, 3, 16, 8)).float()
    changed = augment(images, (32, 16), AugmentConfig(blur=1.0, noise=20.0), torch.Generator().manual_seed(0))

    assert changed.shape == (8, 3, 32, 16)
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_the_asked_share_of_images_is_erased_or_blurred() -> None:
    images = torch.rand(200, 3, 16, 8) * 255
    for name in ("erase", "blur"):
        config = AugmentConfig(**{**{f: getattr(STILL, f) for f in STILL.__struct_fields__}, name: 0.3})
        changed = augment(images, (16, 8), config, torch.Generator().manual_seed(0))
        share = ((changed - images).abs() > 1).flatten(1).any(1).float().mean()
        assert 0.2 < share < 0.4


def test_normalised_pixels_have_mean_and_deviation_of_imagenet() -> None:
    grey = torch.full((1, 3, 1, 1), 127.5)
    expected = torch.tensor([(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225])

    torch.testing.assert_close(normalise(grey).flatten(), expected)
