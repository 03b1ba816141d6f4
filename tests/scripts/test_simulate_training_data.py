"""Training images: what is rendered can be trained on, and a run that was stopped loses none of it."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mspf.datasets import training_images
from pipeline.simulator.renderer import Picture
from pipeline.simulator.scene import PlaceName, build_scene

PEOPLE = 6  # one group


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("simulate_training_data")


@pytest.fixture(scope="module")
def crops(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crops")
    script.reid_crops(out, PEOPLE, seed=500, first_id=10001)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_crops_are_a_data_set_of_people_seen_by_several_cameras(crops: Path):
    images = training_images(crops)
    assert np.unique(images.pids).tolist() == [*range(10001, 10001 + PEOPLE)]
    assert all(len(np.unique(images.camids[images.pids == person])) > 1 for person in np.unique(images.pids))
    assert min(cv2.imread(str(path)).shape[0] for path in images.paths) > 60


def test_street_crops_are_other_crops_of_the_same_kind(script, crops, tmp_path):
    script.reid_crops(tmp_path, PEOPLE, seed=500, first_id=10001, style=script.STREET)
    images = training_images(tmp_path)
    assert np.unique(images.pids).tolist() == [*range(10001, 10001 + PEOPLE)]
    assert all(len(np.unique(images.camids[images.pids == person])) > 1 for person in np.unique(images.pids))
    assert not set(contents(tmp_path).values()) & set(contents(crops).values())


def test_half_of_the_street_cameras_stand_at_the_height_of_eyes(script):
    place = build_scene(500).places[PlaceName.PLAZA]
    rng = np.random.default_rng(0)
    cameras = [script.street_camera(rng, place, 1) for _ in range(400)]
    low = [camera for camera in cameras if camera.eye[2] < 2.2]  # others stand 2.2 m high or more
    assert 0.35 < len(low) / len(cameras) < 0.49  # half, less those between 2.2 and 2.4 m
    assert min(camera.eye[2] for camera in low) < 1.3


def test_other_scenery_stands_behind_the_people(script):
    owner = np.zeros((8, 12), np.uint8)
    owner[2:6, 4:8] = 3
    owner[2:4, 8] = 1  # half of a pixel
    picture = Picture(np.full((4, 6, 3), 200, np.uint8), owner)
    seen = script.before(np.full((4, 6, 3), 40, np.uint8), picture)[..., 0]
    assert seen[1:3, 2:4].tolist() == [[200, 200], [200, 200]]
    assert seen[1, 4] == 120
    seen[1:3, 2:4] = seen[1, 4] = 40
    assert (seen == 40).all()


def test_backdrops_differ_and_are_full_of_edges(script):
    rng = np.random.default_rng(0)
    first, second = script.backdrop(rng), script.backdrop(rng)
    assert first.shape == second.shape == (360, 640, 3)
    assert np.abs(first.astype(int) - second).mean() > 10
    assert min(np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean() for image in (first, second)) > 0.5


@pytest.mark.parametrize("written", [1, 40])
def test_a_run_that_was_stopped_goes_on_to_the_same_crops(script, tmp_path, monkeypatch, written):
    """Two groups of six before two cameras, two crops each, in place of the slow renderer."""

    class Studio:
        def __init__(self, *_: object) -> None: ...
        def close(self) -> None: ...

    def group_crops(rng: np.random.Generator, _: Studio, numbers: range, first_id: int, __: object):
        for camera, number, taken in itertools.product((1, 2), numbers, (1, 2)):
            yield f"{first_id + number - 1:05d}_c{camera}_{taken}.jpg", rng.integers(0, 256, (9, 5, 3), np.uint8)

    monkeypatch.setattr(script, "Studio", Studio)
    monkeypatch.setattr(script, "group_crops", group_crops)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    script.reid_crops(whole, 12, seed=500, first_id=10001)
    write, names = script.write_atomically, []

    def full_disk(path: Path, content: bytes) -> None:
        if len(names) == written:
            raise OSError("no space left on device")
        names.append(path.name)
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(script, "write_atomically", full_disk)
        with pytest.raises(OSError, match="no space"):
            script.reid_crops(stopped, 12, seed=500, first_id=10001)
    script.reid_crops(stopped, 12, seed=500, first_id=10001)
    assert contents(stopped) == contents(whole)
    assert len(contents(whole)) == 48


def test_a_whole_scene_is_not_rendered_again(script, crops, monkeypatch):
    monkeypatch.setattr(script, "Studio", None)
    before = contents(crops)
    script.reid_crops(crops, PEOPLE, seed=500, first_id=10001)
    assert contents(crops) == before


def test_frames_of_the_detector_have_a_label_file_each(script, tmp_path):
    script.detector_frames(tmp_path, "train", images=3, seed=500)
    pictures = sorted((tmp_path / "images" / "train").iterdir())
    labels = [tmp_path / "labels" / "train" / f"{path.stem}.txt" for path in pictures]
    assert len(pictures) == 3
    boxes = np.array([line.split() for path in labels for line in path.read_text().splitlines()], np.float64)
    assert boxes.shape[1] == 5
    assert (boxes[:, 0] == 0).all()
    assert (boxes[:, 1:] >= 0).all()
    assert (boxes[:, 1:] <= 1).all()


def test_street_frames_have_people_cameras_and_backdrops_of_their_own(script, tmp_path, monkeypatch):
    called = []

    def noted(name, function):
        return lambda *given: called.append((name, given)) or function(*given)

    for name in ("random_cast", "backdrop"):
        monkeypatch.setattr(script, name, noted(name, getattr(script, name)))
    style = replace(script.STREET, camera=noted("camera", script.STREET.camera))
    script.detector_frames(tmp_path, "train", images=8, seed=500, style=style)
    names = Counter(name for name, _ in called)
    assert names["camera"] == 8
    assert 0 < names["backdrop"] < 8
    assert [given[2] for name, given in called if name == "random_cast"] == [script.STREET.wardrobe]
    assert {name[:9] for name in contents(tmp_path / "images" / "train")} == {"street500"}  # beside others of this seed
