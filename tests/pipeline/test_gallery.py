"""The gallery finds, averages, merges and forgets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datatypes import Identity, TrackKey
from pipeline.gallery import Gallery, mean_embedding
from tests.fakes import unit

X, Y, Z = np.eye(3, dtype=np.float32)


def key(track_id, camera_id="a"):
    return TrackKey(camera_id, 1, track_id)


def person(identity_id, *prototypes, at=0.0, camera_id="a"):
    rows = np.array(prototypes, np.float32).reshape(-1, 3)
    return Identity(identity_id, rows, at, at, frozenset({camera_id}), False)


def gallery(*people, prototypes=2):
    made = Gallery(3, prototypes)
    for one in people:
        made.add(one)
    return made


def test_nobody_known_resembles_nobody():
    empty = gallery()
    assert len(empty) == 0
    assert empty.similarity(np.stack([X, Y])).shape == (2, 0)
    assert gallery(person(1, X)).similarity(np.zeros((0, 3), np.float32)).shape == (0, 1)


def test_similarity_is_the_best_cosine_to_any_prototype_in_the_order_of_ids():
    known = gallery(person(7, X, Y), person(3, unit(1, 1, 0)))
    assert known.ids.tolist() == [7, 3]
    expected = [[1, 0.7071], [1, 0.7071], [0, 0]]
    assert known.similarity(np.stack([X, Y, Z])) == pytest.approx(np.array(expected), abs=1e-4)


def test_what_get_returns_belongs_to_the_caller():
    known = gallery(person(1, X))
    known.get(1).prototypes[:] = 9
    assert known.get(1).prototypes.tolist() == [X.tolist()]


def test_a_track_that_is_described_again_keeps_one_prototype():
    known = gallery(person(1))
    known.describe(1, key(1), X, 1.0)
    known.describe(1, key(1), Y, 2.0)
    assert known.get(1).prototypes.tolist() == [Y.tolist()]
    assert known.keys(1) == (key(1),)


def test_beyond_its_prototypes_the_two_most_similar_are_averaged_by_weight():
    known = gallery(person(1), prototypes=2)
    known.describe(1, key(1), X, 3.0)
    known.describe(1, key(2), unit(3, 1, 0), 1.0)
    known.describe(1, key(3), Z, 1.0)
    mean = mean_embedding(np.stack([X, unit(3, 1, 0)]), np.array([3, 1], np.float32))
    assert known.get(1).prototypes == pytest.approx(np.stack([mean, Z]))
    assert known.keys(1) == (None, key(3))


def test_a_gallery_of_one_prototype_keeps_the_newest():
    known = gallery(person(1), prototypes=1)
    known.describe(1, key(1), X, 1.0)
    known.describe(1, key(2), Y, 1.0)
    assert known.get(1).prototypes.tolist() == [Y.tolist()]
    assert known.keys(1) == (key(2),)


def test_a_forgotten_track_leaves_the_others():
    known = gallery(person(1))
    known.describe(1, key(1), X, 1.0)
    known.describe(1, key(2), Y, 1.0)
    known.forget(1, key(1))
    known.forget(1, key(9))
    assert known.similarity(np.stack([X, Y])).ravel().tolist() == [0, 1]
    assert known.keys(1) == (key(2),)


def test_removing_one_leaves_the_others_findable():
    known = gallery(person(1, X), person(2, Y), person(3, Z))
    known.remove(1)
    assert 1 not in known
    assert known.ids.tolist() == [3, 2]
    assert known.similarity(Z[None]).tolist() == [[1, 0]]
    assert known.get(2).prototypes.tolist() == [Y.tolist()]


def test_absorbing_unites_prototypes_cameras_times_and_confirmation():
    known = gallery(person(1, X, at=5.0), person(2, Y, at=3.0, camera_id="b"))
    known.see(2, "c", 9.0)
    known.confirm(2)
    known.absorb(1, 2)
    got = known.get(1)
    assert 2 not in known
    assert (got.first_seen, got.last_seen, got.cameras, got.confirmed) == (3.0, 9.0, {"a", "b", "c"}, True)
    assert got.prototypes.tolist() == [X.tolist(), Y.tolist()]


@pytest.mark.parametrize("sketched_from", [0, 1000])
def test_turned_prototypes_are_compared_as_turned(sketched_from):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    known = Gallery(8, 2, sketched_from)
    for number, row in enumerate(rows, 1):
        known.add(Identity(number, row[None], 0.0, 0.0, frozenset(), True))
    change = np.diag(np.linspace(0.2, 1, 8)).astype(np.float32)
    known.turn(change)
    turned = rows @ change
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    np.testing.assert_allclose(known.similarity(turned), turned @ turned.T, atol=1e-5)
    assert known.nearest(turned, 1).ids[:, 0].tolist() == [*range(1, 51)]


def test_a_large_gallery_that_was_turned_is_searched_as_turned():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9000, 64)).astype(np.float32)
    rows[:, 32:] *= 0.1  # a sketch of before would not look there
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    known = Gallery(64, 1, sketched_from=1000)
    for number, row in enumerate(rows, 1):
        known.add(Identity(number, row[None], 0.0, 0.0, frozenset(), True))
    change = np.diag(np.r_[np.full(32, 0.01), np.full(32, 1.0)]).astype(np.float32)
    known.turn(change)
    turned = rows[::90] @ change
    turned += 0.02 * rng.standard_normal(turned.shape).astype(np.float32)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    brute = known.ids[known.similarity(turned).argmax(1)]
    assert known._prototypes.sketch is not None
    assert (known.nearest(turned, 1).ids[:, 0] == brute).mean() > 0.98


def test_a_sighting_in_the_past_does_not_turn_time_back():
    known = gallery(person(1, X, at=5.0))
    known.see(1, "b", 2.0)
    assert known.get(1).last_seen == 5.0
    assert known.get(1).cameras == {"a", "b"}


@pytest.mark.parametrize("ask", [lambda g: g.get(5), lambda g: g.remove(5), lambda g: g.see(5, "a", 0.0)])
def test_an_unknown_id_is_a_key_error(ask):
    with pytest.raises(KeyError):
        ask(gallery(person(1, X)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=150))
def test_any_order_of_coming_and_going_leaves_everybody_with_their_own_prototype(moves):
    known, expected, fresh = Gallery(3, 2), {}, iter(range(1, 1000))
    for comes, place in moves:
        if comes or not expected:
            who = next(fresh)
            expected[who] = unit(who, who % 7 + 1, who % 5 + 1)
            known.add(person(who, expected[who]))
        else:
            who = sorted(expected)[place % len(expected)]
            del expected[who]
            known.remove(who)
    assert sorted(known.ids) == sorted(expected)
    for who, prototype in expected.items():
        assert np.array_equal(known.get(who).prototypes, prototype[None])


def test_an_identity_that_was_never_described_resembles_nobody():
    assert gallery(person(1), person(2, -X)).similarity(X[None]).tolist() == [[0, -1]]


def test_the_nearest_come_best_first_and_the_older_identity_first_where_they_are_equal():
    nearest = gallery(person(7, X, Y), person(3, X), person(1, Z)).nearest(np.stack([X, Z]), 2)
    assert nearest.ids.tolist() == [[3, 7], [1, 3]]
    assert nearest.similarity.tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("sketched_from", [0, 1000])
def test_fewer_identities_than_asked_for_are_all_there_are(sketched_from):
    known = Gallery(3, 2, sketched_from)
    assert known.nearest(X[None], 5).ids.shape == (1, 0)
    known.add(person(4, X))
    known.add(person(5))
    assert known.nearest(X[None], 5).ids.tolist() == [[4, 5]]
    assert known.nearest(np.zeros((0, 3), np.float32), 5).similarity.shape == (0, 2)


def test_the_longest_unseen_come_first_and_the_older_identity_first_where_they_are_equal():
    known = gallery(*(person(who, X, at=at) for who, at in [(4, 2.0), (3, 1.0), (1, 2.0), (2, 9.0)]))
    assert [[*known.longest_unseen(count)] for count in (0, 1, 2, 9)] == [[], [3], [3, 1], [3, 1, 4, 2]]
    known.remove(3)
    known.see(1, "a", 5.0)
    assert known.longest_unseen(2) == {4: 2.0, 1: 5.0}


@pytest.mark.parametrize("sketched_from", [0, 1000])
def test_candidates_are_the_nearest_others_and_whoever_is_named(sketched_from):
    known = Gallery(3, 2, sketched_from)
    for one in (person(1, X), person(2, unit(9, 1, 0)), person(3, Y), person(4, Z), person(5)):
        known.add(one)
    got = known.candidates(np.stack([X, Y]), 1, beside={1, 5, 77})
    everybody = {1: (1, 0), 2: (0.994, 0.110), 3: (0, 1), 4: (0, 0), 5: (0, 0)}
    expected = everybody if sketched_from else {who: everybody[who] for who in (1, 2, 3, 5)}
    assert got.ids.tolist() == [*expected]
    assert pytest.approx(np.array([*expected.values()]), abs=1e-3) == got.similarity.T


def test_candidates_are_enough_though_all_of_the_nearest_are_named():
    rng = np.random.default_rng(0)
    known = Gallery(8, 1, sketched_from=1000)
    for who in range(3000):
        row = np.r_[1.0, 0.01 * rng.standard_normal(7)] if who < 2000 else rng.standard_normal(8)
        known.add(Identity(who, unit(*row)[None], 0.0, 0.0, frozenset(), True))
    query = np.eye(8, dtype=np.float32)[:1]
    others = set(known.candidates(query, 3, range(2000)).ids.tolist()) - {*range(2000)}
    assert others == set((2000 + np.argsort(-known.similarity(query)[0, 2000:])[:3]).tolist())


people = st.integers(1, 30)
changes = st.one_of(
    st.tuples(st.just("describe"), people, st.integers(0, 5)),
    st.tuples(st.just("forget"), people, st.integers(0, 5)),
    st.tuples(st.just("absorb"), people, people),
    st.tuples(st.just("remove"), people, st.just(0)),
)


@given(st.lists(changes, max_size=120), st.integers(0, 2**32 - 1))
def test_a_sketched_gallery_answers_as_brute_force_does_after_any_changes(made, seed):
    rng = np.random.default_rng(seed)
    known = Gallery(16, 3, sketched_from=4)
    for change, who, other in made:
        if change == "describe":
            if who not in known:
                known.add(Identity(who, np.zeros((0, 16), np.float32), 0.0, 0.0, frozenset(), False))
            known.describe(who, key(other), unit(*rng.standard_normal(16)), 1.0)
        elif who in known and change == "forget":
            known.forget(who, key(other))
        elif who in known and change == "remove":
            known.remove(who)
        elif change == "absorb" and who in known and other in known and who != other:
            known.absorb(who, other)
    queries = np.stack([unit(*rng.standard_normal(16)) for _ in range(3)])
    nearest = known.nearest(queries, 4)
    for query, ids, similarity in zip(queries, nearest.ids, nearest.similarity, strict=True):
        best = {who: max((known.get(who).prototypes @ query).tolist(), default=0.0) for who in known.ids.tolist()}
        assert similarity.tolist() == pytest.approx(sorted(best.values(), reverse=True)[:4], abs=1e-6)
        assert similarity.tolist() == pytest.approx([best[who] for who in ids.tolist()], abs=1e-6)


def test_people_who_differ_otherwise_than_those_before_are_found_as_well():
    rng = np.random.default_rng(0)
    early, late = rng.standard_normal((3000, 256), np.float32), rng.standard_normal((6000, 256), np.float32)
    early[:, 128:] *= 0.1
    late[:, :128] *= 0.1
    known = Gallery(256, 1, sketched_from=1000)
    for start, rows in ((1, early), (3001, late)):
        for identity, row in enumerate(rows / np.linalg.norm(rows, axis=1, keepdims=True), start):
            known.add(Identity(identity, row[None], 0.0, 0.0, frozenset(), True))
        known.nearest(row[None], 1)
    queries = np.hstack([early[:64, 128:], late[:64, 128:]])  # alike where the late differ
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = known.ids[known.similarity(queries).argmax(axis=1)]
    assert known.nearest(queries, 1).ids[:, 0].tolist() == exact.tolist()


def test_the_mean_of_embeddings_is_a_unit_vector_weighted_by_quality():
    got = mean_embedding(np.stack([X, Y]), np.array([3, 1], np.float32))
    assert got == pytest.approx(unit(3, 1, 0))


def test_embeddings_of_no_quality_still_have_a_mean():
    assert mean_embedding(np.stack([X, X]), np.zeros(2, np.float32)) == pytest.approx(X)


def places(known, ids=None):
    """Where and when each was last seen."""
    seen = known.sightings(ids)
    return [(seen.cameras[camera], at) for camera, at in zip(seen.camera, seen.last_seen, strict=True)]


def test_where_and_when_everybody_was_last_seen_stays_theirs_as_people_come_and_go():
    known = Gallery(3, 4)
    for number, row in enumerate((X, Y, Z), 1):
        known.add(Identity(number, row[None], 0.0, 0.0, frozenset("a"), True, "a"))
    known.see(1, "b", 5.0)
    known.see(1, "a", 4.0)  # of a camera that lags
    known.see(3, "c", 6.0)
    assert places(known) == [("b", 5.0), ("a", 0.0), ("c", 6.0)]
    known.absorb(2, 3)
    assert places(known, [2, 1]) == [("c", 6.0), ("b", 5.0)]
    known.remove(1)
    assert places(known) == [("c", 6.0)]
    assert known.get(2).last_camera == "c"


def test_a_later_sighting_of_the_one_who_goes_on_stays():
    known = Gallery(3, 4)
    known.add(Identity(1, X[None], 0.0, 0.0, frozenset("a"), True))
    known.add(Identity(2, Y[None], 0.0, 0.0, frozenset("a"), True))
    known.see(2, "b", 5.0)
    known.see(1, "a", 9.0)
    known.absorb(1, 2)
    assert places(known) == [("a", 9.0)]


def test_what_is_read_back_counts_as_much_as_before_where_two_are_averaged():
    before, after = Gallery(3, 2), Gallery(3, 2)
    before.add(Identity(1, np.zeros((0, 3), np.float32), 0.0, 0.0, frozenset(), True))
    for track, (row, weight) in enumerate(((X, 9.0), (unit(1, 0.1, 0), 1.0))):
        before.describe(1, TrackKey("a", 1, track), row, weight)
    after.add(before.get(1), before.keys(1))
    for known in (before, after):
        known.describe(1, TrackKey("a", 1, 7), Y, 1.0)
    np.testing.assert_array_equal(after.get(1).prototypes, before.get(1).prototypes)
