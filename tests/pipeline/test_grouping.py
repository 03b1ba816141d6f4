from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.grouping import Tracks, grouped
from pipeline.timetable import Passages

DIMENSION = 64


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def walk(people, alike=0.0, noise=0.7, seed=0):
    """Everybody passes three cameras, one after the other; tracks, and whose they are.

    Args:
        alike: how much of everybody's looks is the same; noise: how much of a track's is its own.
    """
    draw = np.random.default_rng(seed)
    looks = unit(draw.normal(size=(people, DIMENSION)) + alike * np.sqrt(DIMENSION) * np.eye(DIMENSION)[0])
    person, camera = np.repeat(np.arange(people), 3), np.tile(np.arange(3), people)
    since = draw.uniform(0, 40 * people, people)[person] + 30.0 * camera
    seen = unit(looks[person] + noise * unit(draw.normal(size=(3 * people, DIMENSION))))
    return Tracks(seen, Passages(camera, since, since + 5), 3, np.arange(3 * people)), person


def agree(group, person):
    """Share of pairs of tracks on which both agree that they are one person, of those of which either says so."""
    one, other = (ids[:, None] == ids for ids in (group, person))
    apart = ~np.eye(len(group), dtype=bool)
    return (one & other & apart).sum() / ((one | other) & apart).sum()


def test_tracks_of_people_who_look_different_are_gathered_to_these_people():
    tracks, person = walk(30)
    assert agree(grouped(tracks, MatcherConfig()), person) == 1.0


def test_people_are_numbered_in_the_order_in_which_they_came():
    tracks, _ = walk(30)
    group = grouped(tracks, MatcherConfig())
    first = [tracks.passages.since[group == number].min() for number in range(group.max() + 1)]
    assert first == sorted(first)


def test_the_order_of_the_tracks_does_not_matter():
    tracks, _ = walk(20)
    shuffled = np.random.default_rng(5).permutation(60)
    turned = Tracks(tracks.descriptors[shuffled], tracks.passages.at(shuffled), 3, shuffled)
    assert grouped(turned, MatcherConfig()).tolist() == grouped(tracks, MatcherConfig())[shuffled].tolist()


def test_times_tell_people_apart_whom_looks_do_not():
    tracks, person = walk(60, noise=1.05)
    timeless = agree(grouped(tracks, MatcherConfig(transition_weight=0.0)), person)
    assert agree(grouped(tracks, MatcherConfig()), person) > timeless + 0.05


def test_what_a_camera_adds_is_taken_off():
    tracks, person = walk(60)
    added = 1.2 * np.eye(DIMENSION)[10:13][tracks.passages.camera]
    biased = replace(tracks, descriptors=unit(tracks.descriptors + added))
    left = agree(grouped(biased, MatcherConfig(remove_camera_bias=False)), person)
    assert agree(grouped(biased, MatcherConfig()), person) > left + 0.2


def test_two_who_look_the_same_and_stand_beside_each_other_are_two():
    looks = np.eye(DIMENSION, dtype=np.float32)[[0, 0, 1]]
    tracks = Tracks(
        looks, Passages(np.array([0, 0, 0]), np.array([0.0, 3, 100]), np.array([20.0, 30, 110])), 1, np.zeros(3, int)
    )
    assert len(set(grouped(tracks, MatcherConfig(remove_camera_bias=False)).tolist())) == 3


def test_somebody_who_is_always_there_is_not_what_the_camera_adds():
    draw = np.random.default_rng(0)
    looks = unit(draw.normal(size=(11, DIMENSION)))
    person = np.r_[np.zeros(100, int), np.repeat(np.arange(1, 11), 4)]
    seen = unit(looks[person] + 0.5 * unit(draw.normal(size=(140, DIMENSION))))
    since = np.arange(140) * 10.0
    tracks = Tracks(seen, Passages(np.zeros(140, int), since, since + 5), 1, person)
    assert agree(grouped(tracks, MatcherConfig()), person) == 1.0


def test_somebody_with_many_tracks_before_each_of_two_cameras_is_one_person():
    draw = np.random.default_rng(0)
    looks = unit(draw.normal(size=(4, DIMENSION)))
    turned = unit(looks[:, None] + 0.7 * unit(draw.normal(size=(4, 2, DIMENSION))))  # as each camera sees them
    person, camera = np.repeat(np.arange(4), 300), np.tile(np.arange(2), 600)
    seen = unit(turned[person, camera] + 0.3 * unit(draw.normal(size=(1200, DIMENSION))))
    since = 10.0 * draw.permutation(1200)
    tracks = Tracks(seen, Passages(camera, since, since + 5), 2, 2 * person + camera)
    assert agree(grouped(tracks, MatcherConfig(remove_camera_bias=False)), person) == 1.0


def test_among_many_people_tracks_of_one_must_be_more_alike():
    tracks, _ = walk(300, noise=0.95)
    many = len(np.unique(grouped(tracks, MatcherConfig(crowd_penalty=0.3))))
    assert many > len(np.unique(grouped(tracks, MatcherConfig(crowd_penalty=0.0)))) + 20


def test_who_is_alike_enough_is_one_though_not_enough_to_learn_from():
    looks = unit(np.array([[1.0, 0, 0], [0.6, 0.8, 0]]))  # alike by 0.6: below what is sure, above what is enough
    tracks = Tracks(looks, Passages(np.array([0, 1]), np.array([0.0, 100]), np.array([9.0, 110])), 2, np.arange(2))
    assert grouped(tracks, MatcherConfig(remove_camera_bias=False)).tolist() == [0, 0]


def test_what_the_run_took_for_one_person_need_be_less_alike():
    looks = unit(np.array([[1.0, 0, 0], [0.4, 0.9165, 0]]))  # alike by 0.4: too little, but not far from enough
    tracks = Tracks(looks, Passages(np.array([0, 1]), np.array([0.0, 100]), np.array([9.0, 110])), 2, np.array([7, 7]))
    config = MatcherConfig(remove_camera_bias=False)
    assert grouped(tracks, config).tolist() == [0, 0]
    assert grouped(replace(tracks, known=np.array([7, 8])), config).tolist() == [0, 1]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_tracks_or_none_are_no_trouble(count):
    tracks, _ = walk(1)
    few = Tracks(tracks.descriptors[:count], tracks.passages.at(np.arange(count)), 3, tracks.known[:count])
    assert len(grouped(few, MatcherConfig())) == count
