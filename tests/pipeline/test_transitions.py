"""Who is due: learnt from newcomers, forgotten in time, kept across restarts."""

import numpy as np
import pytest

from pipeline.datatypes import Sightings
from pipeline.transitions import Transitions

CAMERAS = ("hall", "shop", "exit")


def seen(*sightings):
    """Sightings of (camera, seconds) each."""
    place = [CAMERAS.index(camera) for camera, _ in sightings]
    return Sightings(CAMERAS, np.array(place, np.int64), np.array([at for _, at in sightings], np.float64))


def site(newcomers, known=(), walk_s=30.0, crowd=40):
    """Every minute somebody comes to the shop who left the hall `walk_s` ago, while a crowd left it long ago."""
    ways = Transitions(known)
    for number in range(newcomers):
        now = 1e6 + 60.0 * number
        due, long_gone = ("hall", now - walk_s), [("hall", now - 3000.0)] * (crowd // 2)
        everybody = seen(due, *long_gone, *[("exit", now - walk_s)] * (crowd // 2))
        ways.note("shop", now, everybody, seen(due))
    return ways


def due(ways, *sightings, camera="shop", crowd=10.0):
    """Decades by which each is likelier than others, the crowd being no limit."""
    return ways.due(camera, seen(*sightings), 0.0, 1.0, crowd).tolist()


def test_before_anybody_came_nobody_is_due():
    assert due(Transitions(), ("hall", -30.0), ("exit", -3000.0)) == [0.0, 0.0]


def test_who_left_where_newcomers_come_from_when_they_do_is_due():
    comes, late, elsewhere = due(site(100), ("hall", -30.0), ("hall", -3000.0), ("exit", -30.0))
    assert comes > 1.3  # one of 41 known, always
    assert late == elsewhere < -0.9


@pytest.mark.parametrize("newcomers", [100, 1000])
def test_who_never_comes_is_less_likely_by_a_decade_and_no_more(newcomers):
    assert due(site(newcomers), ("hall", -3000.0), ("exit", -30.0)) == [-1.0, -1.0]


def test_nobody_is_due_in_another_camera():
    assert due(site(100), ("hall", -30.0), ("exit", -30.0), camera="exit") == [0.0, 0.0]


def sometimes(newcomers, every):
    """One of so many newcomers to the shop left the hall half a minute ago, as others had who did not come."""
    ways = Transitions()
    for number in range(newcomers):
        now = 1e6 + 60.0 * number
        one = ("hall", now - 30.0)
        ways.note("shop", now, seen(one, *[("exit", now - 3000.0)] * 300), seen(one) if number % every == 0 else None)
    return ways


@pytest.mark.parametrize(("every", "added"), [(1, 1.0), (3, 1 - np.log10(3)), (10, 0.0), (30, 0.0)])
def test_who_is_likelier_than_others_is_trusted_as_far_as_they_come(every, added):
    ways, ask = sometimes(1200, every), ("hall", -30.0)
    assert due(ways, ask)[0] > 1.4
    assert due(ways, ask, crowd=0.0)[0] == pytest.approx(added, abs=0.02)
    assert due(ways, ask, crowd=0.5)[0] == pytest.approx(max(1.5 - np.log10(every), 0), abs=0.03)


def test_few_newcomers_say_little():
    grows = [due(site(newcomers), ("hall", -30.0))[0] for newcomers in (1, 3, 10, 100)]
    assert grows == sorted(grows)
    assert grows[0] == pytest.approx(np.log10(2 / (1 + 1 / 41)), abs=1e-3)


def test_newcomers_whom_looks_do_not_give_away_tell_nothing_of_who_is_due():
    ways = Transitions()
    for number in range(50):
        ways.note("shop", 60.0 * number, seen(("hall", 60.0 * number - 30)), None)
    assert due(ways, ("hall", -30.0)) == [0.0]


def test_somebody_seen_elsewhere_at_this_moment_is_told_from_somebody_who_just_left():
    now, just_left = due(site(100, walk_s=-1.0), ("hall", 0.5), ("hall", -1.0))
    assert now > 1
    assert just_left <= 0


def test_a_site_that_changes_is_learnt_anew():
    ways = site(9000)
    for number in range(9000):
        now = 1e7 + 60.0 * number
        ways.note("shop", now, seen(("hall", now - 30.0), ("hall", now - 300.0)), seen(("hall", now - 300.0)))
    before, after = due(ways, ("hall", -30.0), ("hall", -300.0))
    assert after > 0 > before


def test_what_is_kept_goes_on_where_it_stopped():
    ways = site(100)
    told = ways.take_new()
    assert {(way.came_from, way.came_to) for way in told} == {("hall", "shop"), ("exit", "shop")}
    ask = [("hall", -30.0), ("hall", -3000.0), ("exit", -30.0)]
    assert due(Transitions(told), *ask) == due(ways, *ask)


def test_only_what_has_news_is_told():
    ways = site(15)
    assert ways.take_new() == ()
    assert len(ways.take_new(1)) == 2
    assert ways.take_new(1) == ()


def test_a_camera_forgets_though_nobody_is_given_away():
    ways = site(100)
    for number in range(40_000):
        ways.note("shop", 1e7 + number, seen(("hall", 1e7 + number - 3000)), None)
    assert max(way.chances.max() for way in ways.take_new()) < 10_000


def test_whom_a_camera_sees_beside_a_newcomer_is_nobody_who_might_have_come():
    ways = Transitions()
    ways.note("shop", 10.0, seen(("shop", 11.0), ("shop", 10.0), ("hall", 11.0), ("shop", 8.0)), None)
    ways.note("shop", 10.0, seen(("shop", 10.0)), seen(("shop", 10.0)))
    told = {way.came_from: (way.chances.sum(), way.arrivals.sum()) for way in ways.take_new(1)}
    assert told == {"hall": (1, 0), "shop": (1, 0)}


def test_nobody_is_due_by_a_clock_that_was_set_back():
    back, now = due(site(100, walk_s=-1.0), ("hall", 3600.0), ("hall", 1.0))
    assert now > 1
    assert back == 0


def test_any_number_of_cameras_is_learnt_from():
    ways, names = Transitions(), tuple(f"cam{number}" for number in range(40))
    for here in names:
        everybody = Sightings(names, np.arange(40), np.full(40, -8.0))
        came_from = Sightings(names, np.array([(names.index(here) - 1) % 40]), np.array([-8.0]))
        for _ in range(20):
            ways.note(here, 0.0, everybody, came_from)
    row = ways.due("cam7", Sightings(names, np.arange(40), np.full(40, -8.0)), 0.0, 0.15, 0.0)
    assert int(row.argmax()) == 6
