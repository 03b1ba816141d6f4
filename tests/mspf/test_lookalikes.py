"""Who looks like whom: by appearance, not by camera, and the same after a stop."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mspf.errors import RecipeError, RunError
from mspf.lookalikes import lookalikes
from mspf.network import MSPF, MSPFConfig
from mspf.photographs import Photographs
from mspf.run import train
from mspf.run_directory import RunDirectory
from tests.mspf.people import market
from tests.mspf.test_training import CONFIG, HERE, after, assert_same_weights

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}


@pytest.fixture(scope="module")
def pool() -> Photographs:
    """Two people of each colour, in two cameras of which one is dark; the labels do not begin at 0."""
    rng = np.random.default_rng(0)
    images, labels, cameras = [], [], []
    for label, colour in enumerate([*COLOURS.values(), *COLOURS.values()], start=10):
        for camera, light in ((0, 1.0), (1, 0.4)):
            shots = np.array(colour)[None, :, None, None] * light + rng.normal(0, 8, (3, 3, 64, 32))
            images.append(shots.clip(0, 255).astype(np.uint8))
            labels += [label] * 3
            cameras += [camera] * 3
    return Photographs(torch.from_numpy(np.concatenate(images)), np.array(labels), np.array(cameras))


@pytest.fixture(scope="module")
def network() -> MSPF:
    torch.manual_seed(0)
    return MSPF(MSPFConfig(width=0.25, patches="none", compact=0))


def test_people_of_one_colour_are_each_others_nearest(network: MSPF, pool: Photographs) -> None:
    assert lookalikes(network, pool, 1)[:, 0].tolist() == [3, 4, 5, 0, 1, 2]


def test_nobody_is_like_themselves_and_no_more_are_given_than_there_are(network: MSPF, pool: Photographs) -> None:
    nearest = lookalikes(network, pool, 100)
    assert nearest.shape == (6, 5)
    assert all(person not in row for person, row in enumerate(nearest.tolist()))


def test_a_stopped_run_among_lookalikes_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    folders = {"shop": market(tmp_path / "shop", people=8)}
    assert train(CONFIG, folders, tmp_path / "start", HERE)
    config = msgspec.structs.replace(CONFIG, people=3, alike=2)
    start = tmp_path / "start" / "last.pt"
    with pytest.raises(RecipeError, match="alike: weights have to say who looks like whom; give some with --init"):
        train(config, folders, tmp_path / "straight", HERE)
    assert train(config, folders, tmp_path / "straight", HERE, init=start)
    assert not train(config, folders, tmp_path / "stopped", HERE, init=start, stopped=after(4))  # type: ignore[arg-type]
    assert train(config, folders, tmp_path / "stopped", HERE, init=start)

    assert_same_weights(tmp_path / "straight", tmp_path / "stopped")
    (nearest,) = RunDirectory(tmp_path / "stopped").alike()
    assert nearest.shape == (6, 4)
    (tmp_path / "stopped" / "alike.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match=r"alike\.npz: .*give another --out"):
        train(config, folders, tmp_path / "stopped", HERE, init=start)
