"""A network goes on among people whom it found itself, in pictures without labels."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mspf.adaptation import PEOPLE, AdaptConfig, Listeners, adapt, round_folder
from mspf.checkpoint import read_checkpoint
from mspf.datasets import training_images, unlabelled_images
from mspf.errors import LayoutError, RecipeError, RunError
from mspf.network import MSPF
from mspf.run import Place
from mspf.weights import save_weights
from tests.mspf.people import market, write
from tests.mspf.test_training import CONFIG as TRAINING
from tests.mspf.test_training import after, assert_same_weights

ROOT = Path(__file__).parents[2]
HERE = Place(torch.device("cpu"))
RECIPE = msgspec.structs.replace(TRAINING, epochs=1, warmup_epochs=0.2, validation_ids=0)
CONFIG = AdaptConfig(RECIPE, rounds=2, neighbours=5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_weights(MSPF(TRAINING.network).eval(), path, {"input_height": "64", "input_width": "32"})
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 8 people, 6 of each, in a folder per camera, as a run keeps them."""
    folder = tmp_path_factory.mktemp("run") / "pictures"
    for person in range(1, 9):
        for camera in ("door", "hall"):
            write(folder / camera, [f"0-{100 * person + shot}.jpg" for shot in range(3)], person)
    return folder


@pytest.fixture(scope="module")
def straight(weights: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "straight"
    assert adapt(CONFIG, unlabelled_images([pictures]), weights, out, HERE, Listeners())
    return out


def person_of(path: Path) -> int:
    return int(path.resolve().stem.split("-")[1]) // 100


def test_people_are_found_and_trained_on(straight: Path, weights: Path) -> None:
    for number in (1, 2):
        found = training_images(round_folder(straight, number) / PEOPLE)
        who = np.array([person_of(path) for path in found.paths])
        assert ((found.pids[:, None] == found.pids) == (who[:, None] == who)).all()
        assert (len(np.unique(found.pids)), len(np.unique(found.camids))) == (8, 2)
    first, last = (read_checkpoint(round_folder(straight, number) / "last.pt") for number in (1, 2))
    assert (first["steps"], last["steps"]) == (6, 6)
    facts = json.loads((round_folder(straight, 2) / "run.json").read_text())
    assert facts["initial_weights"] == str(round_folder(straight, 1) / "last.pt")
    assert facts["data"][0]["training_people"] == 8
    start = json.loads((straight / "adapt.json").read_text())
    assert (start["pictures"], start["cameras"], start["config"]["recipe"]["network"]["width"]) == (48, 2, 0.25)


@pytest.mark.parametrize("steps", [3, 6, 8], ids=["in the first round", "after it", "in the second"])
def test_what_is_stopped_goes_on_to_the_same_weights(
    straight: Path, weights: Path, pictures: Path, tmp_path: Path, steps: int
) -> None:
    images, out = unlabelled_images([pictures]), tmp_path / "out"
    assert not adapt(CONFIG, images, weights, out, HERE, Listeners(stopped=after(steps)))
    assert adapt(CONFIG, images, weights, out, HERE, Listeners())
    assert_same_weights(round_folder(straight, 2), round_folder(out, 2))


def test_what_goes_on_is_held_to_what_it_began_with(
    straight: Path, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    images = unlabelled_images([pictures])
    other = msgspec.structs.replace(CONFIG, within=0.4)
    with pytest.raises(RunError, match="was begun with another config; give the same, or another --out"):
        adapt(other, images, weights, straight, HERE, Listeners())
    fewer = images.where(np.arange(len(images)) > 0)
    with pytest.raises(RunError, match="another pictures, pictures_sha256"):
        adapt(CONFIG, fewer, weights, straight, HERE, Listeners())


def test_too_few_people_for_a_batch_are_one_clear_error(weights: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "door", [f"0-{shot}.jpg" for shot in range(6)], 1)
    with pytest.raises(
        RunError, match=r"1 people were found on 6 pictures, too few for a batch of 4; .* --set people=N"
    ):
        adapt(CONFIG, unlabelled_images([tmp_path / "in"]), weights, tmp_path / "out", HERE, Listeners())


def test_cameras_of_several_runs_are_the_same_where_they_are_called_the_same(tmp_path: Path) -> None:
    for run, cameras in (("monday", ("door", "hall")), ("tuesday", ("hall", "yard"))):
        for camera in cameras:
            write(tmp_path / run / camera, ["0-1.jpg"])
    images = unlabelled_images([tmp_path / "monday", tmp_path / "tuesday"])
    by_camera = {(path.parent.name, camera) for path, camera in zip(images.paths, images.camids, strict=True)}
    assert sorted(by_camera) == [("door", 0), ("hall", 1), ("yard", 2)]
    assert images.pids.tolist() == [0, 0, 0, 0]


def test_of_data_sets_cameras_are_read_and_people_are_not(tmp_path: Path) -> None:
    first, second = (market(tmp_path / name, people=4) for name in ("a", "b"))
    images = unlabelled_images([first, second], held_out=1)
    assert (len(images), set(images.pids.tolist()), len(np.unique(images.camids))) == (2 * 3 * 4, {0}, 4)
    assert not any(path.name.startswith("0004") for path in images.paths)
    with pytest.raises(RecipeError, match="4 people to hold out"):
        unlabelled_images([first], held_out=4)


def test_a_folder_without_pictures_is_told_with_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"no pictures in a layout that is known.*\n.*a folder per camera"):
        unlabelled_images([tmp_path])
    with pytest.raises(LayoutError, match="no such folder"):
        unlabelled_images([tmp_path / "none"])


@pytest.mark.parametrize("processes", [1, 2])
def test_the_script_adapts_and_says_what_comes_next(
    weights: Path, pictures: Path, tmp_path: Path, processes: int
) -> None:
    script = [str(ROOT / "scripts" / "adapt.py"), "--weights", str(weights), "--data", str(pictures)]
    script += [
        "--out",
        str(tmp_path / "out"),
        "--rounds",
        "1",
        "--neighbours",
        "5",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    for change in ("people=4", "images_per_person=2", "epochs=0.5", "size_hw=[64,32]", "precision=float32"):
        script += ["--set", change]
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    done = subprocess.run([sys.executable, *several, *script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 people found on 48 of 48 pictures" in " ".join(done.stderr.split())
    assert re.search(r"matcher: \{new_below: .*, min_similarity: 0\.\d\d, sure_similarity: .*\}", done.stderr)
    assert f"scripts/export.py {tmp_path / 'out' / 'round-1' / 'last.pt'}" in done.stderr
