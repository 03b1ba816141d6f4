"""Descriptors made comparable: what a camera adds comes off before what varies is weighed."""

import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.looks import Looks
from pipeline.vectors import unit_rows

D = 32


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rows(rng, number, scale=1.0):
    return unit_rows(scale * rng.standard_normal((number, D)).astype(np.float32))


def taught(config, rng):
    """Looks that met sixty people in camera a, and saw the first number vary within their tracks."""
    looks = Looks(config, D)
    tint = np.zeros(D, np.float32)
    tint[1] = 2.0
    for person in rows(rng, 60):
        looks.meet("a", unit_rows((person + tint)[None])[0])
        wobble = np.zeros((6, D), np.float32)
        wobble[:, 0] = rng.standard_normal(6)
        looks.learn([unit_rows(person + wobble)])
    looks.renew()
    return looks


def test_what_nobody_asks_for_is_left_as_it_is(rng):
    looks = taught(MatcherConfig(remove_camera_bias=False, weigh_variation=False), rng)
    seen = rows(rng, 5)
    np.testing.assert_allclose(looks.of("a", seen), seen, atol=1e-6)
    assert looks.renew() is None and looks.finish() is None


def test_only_the_camera_that_adds_something_is_relieved_of_it(rng):
    looks = taught(MatcherConfig(remove_camera_bias=True, weigh_variation=False), rng)
    seen = rows(rng, 5)
    np.testing.assert_allclose(looks.of("b", seen), seen, atol=1e-6)
    assert np.abs(looks.of("a", seen)[:, 1]).mean() > 0.3  # far from where it was: the tint is not there to take off


def test_kept_rows_are_those_before_weighing(rng):
    looks = taught(MatcherConfig(remove_camera_bias=False, weigh_variation=True), rng)
    seen = rows(rng, 5)
    weighed = looks.of("a", seen)
    assert np.abs(weighed[:, 0]).mean() < 0.8 * np.abs(seen[:, 0]).mean()
    np.testing.assert_allclose(looks.kept(weighed), seen, atol=1e-4)


def test_what_was_learnt_is_handed_on(rng):
    looks = taught(MatcherConfig(remove_camera_bias=True, weigh_variation=True), rng)
    again = Looks(
        MatcherConfig(remove_camera_bias=True, weigh_variation=True), D, looks.take_new_means(), looks.finish()
    )
    again.renew()
    seen = rows(rng, 5)
    np.testing.assert_allclose(again.of("a", seen), looks.of("a", seen), atol=1e-4)
