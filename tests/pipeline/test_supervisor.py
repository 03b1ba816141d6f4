"""What the supervisor concludes from the reports of the processes."""

import pytest

from pipeline.datatypes import Position
from pipeline.supervisor import Course


def test_a_camera_never_heard_of_begins_after_what_is_there():
    assert Course(70).position() == Position(index=70, first=70)


def test_a_camera_goes_on_at_the_pace_of_its_last_reports():
    course = Course(100)
    for second in range(20):
        course.hear(100 + 30 * min(second, 10) + 10 * max(0, second - 10), float(second))
    position = course.position()
    assert (position.index, position.at, position.first) == (490, 19.0, 100)
    assert position.fps == pytest.approx(10.0)
    assert position.index_at(19.0) == 490
    assert position.index_at(21.05) == 511


def test_a_camera_that_was_silent_or_heard_of_once_goes_on_with_the_next_number():
    silent, once = Course(0), Course(0)
    once.hear(5, 1.0)
    for second in range(6):
        silent.hear(40, float(second))
    assert (silent.position().index_at(60.0), once.position().index_at(60.0)) == (40, 5)
