"""Cast, walks, cameras and bodies: everything before a picture is drawn."""

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.simulator.camera import MAX_CAMERAS, site_cameras
from pipeline.simulator.cast import COLOURFUL, EVERYDAY, Wardrobe, alike, random_cast
from pipeline.simulator.mesh import build_mesh
from pipeline.simulator.person import Material
from pipeline.simulator.scene import PlaceName, build_scene
from pipeline.simulator.simulate import Simulation, plan
from pipeline.simulator.skeleton import BONES, pose, rest_joints
from pipeline.simulator.walk import walk


def test_the_same_seed_casts_the_same_people_and_another_seed_others() -> None:
    assert random_cast(6, seed=5) == random_cast(6, seed=5)
    assert random_cast(6, seed=5) != random_cast(6, seed=6)


def test_a_larger_cast_begins_with_the_smaller_one() -> None:
    assert random_cast(9, seed=5)[:4] == random_cast(4, seed=5)


def test_identities_count_from_one() -> None:
    assert [person.identity_id for person in random_cast(5, seed=1)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(5))
def test_twelve_people_have_two_pairs_in_the_same_top_and_two_in_the_same_trousers(seed: int) -> None:
    cast = random_cast(12, seed)

    assert all(Material.TOP in alike(cast[first], cast[first + 1]) for first in (0, 6))
    assert all(Material.BOTTOM in alike(cast[first], cast[first + 1]) for first in (3, 9))


@pytest.mark.parametrize("seed", range(5))
def test_people_dressed_alike_still_differ(seed: int) -> None:
    cast = random_cast(12, seed)

    assert len({(person.build, person.outfit, person.paints) for person in cast}) == 12


def test_top_and_trousers_of_a_person_differ_in_colour() -> None:
    for person in random_cast(12, seed=3)[::3]:  # those who wear nothing of somebody else's
        top, bottom = (np.array(person.paints[part].colour) for part in (Material.TOP, Material.BOTTOM))
        assert np.linalg.norm(top - bottom) > 0.1


def test_everyday_clothes_are_darker_and_greyer_than_colourful_ones() -> None:
    def tops(wardrobe: Wardrobe) -> np.ndarray:
        return np.array([person.paints[Material.TOP].colour for person in random_cast(60, 3, wardrobe)])

    everyday, colourful = tops(EVERYDAY), tops(COLOURFUL)

    assert np.median(everyday.mean(1)) < 0.9 * np.median(colourful.mean(1))
    assert np.median(np.ptp(everyday, 1)) < 0.3 * np.median(np.ptp(colourful, 1))


def test_a_site_may_be_of_people_in_everyday_clothes() -> None:
    assert plan(Simulation(people=4, seconds=1)).cast == random_cast(4, 7)
    assert plan(Simulation(people=4, seconds=1, everyday=True)).cast == random_cast(4, 7, EVERYDAY)


def test_a_body_stands_on_the_ground_and_is_as_tall_as_asked() -> None:
    person = random_cast(1, seed=2)[0]
    mesh = build_mesh(person.build, person.outfit, voxel_m=0.03)
    bones = pose(mesh.joints, person.gait, 0.2, 1.0, ground_xy=np.array([3.0, -2.0]), heading=0.7)

    placed = mesh.skinned(bones)

    assert placed[:, 2].min() == pytest.approx(0, abs=0.05)
    assert placed[:, 2].max() == pytest.approx(person.build.height_m, rel=0.08)
    assert np.median(placed[:, :2], axis=0) == pytest.approx([3, -2], abs=0.25)


def test_skin_weights_sum_to_one_and_triangles_name_vertices() -> None:
    person = random_cast(1, seed=4)[0]
    mesh = build_mesh(person.build, person.outfit, voxel_m=0.03)

    assert mesh.bone_weight.sum(1) == pytest.approx(np.ones(len(mesh.vertices)), abs=1e-5)
    assert mesh.bone_index.max() < len(BONES)
    assert mesh.triangles.max() == len(mesh.vertices) - 1


def test_in_the_rest_pose_bones_move_nothing() -> None:
    person = random_cast(1, seed=4)[0]
    mesh = build_mesh(person.build, person.outfit, voxel_m=0.04)
    rest = np.tile(np.eye(4, dtype=np.float32), (len(BONES), 1, 1))

    assert mesh.skinned(rest) == pytest.approx(mesh.vertices, abs=1e-5)


def test_one_foot_is_always_on_the_ground() -> None:
    person = random_cast(1, seed=4)[0]
    joints = rest_joints(person.build)
    for phase in np.linspace(0, 1, 9):
        bones = pose(joints, person.gait, float(phase), 1.0, ground_xy=np.zeros(2), heading=0.0)
        soles = [(bones[BONES.index(f"foot_{side}")] @ (*joints[f"toe_{side}"], 1))[2] for side in "lr"]
        assert -0.02 < min(soles) < 0.25


def test_people_who_walk_keep_clear_of_each_other_and_do_not_jump() -> None:
    scene, cast = build_scene(3), random_cast(10, seed=3)
    walks = walk(scene, cast, tuple(PlaceName), frames=300, fps=10, seed=3)

    steps = np.linalg.norm(np.diff(walks.position_xy, axis=0), axis=2)
    gaps = np.linalg.norm(walks.position_xy[:, :, None] - walks.position_xy[:, None], axis=3) + 9 * np.eye(10)

    assert steps.max() < 0.3
    assert np.quantile(gaps.min(2), 0.001) > 0.4


def test_people_reach_another_place() -> None:
    scene, cast = build_scene(3), random_cast(8, seed=3)
    walks = walk(scene, cast, tuple(PlaceName), frames=600, fps=10, seed=3)

    room = np.sign(walks.position_xy[..., 0]) * (np.abs(walks.position_xy[..., 0]) > 12)

    assert sum(len(np.unique(room[:, person])) > 1 for person in range(8)) >= 4


def test_a_walk_without_people_is_empty() -> None:
    walks = walk(build_scene(1), (), (PlaceName.PLAZA,), frames=3, fps=10, seed=1)

    assert walks.position_xy.shape == (3, 0, 2)


def test_a_camera_projects_its_target_to_the_middle_of_the_frame() -> None:
    for camera in site_cameras(MAX_CAMERAS, (640, 360), seed=1):
        across, down, depth = camera.project([camera.target])[0]
        assert (across, down) == pytest.approx((320, 180))
        assert depth > 0


def test_the_ground_homography_agrees_with_the_projection() -> None:
    camera = site_cameras(1, (640, 360), seed=1)[0]
    mapped = camera.ground_to_image @ (0.4, 1.2, 1)

    assert mapped[:2] / mapped[2] == pytest.approx(camera.project([(0.4, 1.2, 0)])[0, :2])


def test_the_opengl_projection_agrees_with_the_pinhole() -> None:
    camera = site_cameras(2, (640, 360), seed=1)[1]
    x, y, _, w = camera.view_projection() @ (0.4, 1.2, 1.0, 1)

    pixel = ((x / w + 1) / 2 * 640, (1 - y / w) / 2 * 360)
    assert pixel == pytest.approx(tuple(camera.project([(0.4, 1.2, 1.0)])[0, :2]))


@pytest.mark.parametrize(
    ("option", "value"),
    [("cameras", 0), ("cameras", 99), ("people", 0), ("seconds", 0.0), ("fps", 0), ("seed", -1), ("crf", 99)],
)
def test_an_option_out_of_range_is_named_with_what_is_allowed(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{option}: {value} is out of range; use"):
        Simulation(**{option: value})


def test_an_odd_size_is_refused_because_h264_needs_an_even_one() -> None:
    with pytest.raises(ConfigError, match="641 is odd"):
        Simulation(size_wh=(641, 360))
