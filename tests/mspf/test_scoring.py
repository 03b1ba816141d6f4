"""From folders to stamped scores and pictures, with describers that need no network."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mspf.datasets import F32, U8
from mspf.descriptors import (
    describe_all,
    exported_describer,
    part_describer,
    torch_describer,
    without_camera_means,
)
from mspf.figures import RIGHT, WRONG, draw_cmc, draw_rankings, first_answers, framed
from mspf.metrics import rows_of, similarities
from mspf.network import MSPF, MSPFConfig
from mspf.scoring import PROTOCOLS, Settings, Stamp, choose_split, describe_split, score_described
from mspf.weights import file_sha256

STAMP = Stamp("w.pt", "0" * 64, "nothing", "0", "tiny", "test", PROTOCOLS[False])
SETTINGS = Settings(size_hw=(16, 8))


def write(folder: Path, name: str, value: int, left: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = np.full((16, 8, 3), value, np.uint8)
    picture[:, :4] = value if left is None else left
    cv2.imwrite(str(folder / name), picture)


def brightness(images: U8) -> dict[str, F32]:
    """An angle from the mean of the left half, and one from the mean of all."""
    means = {"left": images[:, :, :4].mean((1, 2, 3)), "all": images.mean((1, 2, 3))}
    return {name: np.stack((np.cos(m / 255), np.sin(m / 255)), 1).astype(np.float32) for name, m in means.items()}


@pytest.fixture
def market(tmp_path: Path) -> Path:
    write(tmp_path / "query", "0001_c1_1.png", 50)
    write(tmp_path / "query", "0002_c1_1.png", 200)
    for name, value in (("0001_c1_2", 50), ("0001_c2_1", 60), ("0002_c2_1", 100), ("0000_c2_1", 190), ("-1_c2_1", 50)):
        write(tmp_path / "bounding_box_test", f"{name}.png", value)
    return tmp_path


def test_a_data_set_is_scored_by_every_descriptor_with_its_stamp(market: Path) -> None:
    split = choose_split(market, "test")
    results = [score_described(*one, SETTINGS, STAMP) for one in describe_split(split, brightness, SETTINGS)]

    assert [(result.query_images, result.gallery_images, result.people) for result in results] == [(2, 4, 2)] * 2
    assert [result.descriptor for result in results] == ["left", "all"]
    assert results[0].rank_1 == 50
    assert results[0].mean_ap == pytest.approx(75)
    assert results[0].stamp == STAMP
    assert len(results[0].cmc) == 50


def test_thresholds_come_with_the_scores_where_asked(market: Path) -> None:
    settings = Settings(size_hw=(16, 8), false_match_rates=(0.0, 0.5))
    name, query, gallery = next(iter(describe_split(choose_split(market, "test"), brightness, settings)))

    thresholds = score_described(name, query, gallery, settings, STAMP).thresholds
    assert [found.false_match_rate for found in thresholds] == [0.0, 0.5]
    assert thresholds[0].min_similarity > thresholds[1].min_similarity


def test_reranking_and_flipping_are_settings(market: Path) -> None:
    settings = Settings(size_hw=(16, 8), flip=True, rerank=True)
    name, query, gallery = next(iter(describe_split(choose_split(market, "test"), brightness, settings)))

    assert score_described(name, query, gallery, settings, STAMP).queries == 2


def test_what_a_camera_adds_is_taken_off_of_query_and_gallery_where_asked(tmp_path: Path) -> None:
    for folder, camera, dark in (("query", 1, 0), ("bounding_box_test", 2, 120)):  # all in camera 2 are brighter
        for person, value in ((1, 20), (2, 60), (3, 100)):
            write(tmp_path / folder, f"{person:04d}_c{camera}_1.png", value + dark)
    split = choose_split(tmp_path, "test")
    scores = []
    for remove in (False, True):
        settings = Settings(size_hw=(16, 8), remove_camera_bias=remove)
        name, query, gallery = next(iter(describe_split(split, brightness, settings)))
        scores.append(score_described(name, query, gallery, settings, STAMP).rank_1)
        np.testing.assert_allclose(np.linalg.norm(gallery.embeddings, axis=1), 1, atol=1e-6)
    assert scores == [pytest.approx(100 / 3), pytest.approx(100)]


def test_a_camera_of_one_image_leaves_nothing_of_it() -> None:
    rows = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    left = without_camera_means(rows, np.array([1, 1, 2]))
    np.testing.assert_allclose(left, [[0.5**0.5, -(0.5**0.5)], [-(0.5**0.5), 0.5**0.5], [0, 0]], atol=1e-6)


def test_everyone_of_a_one_camera_folder_asks_for_the_others(tmp_path: Path) -> None:
    for name, value in (("0001_c1_1", 10), ("0001_c1_2", 12), ("0002_c1_1", 200), ("0002_c1_2", 205)):
        write(tmp_path, f"{name}.png", value)
    split = choose_split(tmp_path, "everyone")
    name, query, gallery = next(iter(describe_split(split, brightness, SETTINGS)))

    assert gallery is query
    with pytest.raises(ValueError, match="--ignore-cameras"):
        score_described(name, query, gallery, SETTINGS, STAMP)
    one_camera = Settings(size_hw=(16, 8), ignore_cameras=True)
    assert score_described(name, query, gallery, one_camera, STAMP).mean_ap == 100
    assert len(choose_split(tmp_path, "held-out", ids=1).query) == 2


def test_a_flipped_image_is_described_like_the_image(tmp_path: Path) -> None:
    write(tmp_path, "0001_c1_1.png", 10, left=200)
    write(tmp_path, "0001_c2_1.png", 200, left=10)
    images = choose_split(tmp_path, "everyone").query

    plain, flipped = (describe_all(images, brightness, (16, 8), flip)["left"].embeddings for flip in (False, True))
    assert not np.allclose(plain[0], plain[1])
    np.testing.assert_allclose(flipped[0], flipped[1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(flipped, axis=1), 1, atol=1e-6)


def test_torch_gives_the_compact_and_the_full_descriptor_and_an_exported_one_its_first_output() -> None:
    torch.manual_seed(0)
    network = MSPF(MSPFConfig(width=0.25, patches="none", compact=8)).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)

    rows = torch_describer(network)(images)
    assert {name: row.shape for name, row in rows.items()} == {"compact": (2, 8), "full": (2, 4608)}
    exported = exported_describer(lambda batch: (batch[:, :, 0, 0],))(images)["exported"]
    np.testing.assert_array_equal(exported, images[:, 0, 0].astype(np.float32))
    normalised = exported_describer(lambda batch: (batch[:, :, 0, 0],), normalised=True)(images)["exported"]
    np.testing.assert_allclose(normalised[:, 0], (exported[:, 0] / 255 - 0.485) / 0.229, rtol=1e-4)


def test_a_network_is_described_by_its_parts_too() -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)
    for unit_branches, whole in ((True, "f_G + f_M + f_L"), (False, "g + f_L")):
        network = MSPF(MSPFConfig(width=0.25, patches="2", unit_branches=unit_branches, compact=0)).eval()
        parts = part_describer(network)(images)

        assert [parts[name].shape[1] for name in ("f_G", "f_M", "f_L", "g")] == [512, 128, 4096, 640]
        np.testing.assert_allclose(np.linalg.norm(parts["f_M"], axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(parts[whole], torch_describer(network)(images)["full"])
    alone = MSPF(MSPFConfig(width=0.25, patches="none", compact=0)).eval()
    assert [*part_describer(alone)(images)] == ["f_G", "f_L", "f_G + f_L"]


def test_matches_are_framed_green_and_false_ones_red(market: Path, tmp_path: Path) -> None:
    split = choose_split(market, "test")
    _, query, gallery = next(iter(describe_split(split, brightness, SETTINGS)))

    far = rows_of((-block for block in similarities(query, gallery)), [0, 1])
    assert gallery.pids[first_answers(query, gallery, 0, far[0], 2)].tolist() == [1, 2]  # not the one of its own camera
    assert gallery.pids[first_answers(query, gallery, 0, -far[0], 1)].tolist() != [1]  # in the order that is given
    assert (
        framed(np.zeros((2, 2, 3), np.uint8), RIGHT)[0, 0].tolist()
        != framed(np.zeros((2, 2, 3), np.uint8), WRONG)[0, 0].tolist()
    )
    draw_rankings(tmp_path / "rankings.png", split, query, gallery, far, count=3)
    draw_cmc(tmp_path / "cmc.png", {"tiny": [50.0, 100.0]})
    assert cv2.imread(str(tmp_path / "rankings.png")).std() > 0
    assert cv2.imread(str(tmp_path / "cmc.png")).std() > 0


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"")
    assert file_sha256(tmp_path / "w").startswith("e3b0c44298fc")
