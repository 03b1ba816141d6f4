import numpy as np
import pytest

from pipeline.timetable import Passages, Timetable


def passages(*rows):
    """(camera, since, until) each."""
    camera, since, until = zip(*rows, strict=True)
    return Passages(np.array(camera), np.array(since, float), np.array(until, float))


def site(people=20, seed=0):
    """Everybody is seen by camera 0 for 4 s, and 30 s later by camera 1; tracks and whose they are."""
    draw = np.random.default_rng(seed)
    starts = np.sort(draw.uniform(0, 2000, people))
    first = [(0, at, at + 4) for at in starts]
    second = [(1, at + 34, at + 40) for at in starts]
    return passages(*first, *second), np.r_[0:people, 0:people]


def learn(tracks, group, cameras):
    """By all pairs of a group."""
    pairs = np.stack(np.triu_indices(len(group), 1), axis=1)
    return Timetable.learnt(tracks, group, pairs[group[pairs[:, 0]] == group[pairs[:, 1]]], cameras)


def test_who_comes_when_most_do_is_likelier_and_who_comes_otherwise_is_less_likely():
    tracks, people = site()
    table = learn(tracks, people, 2)
    tried = passages((0, 0, 4), (1, 34, 40), (1, 5, 9), (0, 34, 40))
    on_time, too_soon, back_again = table.likelier(tried, np.array([[0, 1], [0, 2], [0, 3]]))
    assert on_time > 0.5
    assert too_soon < 0 and back_again < 0


def test_a_pair_may_be_given_in_either_order():
    tracks, people = site()
    table = learn(tracks, people, 2)
    pairs = np.array([[0, 20], [3, 4], [5, 31]])
    assert table.likelier(tracks, pairs).tolist() == table.likelier(tracks, pairs[:, ::-1]).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_counted_as_one_by_one(seed):
    draw = np.random.default_rng(seed)
    since = draw.uniform(0, 600, 60)
    tracks = Passages(draw.integers(0, 3, 60), since, since + draw.uniform(0.1, 60, 60))
    group = draw.integers(0, 15, 60)
    table = learn(tracks, group, 3)
    gaps = np.array([0, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560])
    every, own = np.zeros((3, 3, 13)), np.zeros((3, 3, 13))
    for one in range(60):
        for other in range(60):
            if since[one] < since[other]:
                span = np.searchsorted(gaps, since[other] - tracks.until[one])
                cell = tracks.camera[one], tracks.camera[other], span
                every[cell] += 1
                own[cell] += group[one] == group[other]
    share = own.sum() / every.sum()
    likelier = np.log10((own + 3) / (every * share + 3)).clip(min=-1)
    often = (own + 3 * share) / (every + 3)
    np.testing.assert_allclose(table.decades, np.minimum(likelier, np.maximum(1.75 + np.log10(often), 0)))


def test_times_are_learnt_from_sure_pairs_alone():
    tracks, people = site()
    table = Timetable.learnt(tracks, people, np.zeros((0, 2), int), 2)
    assert (table.likelier(tracks, np.array([[0, 20]])) <= 0).all()


def test_before_anything_is_known_nothing_speaks_for_or_against():
    tracks, _ = site()
    assert not Timetable.unknown(2).likelier(tracks, np.array([[0, 20], [0, 5]])).any()


def test_two_who_one_camera_sees_together_for_long_are_two():
    table = Timetable.unknown(1)
    one = passages((0, 0, 100))
    assert table.apart(one, passages((0, 90, 200)))
    assert not table.apart(one, passages((0, 96, 200)))  # 4 s: a tracker may follow one person twice
    assert not table.apart(one, passages((0, 101, 200)))


def beside(shared):
    """Twenty people before camera 0, each seen by camera 1 at the same moment; or somebody else is there."""
    both = [(0, 10.0 * at, 10.0 * at + 8) for at in range(20)], [(1, 10.0 * at, 10.0 * at + 8) for at in range(20)]
    return passages(*both[0], *both[1]), np.r_[0:20, 0:20] if shared else np.arange(40)


@pytest.mark.parametrize("shared", [True, False])
def test_who_is_in_two_places_at_once_is_two_unless_the_places_are_one(shared):
    tracks, people = beside(shared)
    table = learn(tracks, people, 2)
    assert table.apart(passages((0, 0, 100)), passages((1, 50, 150))) is not shared
    assert not Timetable.unknown(2).apart(passages((0, 0, 100)), passages((1, 50, 150)))
