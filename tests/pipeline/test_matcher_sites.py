"""What holds in any site: no double, no number twice, and the same decisions however the candidates are found."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import MatcherConfig
from pipeline.datatypes import Assignment, Identity, Merge, TrackKey
from pipeline.gallery import Gallery
from pipeline.matcher import Matcher
from pipeline.matcher_state import MatcherState
from tests.fakes import tracklet, unit, update

CONFIG = MatcherConfig(min_embeddings=3, new_below=0.5, merge_similarity=0.8, prototypes=4)


@st.composite
def sites(draw):
    """Updates of two cameras: tracks come and go, each looks like one of three people, sometimes like another."""
    updates = []
    alive = {"a": {}, "b": {}}
    fresh = {"a": itertools.count(1), "b": itertools.count(1)}
    for step in range(draw(st.integers(2, 25))):
        camera, now = draw(st.sampled_from("ab")), step * 0.4
        tracks = alive[camera]
        for _ in range(draw(st.integers(0, 2)) if len(tracks) < 4 else 0):
            tracks[next(fresh[camera])] = 0
        sent = []
        for one in list(tracks):
            if draw(st.integers(0, 9)) < 2:
                continue  # out of sight
            tracks[one] += draw(st.integers(0, 2))
            closed = draw(st.integers(0, 9)) == 0
            look = np.eye(3)[draw(st.integers(0, 2))] + 0.3 * np.eye(3)[draw(st.integers(0, 2))]
            at = now - 0.4 if closed else now
            sent.append(tracklet(one, look, at=at, count=tracks[one], closed=closed))
            if closed:
                del tracks[one]
        updates.append(update(camera, now, *sent))
    return updates


@given(sites())
def test_in_any_site_one_camera_never_sees_one_identity_twice_and_numbers_are_never_reused(updates):
    known = Matcher(CONFIG, 3)
    current: dict[TrackKey, int | None] = {}
    met: dict[tuple[TrackKey, TrackKey], float] = {}
    together: set[tuple[TrackKey, TrackKey]] = set()
    born: list[int] = []
    for one in updates:
        outcome = known.step(one)
        for done in outcome.decisions:
            if isinstance(done, Assignment):
                current[done.track] = done.identity_id
                born += [done.identity_id] * done.is_new
            elif isinstance(done, Merge):
                assert done.identity_id < done.replaces
                current = {key: done.identity_id if who == done.replaces else who for key, who in current.items()}
        seen = {TrackKey(one.camera_id, 1, track.track_id): track.identity_id for track in outcome.tracks}
        assert {key: current.get(key) for key, who in seen.items() if who is not None} == {
            key: who for key, who in seen.items() if who is not None
        }
        current |= seen
        decided = [who for who in seen.values() if who is not None]
        assert len(decided) == len(set(decided))
        for pair in itertools.combinations(sorted(seen), 2):
            if one.captured_at - met.setdefault(pair, one.captured_at) >= 4.0:
                together.add(pair)
        for a, b in together:
            assert current[a] is None or current[a] != current[b]
    assert born == sorted(set(born))


def crowded_site(rng):
    """People known from before and updates of three cameras; many look much alike, some of them at the same moment."""
    looks = [unit(*rng.standard_normal(16)) for _ in range(4)]

    def view():
        return unit(*(looks[rng.integers(4)] + rng.uniform(0.02, 0.2) * rng.standard_normal(16)))

    known = [Identity(who, np.stack([view(), view()]), 0.0, 0.0, frozenset("a"), True) for who in range(1, 41)]
    state = MatcherState(tuple((one, (None, None)) for one in known), next_identity_id=41)
    updates = []
    for step in range(12):
        now, first = 0.7 * step, 10 * (step // 5)
        tracks = [tracklet(first + one, view(), at=now, count=int(rng.integers(0, 6))) for one in range(4)]
        updates.append(update("abc"[step % 3], now, *tracks[: rng.integers(1, 5)]))
    return state, updates


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.6, 0.85]), st.sampled_from([3, 30]))
def test_decisions_from_the_nearest_alone_are_those_from_everybody(seed, min_similarity, max_identities):
    config = MatcherConfig(min_similarity=min_similarity, max_identities=max_identities, prototypes=4)
    state, updates = crowded_site(np.random.default_rng(seed))
    everybody, nearest = (Matcher(config, 16, state) for _ in range(2))
    nearest.gallery = Gallery(16, config.prototypes, sketched_from=0)
    for identity, keys in state.identities:
        nearest.gallery.add(identity, keys)
    for one in updates:
        expected, outcome = everybody.step(one), nearest.step(one)
        assert [plain(done) for done in outcome.decisions] == [plain(done) for done in expected.decisions]
        assert outcome.changed == expected.changed
        assert [track.identity_id for track in outcome.tracks] == [track.identity_id for track in expected.tracks]


def test_in_a_large_gallery_many_who_look_alike_but_were_seen_beside_a_track_hide_nobody_whom_it_may_join():
    rows = np.eye(64, dtype=np.float32)
    beside = [unit(*(2 * rows[0] + rows[one])) for one in range(1, 21)]
    people = [*beside, unit(*(2 * rows[0] + 1.5 * rows[21])), *rows[22:]]
    known = Matcher(MatcherConfig(remove_camera_bias=False, crowd_penalty=0.0), 64)
    known.gallery = Gallery(64, 4, sketched_from=0)
    for who, looks in enumerate(people, 1):
        known.gallery.add(Identity(who, looks[None], 0.0, 0.0, frozenset("b"), True), (None,))
    for at in (0.0, 5.0):
        seen = [tracklet(one, looks, at=at) for one, looks in enumerate(beside, 1)]
        known.step(update("a", at, *seen, tracklet(30, rows[0], at=at, count=0)))
    known.step(update("a", 5.1, *[tracklet(one, looks, at=5.0, closed=True) for one, looks in enumerate(beside, 1)]))
    known.step(update("a", 9.0, tracklet(30, rows[0], at=9.0, count=0)))
    outcome = known.step(update("a", 10.0, tracklet(30, rows[0], at=10.0)))
    assert [track.identity_id for track in outcome.tracks] == [21]


def plain(decision):
    """A decision, its similarity to the digits that do not depend on the order of a sum."""
    kind, similarity = type(decision).__name__, getattr(decision, "similarity", 0.0)
    rest = {name: getattr(decision, name) for name in decision.__struct_fields__ if name != "similarity"}
    return kind, rest, pytest.approx(similarity, abs=1e-5, nan_ok=True)
