"""A run learns, stops, goes on where it was, and hands its weights to the next recipe."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mspf.augmentation import AugmentConfig, augment
from mspf.network import MSPF, MSPFConfig
from mspf.training import Photographs, SourceConfig, TrainConfig, Trainer, batches, learning_rate, load_overlap

NETWORK = MSPFConfig(width=0.25, patches="none", compact=0)
CONFIG = TrainConfig(
    sources=(SourceConfig("a", people=2), SourceConfig("b", people=1)),
    network=NETWORK,
    size_hw=(64, 32),
    images_per_person=2,
    bf16=False,
)


def photographs(first_label: int, people: int) -> Photographs:
    """Three images of each person, all of the person's own colour."""
    rng = np.random.default_rng(first_label)
    colours = rng.integers(0, 256, (people, 1, 1, 1, 3))
    images = np.broadcast_to(colours, (people, 3, 128, 64, 3)).reshape(-1, 128, 64, 3).astype(np.uint8)
    return Photographs(images, np.repeat(np.arange(people), 3) + first_label)


def sources() -> list[Photographs]:
    return [photographs(0, 4), photographs(4, 2)]


def test_every_batch_mixes_the_data_sets_as_asked() -> None:
    batch = next(batches(CONFIG, sources(), seed=0))

    assert batch.images.shape == (6, 3, 64, 32)
    assert (batch.labels < 4).tolist() == [True, True, True, True, False, False]


def test_the_same_seed_gives_the_same_batches() -> None:
    first, second = (next(batches(CONFIG, sources(), seed=3)) for _ in range(2))

    torch.testing.assert_close(first.images, second.images, rtol=0, atol=0)


def test_a_few_steps_lower_the_loss_and_move_the_averaged_network() -> None:
    trainer = Trainer(CONFIG, classes=6)
    before = trainer.averaged.whole.linear.weight.clone()
    data = batches(CONFIG, sources(), seed=0)
    trainer.minutes = 0.1 * CONFIG.minutes
    losses = [trainer.step(next(data)) for _ in range(15)]

    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert not torch.equal(before, trainer.averaged.whole.linear.weight)


def test_a_resumed_run_takes_the_same_next_step(tmp_path: Path) -> None:
    first = Trainer(CONFIG, classes=6)
    data = batches(CONFIG, sources(), seed=0)
    first.step(next(data))
    first.save(tmp_path / "last.pt")
    second = Trainer(CONFIG, classes=6)
    second.resume(tmp_path / "last.pt")
    batch = next(data)

    assert second.steps == 1
    assert first.step(batch) == pytest.approx(second.step(batch), rel=1e-4)


def test_new_patch_levels_start_as_the_global_body_and_new_people_after_the_old(tmp_path: Path) -> None:
    small = Trainer(CONFIG, classes=6)
    small.save(tmp_path / "last.pt")
    grown = TrainConfig(sources=CONFIG.sources, network=MSPFConfig(width=0.25, compact=0))
    large = Trainer(grown, classes=9)
    large.initialise(tmp_path / "last.pt")

    expected = small.averaged.whole.body.state_dict()["conv5.0.0.weight"]
    for body in large.network.patch_bodies:
        torch.testing.assert_close(body.state_dict()["conv5.0.0.weight"], expected)
    torch.testing.assert_close(large.losses.local.classifier.weight[:6], small.losses.local.classifier.weight)


def test_patch_bodies_can_be_seeded_again(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, network=MSPFConfig(width=0.25, compact=0), reseed_patches=True)
    first, second = Trainer(config, classes=6), Trainer(config, classes=6)
    first.save(tmp_path / "last.pt")
    second.initialise(tmp_path / "last.pt")

    expected = first.averaged.whole.body.state_dict()["conv5.0.0.weight"]
    torch.testing.assert_close(second.network.patch_bodies[1].state_dict()["conv5.0.0.weight"], expected)


def test_a_checkpoint_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        load_overlap(MSPF(NETWORK), {"other": torch.zeros(1)})


def test_the_learning_rate_climbs_then_falls() -> None:
    rates = [learning_rate(CONFIG, progress) for progress in (0, 0.025, 0.05, 0.5, 1)]

    assert rates[0] < rates[1] < rates[2] == CONFIG.lr > rates[3] > rates[4] == CONFIG.final_lr


def test_augmentation_without_any_change_only_resizes() -> None:
    still = AugmentConfig(flip=0, erase=0, shift=0, scale=0, brightness=0, colour=0, contrast=0, saturation=0)
    images = torch.randint(0, 256, (2, 3, 8, 4)).float()

    torch.testing.assert_close(augment(images, (8, 4), still, torch.Generator()), images)
    assert augment(images, (16, 8), still, torch.Generator()).shape == (2, 3, 16, 8)


def test_augmented_images_stay_in_range() -> None:
    images = torch.randint(0, 256, (8, 3, 16, 8)).float()
    changed = augment(images, (32, 16), AugmentConfig(blur=1.0, noise=20.0), torch.Generator().manual_seed(0))

    assert changed.shape == (8, 3, 32, 16)
    assert changed.min() >= 0
    assert changed.max() <= 255
