"""File names become people and cameras; batches hold P people x K images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mspf.datasets import IdentitySampler, held_out_split, list_images, read_images
from mspf.datasets import test_split as read_test_split


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((8, 4, 3), (0, 0, 255), np.uint8))
    return folder


def test_both_layouts_name_person_and_camera(tmp_path: Path) -> None:
    images = list_images(write(tmp_path, "0002_c1s1_000451_03.jpg", "0003_c2_1.png", "notes.txt.png"))

    assert images.pids.tolist() == [2, 3]
    assert images.camids.tolist() == [1, 2]


def test_junk_is_dropped_and_distractors_stay(tmp_path: Path) -> None:
    assert list_images(write(tmp_path, "-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg")).pids.tolist() == [0]


def test_a_folder_without_images_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        list_images(tmp_path)


def test_the_test_layout_has_query_and_gallery(tmp_path: Path) -> None:
    write(tmp_path / "query", "0001_c1_1.png")
    write(tmp_path / "bounding_box_test", "0001_c2_1.png", "0002_c2_1.png")

    query, gallery = read_test_split(tmp_path)
    assert (len(query), len(gallery)) == (1, 2)


def test_the_last_people_are_held_out(tmp_path: Path) -> None:
    images = list_images(write(tmp_path, *(f"{pid:04d}_c1_1.png" for pid in (9, 2, 5))))

    assert held_out_split(images, ids=2).query.pids.tolist() == [5, 9]


def test_images_are_read_as_rgb_of_one_size(tmp_path: Path) -> None:
    paths = list_images(write(tmp_path, "0001_c1_1.png")).paths
    images = read_images(paths, (16, 8))

    assert images.shape == (1, 16, 8, 3)
    assert images[0, 0, 0].tolist() == [255, 0, 0]
    assert read_images([], (16, 8)).shape == (0, 16, 8, 3)


def test_a_file_that_is_no_image_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "0001_c1_1.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"0001_c1_1\.jpg"):
        read_images(list_images(tmp_path).paths, (16, 8))


def test_a_batch_holds_different_people_with_the_asked_number_of_images_each() -> None:
    labels = np.array([3, 3, 3, 5, 7, 7, 7, 7])
    batches = iter(IdentitySampler(labels, people=2, images=3, rng=np.random.default_rng(0)))
    for _ in range(5):
        people, counts = np.unique(labels[next(batches)], return_counts=True)
        assert (len(people), counts.tolist()) == (2, [3, 3])


def test_everybody_comes_once_before_anybody_comes_again() -> None:
    labels = np.repeat(np.arange(6), 2)
    batches = iter(IdentitySampler(labels, people=2, images=2, rng=np.random.default_rng(0)))

    assert sorted({int(label) for _ in range(3) for label in labels[next(batches)]}) == list(range(6))
