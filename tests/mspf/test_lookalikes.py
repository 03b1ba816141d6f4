"""Who looks like whom: by appearance, not by camera; whom batches are drawn by, also after a stop."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mspf import lookalikes as module
from mspf.checkpoint import read_checkpoint
from mspf.errors import RecipeError
from mspf.lookalikes import lookalikes
from mspf.network import MSPF, MSPFConfig
from mspf.photographs import ALONE, Feed, Photographs, load_collection
from mspf.recipe import SourceConfig
from mspf.run import train
from tests.mspf.people import market
from tests.mspf.test_training import CONFIG, CPU, HERE, after, assert_same_weights

COLOURS = [(220, 40, 40), (40, 200, 60), (40, 60, 220)]
SIZE = (64, 32)


def people_of(cameras: list[tuple[int, float]], size_hw: tuple[int, int] = SIZE) -> Photographs:
    """Three people of three colours in each camera, (number, light), nobody in two; the labels do not begin at 0."""
    rng = np.random.default_rng(0)
    images, labels, seen_by = [], [], []
    for camera, light in cameras:
        for colour in COLOURS:
            shots = np.array(colour)[None, :, None, None] * light + rng.normal(0, 8, (3, 3, *size_hw))
            images.append(shots.clip(0, 255).astype(np.uint8))
            labels += [10 + len(images)] * 3
            seen_by += [camera] * 3
    return Photographs(torch.from_numpy(np.concatenate(images)), np.array(labels), np.array(seen_by))


@pytest.fixture(scope="module")
def network() -> MSPF:
    torch.manual_seed(0)
    return MSPF(MSPFConfig(width=0.25, patches="none", compact=0))


@pytest.mark.parametrize("size_hw", [SIZE, (96, 48)], ids=["as stored", "stored larger"])
def test_people_of_one_colour_are_nearest_though_one_camera_is_dark(
    network: MSPF, size_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 7)
    pool = people_of([(0, 1.0), (1, 0.4)], size_hw)
    assert lookalikes(network, pool, SIZE, 1)[:, 0].tolist() == [3, 4, 5, 0, 1, 2]


def test_nobody_is_like_themselves_and_no_more_are_given_than_there_are(network: MSPF) -> None:
    pool = people_of([(0, 1.0), (1, 0.4)])
    alone = Photographs(
        torch.cat([pool.images, pool.images[:1]]), np.append(pool.labels, 30), np.append(pool.cameras, 9)
    )
    nearest = lookalikes(network, alone, SIZE, 100)
    assert [sorted([person, *row]) for person, row in enumerate(nearest.tolist())] == [list(range(7))] * 7


def test_batches_hold_those_who_look_like_the_one(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, people=3)
    collection = load_collection(config, {"shop": market(tmp_path, people=8)}, CPU)
    feed, near = Feed(config, collection.pools, ALONE), np.array([[(one + 1) % 6, (one + 2) % 6] for one in range(6)])
    feed.draw_alike([near])

    batches = [feed.batch(step).labels[::2].tolist() for step in range(6)]
    assert sorted(batch[0] for batch in batches) == list(range(6))
    assert all(set(others) == set(near[one]) for one, *others in batches)


def test_cameras_of_joined_data_sets_are_different_ones(tmp_path: Path) -> None:
    shop = market(tmp_path, people=8)
    (pool,) = load_collection(CONFIG, {"first": shop, "second": shop}, CPU).pools
    first = pool.labels < 6
    assert not set(pool.cameras[first]) & set(pool.cameras[~first])


def test_a_stopped_run_among_lookalikes_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    folders = {name: market(tmp_path / name, people=people) for name, people in (("shop", 8), ("mall", 9))}
    sources = (SourceConfig("shop", people=2), SourceConfig("mall", people=3))
    config = msgspec.structs.replace(CONFIG, sources=sources, alike=2, ema=0.5, lr=0.05)
    start = tmp_path / "start" / "last.pt"
    assert train(msgspec.structs.replace(config, alike=0, epochs=0.5), folders, start.parent, HERE)
    with pytest.raises(RecipeError, match="alike: weights have to say who looks like whom; give some with --init"):
        train(config, folders, tmp_path / "straight", HERE)
    assert train(config, folders, tmp_path / "straight", HERE, init=start)
    assert train(msgspec.structs.replace(config, alike=0), folders, tmp_path / "anybody", HERE, init=start)
    backwards = dict(reversed(folders.items()))  # sources stand in the recipe's order, however they are given
    assert not train(config, folders, tmp_path / "stopped", HERE, init=start, stopped=after(2))
    assert train(config, backwards, tmp_path / "stopped", HERE, init=start)

    assert_same_weights(tmp_path / "straight", tmp_path / "stopped")
    alike = read_checkpoint(tmp_path / "stopped" / "last.pt")["alike"]
    assert [tuple(near.shape) for near in alike] == [(6, 2), (7, 4)]
    with pytest.raises(AssertionError, match="network"):
        assert_same_weights(tmp_path / "straight", tmp_path / "anybody")
