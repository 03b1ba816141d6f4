"""Every known layout becomes people and cameras; a wrong one is shown what is expected."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from mspf.datasets import checksum, held_out_split, list_images, read_images, training_images, without_last
from mspf.datasets import test_split as read_test_split
from mspf.errors import ImageError, LayoutError, RecipeError
from tests.mspf.people import picture, write


def test_both_layouts_name_person_and_camera(tmp_path: Path) -> None:
    images = list_images(write(tmp_path, ["0002_c1s1_000451_03.jpg", "0003_c2_1.png", "notes.txt.png"]))

    assert images.pids.tolist() == [2, 3]
    assert images.camids.tolist() == [1, 2]


def test_junk_is_dropped_and_distractors_stay(tmp_path: Path) -> None:
    assert list_images(write(tmp_path, ["-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg"])).pids.tolist() == [0]


@pytest.mark.parametrize("read", [list_images, training_images, read_test_split])
def test_a_wrong_layout_is_shown_the_expected_ones_and_what_is_there(tmp_path: Path, read: object) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(LayoutError, match=r"bounding_box_train/0002_c1s1(.|\n)*MSMT17(.|\n)*anna") as caught:
        read(tmp_path)

    assert tmp_path.name in str(caught.value)
    assert read is not training_images or "Found there: holiday" in str(caught.value)


def test_the_layout_of_market_duke_and_cuhk03_has_training_query_and_gallery(tmp_path: Path) -> None:
    write(tmp_path / "bounding_box_train", ["0007_c2_f0046182.jpg"])
    write(tmp_path / "query", ["0001_c1_1.png"])
    write(tmp_path / "bounding_box_test", ["0001_c2_1.png", "0002_c2_1.png"])

    query, gallery = read_test_split(tmp_path)
    assert training_images(tmp_path).pids.tolist() == [7]
    assert (len(query), len(gallery)) == (1, 2)


@pytest.mark.parametrize(
    ("version", "train", "test"), [("", "train", "test"), ("MSMT17_V2", "mask_train_v2", "mask_test_v2")]
)
def test_msmt17_is_read_from_its_lists_with_or_without_its_validation_part(
    tmp_path: Path, version: str, train: str, test: str
) -> None:
    root = tmp_path / version
    lists = {
        "train": (train, "0000/0000_000_03_0303morning_0015_0.jpg 0"),
        "val": (train, "0001/0001_000_14_0303noon_0015_0.jpg 1"),
        "query": (test, "0000/0000_000_01_0303morning_0015_0.jpg 0"),
        "gallery": (test, "0000/0000_001_05_0303morning_0015_0.jpg 0"),
    }
    for name, (folder, line) in lists.items():
        write(root / folder, [line.split()[0]])
        (root / f"list_{name}.txt").write_text(line + "\n")

    images = training_images(tmp_path)
    assert (images.pids.tolist(), images.camids.tolist()) == ([0], [3])
    assert training_images(tmp_path, with_validation=True).camids.tolist() == [3, 14]
    assert [half.camids.tolist() for half in read_test_split(tmp_path)] == [[1], [5]]
    assert all(path.exists() for path in images.paths)


@pytest.mark.parametrize("line", ["0000/0000_000_01_0303morning_0015_0.jpg", "0000/one.jpg 0", "0000_000_x_1.jpg 0"])
def test_a_damaged_list_of_msmt17_is_shown_what_a_line_looks_like(tmp_path: Path, line: str) -> None:
    (tmp_path / "list_train.txt").write_text(line)
    with pytest.raises(LayoutError, match=r"list_train\.txt: .*every line has to be as in 0000/0000_000_01"):
        training_images(tmp_path)
    (tmp_path / "list_train.txt").write_text("")
    with pytest.raises(LayoutError, match=r"list_val\.txt: No such file"):
        training_images(tmp_path, with_validation=True)


def release_cuhk03(root: Path, boxes: str) -> None:
    """Two pairs of cameras; pair 1 has two people, pair 2 one; pictures 1 and 6 of each."""
    shown = [(1, 1), (1, 2), (2, 1)]
    with h5py.File(root / "cuhk-03.mat", "w") as file:
        cells = []
        for pair in (1, 2):
            people = [person for of, person in shown if of == pair]
            cell = np.empty((10, len(people)), h5py.ref_dtype)
            for column, person in enumerate(people):
                for number in range(10):
                    rgb = picture(10 * pair + person, number)[:, :, ::-1]
                    stored = rgb.transpose(2, 1, 0) if number in (0, 5) else np.zeros(2)
                    cell[number, column] = file.create_dataset(f"{pair}{person}{number}", data=stored).ref
            cells.append(file.create_dataset(f"pair{pair}", data=cell).ref)
        file.create_dataset(boxes, data=np.array([cells], h5py.ref_dtype))
    names = [
        f"{pair}_{person:03d}_{view}_{number:02d}.png" for pair, person in shown for view, number in ((1, 1), (2, 6))
    ]
    split = {
        "filelist": np.array(names, object)[:, None],
        "labels": np.array([[1], [1], [2], [2], [3], [3]]),
        "train_idx": np.array([[5], [6]]), "query_idx": np.array([[1], [4]]), "gallery_idx": np.array([[2], [3]]),
    }  # fmt: skip
    savemat(root / f"cuhk03_new_protocol_config_{boxes}.mat", split)


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
def test_cuhk03_as_released_is_unpacked_once_into_its_new_protocol(tmp_path: Path, boxes: str) -> None:
    release_cuhk03(tmp_path, boxes)

    train, (query, gallery) = training_images(tmp_path / boxes), read_test_split(tmp_path / boxes)
    assert [path.name for path in train.paths] == ["0003_c1_1.png", "0003_c2_6.png"]
    assert (query.pids.tolist(), query.camids.tolist()) == ([1, 2], [1, 2])
    assert (gallery.pids.tolist(), gallery.camids.tolist()) == ([1, 2], [2, 1])
    np.testing.assert_array_equal(read_images(gallery.paths[1:], (64, 32))[0][:, :, ::-1], picture(12, 0))


@pytest.mark.parametrize("damaged", ["cuhk-03.mat", "cuhk03_new_protocol_config_detected.mat"])
def test_a_damaged_cuhk03_release_is_named(tmp_path: Path, damaged: str) -> None:
    release_cuhk03(tmp_path, "detected")
    (tmp_path / damaged).write_bytes(b"no data")
    with pytest.raises(LayoutError, match=r"cuhk-03\.mat.*download both again"):
        training_images(tmp_path / "detected")


def test_own_photos_are_people_by_folder_and_cameras_by_name(tmp_path: Path) -> None:
    write(tmp_path, ["ben/holiday.JPG", "anna/c2_7.jpg", "anna/door_c1.png"])

    images = training_images(tmp_path)
    assert images.pids.tolist() == [1, 1, 2]
    assert images.camids.tolist() == [2, 1, 0]


def test_query_and_gallery_are_never_taken_for_people_to_train_on(tmp_path: Path) -> None:
    write(tmp_path, ["query/0001_c1_1.png", "bounding_box_test/0001_c2_1.png"])
    with pytest.raises(LayoutError, match="Found there: bounding_box_test, query"):
        training_images(tmp_path)


def test_a_query_without_a_gallery_is_shown_how_to_score_everyone(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="--split everyone"):
        read_test_split(write(tmp_path, ["query/0001_c1_1.png"]))
    with pytest.raises(LayoutError, match="nowhere: no such folder"):
        read_test_split(tmp_path / "nowhere")


def test_a_file_where_a_folder_belongs_is_told(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").touch()
    with pytest.raises(LayoutError, match=r"photos\.zip: a file; give the folder"):
        training_images(tmp_path / "photos.zip")


@pytest.mark.parametrize(
    ("name", "camera"),
    [("c2_7", 2), ("C12_5", 12), ("door-c1", 1), ("cam2_1", 2), ("Camera_3 7", 3), ("c1s2_004", 1), ("pic_c3po", 0),
     ("c1f003", 1), ("cam0_1", 0), ("0001_c012_00030600", 12), ("cam-2021-05-06_12", 0),
     ("cam20240101121212123456", 0),
     ("c2", 2), ("anna", 0), ("2021", 0)],
)  # fmt: skip
def test_the_camera_of_an_own_photo_is_read_from_its_name(tmp_path: Path, name: str, camera: int) -> None:
    assert training_images(write(tmp_path, [f"anna/{name}.png"])).camids.tolist() == [camera]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["bounding_box_train/0001_c1_1.png", "bounding_box_train/x.png"],
            r"1 pictures without person.*such as x\.png",
        ),
        (["0001_c1_1.png", "anna/1.png", "anna/2.png"], r"2 pictures in folders beside.*such as 1\.png"),
        (["anna/1.png", "stray.png"], r"1 pictures in no person's folder.*such as stray\.png"),
        (["anna/c1_1.png", "ben/1.png"], r"1 of 2 pictures have no camera in their names, such as 1\.png"),
    ],
)
def test_what_is_left_out_is_said(
    tmp_path: Path, names: list[str], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    training_images(write(tmp_path, names))
    assert re.search(message, caplog.text)


def test_own_photos_may_carry_person_and_camera_in_their_names(tmp_path: Path) -> None:
    assert training_images(write(tmp_path, ["0004_c3_x.jpg"])).camids.tolist() == [3]


def test_own_query_and_gallery_know_the_same_people(tmp_path: Path) -> None:
    write(tmp_path, ["query/ben/1.jpg", "gallery/anna/1.jpg", "gallery/ben/2.jpg"])

    query, gallery = read_test_split(tmp_path)
    assert (query.pids.tolist(), gallery.pids.tolist()) == ([2], [1, 2])


def test_the_last_people_are_held_out_and_the_others_left(tmp_path: Path) -> None:
    images = list_images(write(tmp_path, [f"{pid:04d}_c1_1.png" for pid in (9, 2, 5)]))

    assert held_out_split(images, ids=2).query.pids.tolist() == [5, 9]
    assert without_last(images, 2).pids.tolist() == [2]
    assert len(without_last(images, 0)) == 3


@pytest.mark.parametrize("ids", [0, -2, 4])
def test_more_people_than_there_are_cannot_be_held_out(tmp_path: Path, ids: int) -> None:
    images = list_images(write(tmp_path, [f"{pid:04d}_c1_1.png" for pid in (9, 2, 5)]))
    with pytest.raises(RecipeError, match=f"{ids} people to hold out; there are 3"):
        held_out_split(images, ids)
    with pytest.raises(RecipeError, match="3 people to hold out, and there are 3; give fewer"):
        without_last(images, 3)


def test_the_checksum_follows_names_and_contents(tmp_path: Path) -> None:
    write(tmp_path, ["0001_c1_1.png"])
    before = checksum(list_images(tmp_path))
    (tmp_path / "0001_c1_1.png").write_bytes(b"other")

    assert checksum(list_images(tmp_path)) != before


def test_images_are_read_as_rgb_of_one_size_in_their_order(tmp_path: Path) -> None:
    paths = list_images(write(tmp_path, ["0001_c1_1.png", "0002_c1_1.png"])).paths

    np.testing.assert_array_equal(read_images(paths, (64, 32))[1][:, :, ::-1], picture(2, 1))
    assert read_images(paths, (16, 8)).shape == (2, 16, 8, 3)
    assert read_images([], (16, 8)).shape == (0, 16, 8, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_file_that_is_no_whole_image_is_named_in_the_error(tmp_path: Path, suffix: str, share: float) -> None:
    (path,) = list_images(write(tmp_path, [f"0001_c1_1{suffix}"])).paths
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match=rf"0001_c1_1\{suffix}: not a whole image"):
        read_images([path], (16, 8))


def test_what_stands_behind_a_whole_image_does_no_harm(tmp_path: Path) -> None:
    (path,) = list_images(write(tmp_path, ["0001_c1_1.jpg"])).paths
    path.write_bytes(path.read_bytes() + b"\xff\xd8\xff\xda a film that a phone adds")
    assert read_images([path], (16, 8)).any()


def test_a_file_that_is_gone_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: No such file"):
        read_images([tmp_path / "gone.jpg"], (16, 8))
