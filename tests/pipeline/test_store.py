"""The identity store: what was committed is there again, whatever happened in between."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from pipeline.camera_bias import CameraMean
from pipeline.datatypes import Assignment, Confirmation, Expiry, Identity, Merge, TrackKey
from pipeline.errors import DiskError, StoreError
from pipeline.matcher_state import Knowledge
from pipeline.store import Known, Store, is_of_a_live_run
from pipeline.track_variation import Variation
from pipeline.transitions import SPANS, Transition
from tests.pipeline.disk import full_disk

X, Y, Z = np.eye(3, dtype=np.float32)


def key(track_id, camera_id="a"):
    return TrackKey(camera_id, 1, track_id)


def known(identity_id, *prototypes, confirmed=False, cameras=("a", "b")):
    rows = np.array(prototypes or [X], np.float32)
    identity = Identity(identity_id, rows, 1.5, 2.5, frozenset(cameras), confirmed)
    return Known(identity, (key(identity_id), *[None] * (len(rows) - 1)))


def assigned(track_id, identity_id, at=1.0):
    return Assignment(key(track_id), identity_id, float("nan"), True, None, at)


def path_of(folder):
    return folder / "identities.db"


def load(folder):
    with Store(path_of(folder), 3) as store:
        return store.load()


def test_a_fresh_store_knows_nobody_and_starts_at_one(tmp_path):
    state = load(tmp_path)
    assert (state.identities, dict(state.tracks), state.next_identity_id) == ((), {}, 1)


def test_identities_and_tracks_survive_a_reopening(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(1, 7), Confirmation(7, 1.0)], [known(7, X, Y, confirmed=True)])
    state = load(tmp_path)
    ((identity, keys),) = state.identities
    assert (identity.identity_id, identity.first_seen, identity.last_seen) == (7, 1.5, 2.5)
    assert (identity.cameras, identity.confirmed) == ({"a", "b"}, True)
    assert identity.prototypes.tolist() == [X.tolist(), Y.tolist()]
    assert keys == (key(7), None)
    assert state.tracks == {key(1): 7}
    assert state.next_identity_id == 8


def test_a_refused_store_is_as_it_was(tmp_path):
    with Store(path_of(tmp_path), 3, network="a" * 64, replayed=True):
        pass
    with pytest.raises(StoreError, match="network"), Store(path_of(tmp_path), 3, network="b" * 64):
        pass
    assert not is_of_a_live_run(path_of(tmp_path))
    with Store(path_of(tmp_path), 3, network="a" * 64):
        pass
    assert is_of_a_live_run(path_of(tmp_path))


def test_a_store_that_does_not_say_whose_it_is_counts_as_a_live_run_s(tmp_path):
    assert not is_of_a_live_run(path_of(tmp_path)), "no file"
    path_of(tmp_path).touch()
    assert not is_of_a_live_run(path_of(tmp_path)), "nothing in it"
    with Store(path_of(tmp_path), 3, replayed=True):
        pass
    with closing(sqlite3.connect(path_of(tmp_path))) as file:
        file.executescript("DELETE FROM facts WHERE name = 'run'")
    assert is_of_a_live_run(path_of(tmp_path)), "of an earlier version"


def test_how_much_prototypes_count_survives_a_reopening(tmp_path):
    one = known(7, X, Y)
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [Known(replace(one.identity, weights=np.array([9, 1], np.float32)), one.keys)])
    ((identity, _),) = load(tmp_path).identities
    assert identity.weights.tolist() == [9.0, 1.0]


def test_the_newest_state_of_an_identity_and_a_track_counts(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(1, 1)], [known(1, X)])
        store.record([assigned(1, 2)], [known(1, Z), known(2, Y)])
    state = load(tmp_path)
    assert [identity.prototypes.tolist() for identity, _ in state.identities] == [[Z.tolist()], [Y.tolist()]]
    assert state.tracks == {key(1): 2}


def test_tracks_follow_a_chain_of_merges_in_any_order(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(one, one) for one in (1, 2, 3, 4)], [known(one) for one in (1, 2, 3, 4)])
        store.record([Merge(3, 4, 0.9, 2.0)], [])
        store.record([Merge(2, 3, 0.9, 2.0), Merge(1, 2, 0.9, 2.0)], [])
    state = load(tmp_path)
    assert [identity.identity_id for identity, _ in state.identities] == [1]
    assert state.tracks == {key(one): 1 for one in (1, 2, 3, 4)}
    assert state.next_identity_id == 5


@pytest.mark.parametrize("end", [Merge(1, 2, 0.9, 1.0), Expiry(2, 1.0)])
def test_a_number_is_not_given_again_though_its_identity_came_and_went_between_two_commits(tmp_path, end):
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(1, 1), assigned(2, 2), end], [known(1)])
        assert store.count() == 0
    state = load(tmp_path)
    assert state.next_identity_id == 3
    assert state.tracks == ({key(1): 1, key(2): 1} if isinstance(end, Merge) else {key(1): 1})


def test_tracks_of_the_last_hours_are_kept_and_older_ones_dropped(tmp_path):
    hour = 3600.0
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(1, 1, at=0.0), assigned(2, 1, at=5 * hour)], [known(1)])
        store.record([assigned(3, 1, at=12 * hour)], [known(1)])
    state = load(tmp_path)
    assert state.tracks == {key(2): 1, key(3): 1}
    assert [identity.identity_id for identity, _ in state.identities] == [1]


def test_identities_that_ended_hours_ago_leave_their_count_and_no_row(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [known(one, confirmed=one < 5) for one in range(1, 7)], [(3, 4), (5, 4)])
        store.record([Expiry(1, 2.0), Merge(2, 3, 0.9, 2.0), Expiry(5, 2.0), Expiry(6, 2.0)], [])
        before = store.count()
        store.record([assigned(7, 2, at=9 * 3600.0)], [])
        assert store.count() == before == 3  # 1, 2 and 4
        store.record([Expiry(4, 9 * 3600.0)], [])
        store.record([assigned(8, 2, at=20 * 3600.0)], [])
        assert store.count() == 3
    with closing(sqlite3.connect(path_of(tmp_path))) as db:
        assert db.execute("SELECT identity_id FROM identities ORDER BY 1").fetchall() == [(2,), (6,)]
    assert load(tmp_path).next_identity_id == 7


@pytest.mark.parametrize("parted", [[(3, 2), (1, 3)], [(3, 2), (3, 1)], [(2, 3), (1, 3)]])
def test_who_was_seen_with_half_of_a_merge_is_parted_from_the_whole_also_hours_later(tmp_path, parted):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [known(one) for one in (1, 2, 3)], parted)
        store.record([Merge(1, 2, 0.9, 2.0)], [])
        store.record([assigned(7, 1, at=9 * 3600.0)], [])
    assert {frozenset(pair) for pair in load(tmp_path).parted} == {frozenset((1, 3))}


def test_who_is_forgotten_takes_along_the_tracks_and_company_of_all_that_merged_into_them(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(one, one) for one in (1, 2, 3, 4, 5)], [known(one) for one in (1, 2, 3, 4, 5)])
        store.record([Merge(2, 3, 0.9, 1.0), Merge(1, 2, 0.9, 1.0)], [], [(3, 4), (5, 1), (4, 5)])
        store.record([Expiry(1, 2.0)], [])
    state = load(tmp_path)
    assert state.tracks == {key(4): 4, key(5): 5}
    assert state.parted == ((4, 5),)
    assert state.next_identity_id == 6


def test_who_was_seen_together_survives_with_merges_carried_out(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [known(one) for one in (1, 2, 3)], [(3, 2), (3, 2)])
        store.record([Merge(1, 3, 0.9, 1.0)], [], [(1, 2)])
    assert set(load(tmp_path).parted) == {(1, 2)}


def test_what_cameras_add_survives_a_reopening_the_newest_of_each(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [], learnt=Knowledge((CameraMean("b", 1, X), CameraMean("a", 1, Y))))
        store.record([], [], learnt=Knowledge((CameraMean("b", 2, Z),)))
    found = [(one.camera_id, one.people, one.mean.tolist()) for one in load(tmp_path).learnt.means]
    assert found == [("a", 1, Y.tolist()), ("b", 2, Z.tolist())]


def test_what_varies_within_tracks_survives_a_reopening(tmp_path):
    assert load(tmp_path).learnt.variation is None
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [], learnt=Knowledge(variation=Variation(5, np.eye(3, dtype=np.float32))))
        store.record([], [], learnt=Knowledge(variation=Variation(7, np.arange(9, dtype=np.float32).reshape(3, 3))))
        store.record([], [known(1)])
    found = load(tmp_path).learnt.variation
    assert (found.changes, found.squares.tolist()) == (7, np.arange(9).reshape(3, 3).tolist())


@pytest.mark.parametrize("squares", [b"12", np.full(9, np.nan, np.float32).tobytes()])
def test_a_damaged_variation_is_told(tmp_path, squares):
    load(tmp_path)
    with closing(sqlite3.connect(path_of(tmp_path))) as file, file:
        file.execute("INSERT INTO variation VALUES (0, 7, ?)", (squares,))
    with pytest.raises(StoreError, match="is damaged: "):
        load(tmp_path)


def test_where_somebody_was_seen_last_survives_a_reopening(tmp_path):
    one = known(1, cameras="ab")
    with Store(path_of(tmp_path), 3) as store:
        for camera in ("a", "b"):
            store.record([], [Known(replace(one.identity, last_camera=camera), one.keys)])
    ((identity, _),) = load(tmp_path).identities
    assert identity.last_camera == "b"


def test_how_long_ways_take_survives_a_reopening_the_newest_of_each(tmp_path):
    few, many = np.ones(SPANS, np.float32), np.arange(SPANS, dtype=np.float32)
    with Store(path_of(tmp_path), 3) as store:
        ways = (Transition("a", "b", few, few), Transition("b", "a", few, few))
        store.record([], [], learnt=Knowledge(transitions=ways))
        store.record([], [], learnt=Knowledge(transitions=(Transition("a", "b", many, few),)))
    found = {(way.came_from, way.came_to): way for way in load(tmp_path).learnt.transitions}
    assert [*found] == [("a", "b"), ("b", "a")]
    np.testing.assert_array_equal(found["a", "b"].chances, many)
    np.testing.assert_array_equal(found["b", "a"].arrivals, few)


@pytest.mark.parametrize("counts", [b"1234", np.full(SPANS, np.nan, np.float32).tobytes(), -np.ones(SPANS, np.float32)])
def test_damaged_times_are_told(tmp_path, counts):
    load(tmp_path)
    with closing(sqlite3.connect(path_of(tmp_path))) as file, file:
        file.execute("INSERT INTO transitions VALUES ('a', 'b', ?, ?)", (np.ones(SPANS, np.float32).tobytes(), counts))
    with pytest.raises(StoreError, match="is damaged: the way from a to b has no 14 counts twice"):
        load(tmp_path)


@pytest.mark.parametrize("removed", [True, False])
def test_a_store_of_descriptors_with_another_bias_is_refused(tmp_path, removed):
    with Store(path_of(tmp_path), 3, bias_removed=removed):
        pass
    words = "camera bias is (removed|left), expected .*; set matcher.remove_camera_bias back, or use another run"
    with pytest.raises(StoreError, match=words), Store(path_of(tmp_path), 3, bias_removed=not removed):
        pass


def test_the_count_holds_confirmed_people_once_the_forgotten_included(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [known(one, confirmed=one != 4) for one in (1, 2, 3, 4)])
        store.record([Merge(1, 2, 0.9, 1.0), Expiry(3, 1.0)], [])
        assert store.count() == 2


def test_people_who_were_confirmed_and_ended_before_they_could_be_stored_are_counted_once(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        ends = [Confirmation(1, 0.0), Merge(2, 1, 0.9, 1.0), Expiry(2, 2.0), Confirmation(3, 0.0), Expiry(3, 2.0)]
        store.record(ends, [])
        assert store.count() == 2
        assert store.load().identities == ()


def test_an_identity_that_ended_leaves_no_prototypes(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [known(one) for one in (1, 2, 3)])
        store.record([Merge(1, 2, 0.9, 1.0), Expiry(3, 1.0)], [])
    with closing(sqlite3.connect(path_of(tmp_path))) as file:
        kept = file.execute("SELECT identity_id FROM identities WHERE prototypes NOTNULL OR keys NOTNULL").fetchall()
    assert kept == [(1,)]


def test_an_identity_of_no_prototypes_is_kept(tmp_path):
    nobody = Known(Identity(1, np.zeros((0, 3), np.float32), 0.0, 0.0, frozenset(), False), ())
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [nobody])
    ((identity, keys),) = load(tmp_path).identities
    assert (identity.prototypes.shape, identity.cameras, keys) == ((0, 3), frozenset(), ())


def test_a_store_of_another_descriptor_length_is_refused(tmp_path):
    load(tmp_path)
    with (
        pytest.raises(StoreError, match="dimension is 3, expected 512; use the re-ID model that wrote it"),
        Store(path_of(tmp_path), 512),
    ):
        pass


@pytest.mark.parametrize("content", [None, b"not a database, but long enough to have a header" * 4])
def test_what_is_no_store_is_refused(tmp_path, content):
    path_of(tmp_path).mkdir() if content is None else path_of(tmp_path).write_bytes(content)
    advice = "check the path" if content is None else "restore a backup, or use another run directory"
    with pytest.raises(StoreError, match=f"cannot open the identity store: .*; {advice}"):
        load(tmp_path)


def test_a_store_of_another_network_is_refused_and_one_of_an_unknown_network_taken_over(tmp_path):
    load(tmp_path)
    for network in ("a" * 64, "a" * 64, ""):
        with Store(path_of(tmp_path), 3, network=network):
            pass
    refused = pytest.raises(StoreError, match=r"network is a{16}, expected b{16}; set reid.model back, or use another")
    with refused, Store(path_of(tmp_path), 3, network="b" * 64):
        pass


DAMAGE = [
    "UPDATE identities SET prototypes = X'00' WHERE identity_id = 2",
    "UPDATE identities SET prototypes = X'0000C07F0000C07F0000C07F' WHERE identity_id = 2",
    "UPDATE identities SET prototypes = NULL WHERE identity_id = 2",
    "UPDATE identities SET prototypes = 'text' WHERE identity_id = 2",
    "UPDATE identities SET weights = X'0000803F0000803F' WHERE identity_id = 2",
    "UPDATE identities SET weights = NULL WHERE identity_id = 2",
    "UPDATE identities SET keys = X'C1' WHERE identity_id = 2",
    "UPDATE identities SET keys = X'90' WHERE identity_id = 2",
    "UPDATE identities SET first_seen = 'noon' WHERE identity_id = 2",
    "UPDATE identities SET cameras = NULL WHERE identity_id = 2",
    "UPDATE identities SET became = 1 WHERE identity_id IN (1, 2)",
    "UPDATE identities SET cameras = CAST(X'FF' AS TEXT) WHERE identity_id = 2",
    "UPDATE tracks SET identity_id = 'nobody'",
    "UPDATE parted SET other = 'nobody'",
    "UPDATE cameras SET people = 0",
    "UPDATE cameras SET people = 'two'",
    "UPDATE cameras SET mean = X'0000803F'",
    "UPDATE cameras SET mean = X'0000803F0000803F00'",
    "UPDATE cameras SET mean = X'0000C07F0000C07F0000C07F'",
    "UPDATE cameras SET mean = NULL",
    "DROP TABLE tracks; CREATE TABLE tracks (identity_id, decided_at)",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store_is_one_clear_error(tmp_path, damage):
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(1, 1)], [known(1), known(2)], [(1, 2)], Knowledge((CameraMean("a", 1, X),)))
    with closing(sqlite3.connect(path_of(tmp_path))) as file:
        file.executescript(damage)
    with pytest.raises(StoreError, match=r"identities.db: .*damaged: .*; restore a backup, or use another") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_store_with_damaged_pages_is_one_clear_error(tmp_path):
    with Store(path_of(tmp_path), 3) as store:
        store.record([], [known(one, *np.eye(3)) for one in range(1, 400)])
    content = path_of(tmp_path).read_bytes()
    path_of(tmp_path).write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))
    with pytest.raises(StoreError, match=r"identities.db: .*identity store"):
        load(tmp_path)


def test_on_a_full_disk_nothing_is_half_written_and_later_everything_is(tmp_path):
    people = [known(one, *np.eye(3)) for one in range(2, 400)]
    with Store(path_of(tmp_path), 3) as store:
        store.record([assigned(1, 1)], [known(1)])
        size = max(one.stat().st_size for one in tmp_path.iterdir())
        with full_disk(size + 8192):
            with pytest.raises(StoreError, match=r"cannot write: .*; free space there, nothing is lost yet"):
                store.record([assigned(2, 2)], people)
            assert [identity.identity_id for identity, _ in store.load().identities] == [1]
        store.record([assigned(2, 2)], people)
    state = load(tmp_path)
    assert [identity.identity_id for identity, _ in state.identities] == list(range(1, 400))
    assert state.tracks == {key(1): 1, key(2): 2}


def test_a_full_disk_at_the_start_is_told(tmp_path):
    with full_disk(100), pytest.raises(DiskError, match=r"cannot open the identity store: .*; free space there"):
        load(tmp_path)


def test_what_was_recorded_survives_a_kill(tmp_path):
    script = """
        import os, pathlib, signal, sys
        from tests.pipeline.test_store import Store, assigned, known
        with Store(pathlib.Path(sys.argv[1]), 3) as store:
            store.record([assigned(1, 1)], [known(1)])
            store._db.execute("BEGIN IMMEDIATE")
            store._put(assigned(1, 9))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), path_of(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert load(tmp_path).tracks == {key(1): 1}
