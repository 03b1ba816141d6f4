"""What a camera adds to everybody: learnt from its people, taken off them."""

import numpy as np
import pytest

from pipeline.camera_bias import CameraBias

DIMENSION = 64


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def crowd(count, tilt=0.0, seed=0):
    """Unit descriptors (count, D) of people, all of them moved by `tilt` along the first axis."""
    people = unit(np.random.default_rng(seed).standard_normal((count, DIMENSION)))
    return unit(people + tilt * np.eye(DIMENSION)[0])


def learnt(people, camera="a"):
    bias = CameraBias()
    for one in people:
        bias.note(camera, one)
    return bias


def test_a_camera_without_people_changes_nothing():
    people = crowd(3)
    assert CameraBias().take_off("a", people) is people


def test_what_all_people_of_a_camera_share_is_taken_off():
    strangers = crowd(50, tilt=1.0, seed=1)
    before = strangers @ strangers.T
    seen = learnt(crowd(400, tilt=1.0)).take_off("a", strangers)
    after = seen @ seen.T
    apart = ~np.eye(50, dtype=bool)
    assert before[apart].mean() > 0.4
    assert abs(after[apart].mean()) < 0.05
    assert np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-6)
    assert seen.dtype == np.float32


def test_one_person_of_two_cameras_is_more_alike_than_before():
    people = crowd(300)
    tilts = {"a": np.eye(DIMENSION)[0], "b": np.eye(DIMENSION)[1]}
    views = {camera: unit(people + tilt) for camera, tilt in tilts.items()}
    bias = CameraBias()
    for camera, rows in views.items():
        for row in rows[:200]:
            bias.note(camera, row)
    one, other = (bias.take_off(camera, rows[200:]) for camera, rows in views.items())
    assert (one * other).sum(axis=1).min() > (views["a"] * views["b"])[200:].sum(axis=1).max()


def test_one_person_alone_hardly_moves_anybody():
    clerk, visitor = crowd(2)
    bias = learnt([clerk])
    seen = bias.take_off("a", np.stack([clerk, visitor]))
    assert (seen * [clerk, visitor]).sum(axis=1).min() > 0.99


def test_cameras_learn_apart():
    bias = learnt(crowd(50, tilt=1.0), camera="a")
    people = crowd(5)
    assert bias.take_off("b", people) is people


def test_an_unknown_camera_is_taken_to_add_what_those_known_do_on_average():
    bias = learnt(crowd(50, tilt=1.0), camera="a")
    people = crowd(5, tilt=1.0, seed=3)
    np.testing.assert_allclose(bias.take_off_usual(people), bias.take_off("a", people), atol=1e-6)
    for person in crowd(50, tilt=-1.0, seed=1):
        bias.note("b", person)
    both = bias.take_off_usual(people)
    assert abs((both * people).sum(axis=1) - 1).max() < 0.05  # opposite ones cancel out
    assert CameraBias().take_off_usual(people) is people


def test_a_camera_that_is_turned_forgets_what_it_added_before():
    bias = learnt([*crowd(2000, tilt=1.0), *crowd(2000, tilt=-1.0, seed=1)])
    strangers = crowd(50, tilt=-1.0, seed=2)
    seen = bias.take_off("a", strangers)
    assert abs((seen @ seen.T)[~np.eye(50, dtype=bool)].mean()) < 0.05
    (learnt_now,) = bias.take_new()
    assert 256 <= learnt_now.people <= 512


@pytest.mark.parametrize("split", [0, 7, 20])
def test_what_was_told_goes_on_elsewhere(split):
    people, whole = crowd(20, tilt=0.5), learnt(crowd(20, tilt=0.5))
    rest = CameraBias(learnt(people[:split]).take_new())
    for one in people[split:]:
        rest.note("a", one)
    np.testing.assert_allclose(rest.take_off("a", people), whole.take_off("a", people), atol=1e-6)
    assert [one.people for one in whole.take_new()] == [20]
    assert whole.take_new() == ()
