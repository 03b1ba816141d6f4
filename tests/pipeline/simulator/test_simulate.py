"""A small site rendered for real: needs libegl1 and libgl1-mesa-dri."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import ConfigError, StoreError
from pipeline.simulator.mesh import build_mesh
from pipeline.simulator.renderer import Renderer
from pipeline.simulator.scene import PlaceName
from pipeline.simulator.simulate import Clip, Simulation, View, plan, render, simulate
from pipeline.simulator.skeleton import pose
from tests.pipeline.clips import noise
from tests.pipeline.disk import full_disk

SMALL = Simulation(cameras=3, people=4, seconds=0.8, seed=2, fps=5, size_wh=(320, 180))


@pytest.fixture(scope="module")
def views() -> list[View]:
    return list(render(SMALL, plan(SMALL), range(SMALL.frames)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    simulate(SMALL, out)
    return out


def rows(site: Path, camera_id: str) -> np.ndarray:
    return np.loadtxt(site / "truth" / f"{camera_id}.txt", delimiter=",", ndmin=2)


def test_the_same_seed_gives_the_same_pixels_and_the_same_people(views: list[View]) -> None:
    again = list(render(SMALL, plan(SMALL), range(2)))

    for first, second in zip(views, again, strict=False):
        assert (first.image_bgr == second.image_bgr).all()
        assert first.people == second.people


def test_a_frame_does_not_depend_on_the_frames_before_it(views: list[View]) -> None:
    (alone, *_) = render(SMALL, plan(SMALL), [3])

    assert (alone.image_bgr == views[3 * SMALL.cameras].image_bgr).all()


def test_boxes_lie_in_the_frame_and_people_are_seen_at_most_whole(views: list[View]) -> None:
    people = [person for view in views for person in view.people]

    assert len(people) > 10
    for person in people:
        x, y, w, h = person.box_xywh
        assert x >= 0 and y >= 0 and x + w <= 320 and y + h <= 180
        assert 0 < person.visibility <= 1
        assert 0 < person.inside <= 1


def test_nobody_is_seen_where_he_would_not_be_seen_alone() -> None:
    site = plan(SMALL)
    meshes = [build_mesh(person.build, person.outfit, voxel_m=0.03) for person in site.cast]
    place, camera = site.scene.places[PlaceName.PLAZA], site.cameras[0]
    poses = {
        number: pose(mesh.joints, person.gait, 0.1, 1.0, ground_xy=np.array([0.3 * number, 2.0]), heading=1.0)
        for number, (person, mesh) in enumerate(zip(site.cast, meshes, strict=True), start=1)
    }
    with Renderer(site.scene, list(zip(site.cast, meshes, strict=True)), SMALL.size_wh) as renderer:
        renderer.light_place(place, poses)
        owner = renderer.draw(camera, place, poses).owner
        for number, bones in poses.items():
            alone = renderer.alone(camera, number, bones)
            assert ((owner == number) <= (alone > 0)).all()
            assert (owner == number).any()


def test_people_who_cannot_be_seen_are_not_in_the_truth(views: list[View]) -> None:
    for view in views:
        assert len({person.identity_id for person in view.people}) == len(view.people) <= SMALL.people


def test_ids_are_global_the_same_person_stands_where_both_cameras_say(site: Path) -> None:
    calibration = json.loads((site / "calibration.json").read_text())
    ground = np.loadtxt(site / "truth" / "ground.csv", delimiter=",", skiprows=1)
    feet = {(int(row[0]), int(row[2])): row[3:5] for row in ground}
    checked = 0
    for camera_id, camera in calibration.items():
        for row in rows(site, camera_id):
            x, y, w, h = row[2:6]
            uncut = x > 1 and y > 1 and x + w < 319 and y + h < 179
            if uncut:
                pixel = np.array(camera["ground_to_image"]) @ (*feet[int(row[0]), int(row[1])], 1)
                across, down = pixel[:2] / pixel[2]
                assert x - 0.1 * w < across < x + 1.1 * w
                assert y + 0.8 * h < down < y + 1.1 * h
                checked += 1
    assert checked > 5


def test_hardly_visible_small_or_cut_people_are_not_scored(views: list[View]) -> None:
    person = replace(views[0].people[0], box_xywh=(10, 10, 30, 90), visibility=0.9, inside=1.0)

    assert person.counts
    assert not replace(person, visibility=0.2).counts
    assert not replace(person, box_xywh=(10, 10, 15, 39)).counts
    assert not replace(person, inside=0.4).counts


def test_truth_is_mot_with_frames_from_one_and_one_class(site: Path) -> None:
    for camera_id in ("cam1", "cam2", "cam3"):
        table = rows(site, camera_id)
        assert table.shape[1] == 9
        assert set(table[:, 0]) <= {1, 2, 3, 4}
        assert set(table[:, 6]) <= {0, 1}
        assert set(table[:, 7]) == {1}


def test_clips_are_h264_of_constant_rate_from_zero_without_b_frames(site: Path) -> None:
    for camera_id in ("cam1", "cam2", "cam3"):
        with av.open(str(site / f"{camera_id}.mp4")) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height, stream.format.name) == (320, 180, "yuv420p")
            assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.4, 0.6])
            assert frames[0].to_ndarray(format="bgr24").std() > 10


def test_cams_yaml_names_the_clips_and_the_truth(site: Path) -> None:
    assert (site / "cams.yaml").read_text() == (
        "cameras:\n  - {id: cam1, url: cam1.mp4}\n  - {id: cam2, url: cam2.mp4}\n  - {id: cam3, url: cam3.mp4}\n"
        "truth: truth\n"
    )


def test_progress_ends_with_every_frame_done(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    short = replace(SMALL, cameras=1, people=1, seconds=0.4)
    simulate(short, tmp_path, lambda done, total: steps.append((done, total)))

    assert steps == [(1, 2), (2, 2)]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")

    with pytest.raises(StoreError, match="cannot write the simulation"):
        simulate(replace(SMALL, cameras=1, people=1, seconds=0.2), tmp_path / "taken")


def test_a_site_that_is_there_is_not_replaced_and_one_that_was_broken_off_is(tmp_path: Path) -> None:
    short = replace(SMALL, cameras=1, people=1, seconds=0.2)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(short, tmp_path, stop)
    simulate(short, tmp_path)
    (tmp_path / "cams.yaml").write_text("mine")
    with pytest.raises(StoreError, match=r"holds a cams.yaml, which would be replaced; give another --out"):
        simulate(short, tmp_path)
    assert (tmp_path / "cams.yaml").read_text() == "mine"


def test_a_clip_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path) -> None:
    with full_disk(500), pytest.raises(OSError, match="File too large"), Clip(tmp_path / "a.mp4", SMALL) as clip:
        clip.write(noise(1, SMALL.size_wh)[0])


def test_another_failure_is_not_hidden_by_that_of_the_clip(tmp_path: Path) -> None:
    with full_disk(500), pytest.raises(KeyError), Clip(tmp_path / "a.mp4", SMALL) as clip:
        clip.write(noise(1, SMALL.size_wh)[0])
        raise KeyError


@pytest.mark.parametrize("library", ["moderngl", "skimage.measure"])
def test_a_missing_library_is_one_error_that_says_what_to_install(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed

    with pytest.raises(ConfigError, match=r"is missing: pip install \"mspf-pipeline\[simulate\]\""):
        simulate(replace(SMALL, cameras=1, people=1, seconds=0.2), tmp_path)
