"""What is to be kept, the newer in place of the older."""

import numpy as np

from pipeline.camera_bias import CameraMean
from pipeline.matcher_state import NOTHING, Knowledge
from pipeline.track_variation import Variation
from pipeline.transitions import SPANS, Transition


def mean(camera_id, people):
    return CameraMean(camera_id, people, np.zeros(3, np.float32))


def way(came_from, came_to, count):
    return Transition(came_from, came_to, np.full(SPANS, count, np.float32), np.zeros(SPANS, np.float32))


def test_what_is_newer_takes_the_place_of_the_same_and_leaves_the_rest():
    older = Knowledge((mean("a", 1), mean("b", 1)), Variation(1, np.eye(3)), (way("a", "b", 1), way("b", "a", 1)))
    both = older.updated(Knowledge((mean("b", 2),), None, (way("a", "b", 2), way("a", "c", 2))))
    assert {one.camera_id: one.people for one in both.means} == {"a": 1, "b": 2}
    assert both.variation.changes == 1
    assert {(one.came_from, one.came_to): one.chances[0] for one in both.transitions} == {
        ("a", "b"): 2,
        ("b", "a"): 1,
        ("a", "c"): 2,
    }
    assert both.updated(Knowledge(variation=Variation(5, np.eye(3)))).variation.changes == 5


def test_nothing_is_nothing():
    some = Knowledge((mean("a", 1),))
    assert not NOTHING
    assert some.updated(NOTHING) is some
