"""Decide, commit, write down, answer: nothing decided is lost while the disk is full."""

import json

import msgspec
import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.datatypes import TrackKey
from pipeline.gallery import mean_embedding
from pipeline.match_service import MatchService
from pipeline.matcher import Matcher
from pipeline.matcher_state import NOTHING
from pipeline.sinks import RunWriter
from pipeline.store import Store
from tests.fakes import tracklet, update
from tests.pipeline.disk import full_disk

X, Y, Z = np.eye(3, dtype=np.float32)
CONFIG = MatcherConfig()


def serve(folder, updates, *, fresh=True):
    """Answers of one service that lives as long as the call."""
    with Store(folder / "identities.db", 3) as store, RunWriter(folder, ["a", "b"], fresh=fresh) as writer:
        service = MatchService(Matcher(CONFIG, 3, store.load()), store, writer)
        answers = [service.step([one])[0] for one in updates]
        assert service.unsaved == 0
        return answers


def names(answer):
    return {track.track_id: track.identity_id for track in answer.tracks}


def test_an_answer_repeats_the_frame_it_is_for(tmp_path):
    (answer,) = serve(tmp_path, [update("a", 1.5, tracklet(1, X, at=1.5), epoch=7)])
    assert (answer.camera_id, answer.epoch, answer.frame_index, answer.captured_at) == ("a", 7, 15, 1.5)
    assert answer.decided_at > 0
    assert names(answer) == {1: 1}


def test_a_service_that_starts_again_goes_on_with_the_same_identities(tmp_path):
    serve(tmp_path, [update("a", 1.0, tracklet(1, X, at=1.0), tracklet(2, Y, at=1.0))])
    again = serve(tmp_path, [update("a", 1.1, tracklet(1, X, at=1.1), tracklet(2, Y, at=1.1))], fresh=False)
    assert names(again[0]) == {1: 1, 2: 2}
    new = serve(tmp_path, [update("b", 1.2, tracklet(1, Y, at=1.2), tracklet(2, Z, at=1.2))], fresh=False)
    assert names(new[0]) == {1: 2, 2: 3}


def test_everything_of_a_track_is_written(tmp_path):
    seen = [update("a", at / 10, tracklet(1, X, at=at / 10, count=at)) for at in range(5)]
    serve(tmp_path, [*seen, update("a", 2.0, tracklet(1, X, at=0.4, count=4, closed=True))])
    lines = (tmp_path / "tracks" / "a.txt").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [[str(at + 1), "1"] for at in range(5)]
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    track = {"camera": "a", "epoch": 1, "track": 1, "identity": 1}
    assert last == {"at": 2.0, "event": "track_ended", **track, "since": 0.0, "until": 0.4}


def test_a_camera_that_ends_repeats_no_box(tmp_path):
    both = [tracklet(1, X, at=0.0), tracklet(2, Y, at=0.0, count=1)]
    closing = [tracklet(1, X, at=0.0, closed=True), tracklet(2, Y, at=0.0, closed=True)]
    serve(tmp_path, [update("a", 0.0, *both), update("a", 0.0, *closing)])
    lines = (tmp_path / "tracks" / "a.txt").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["1", "1"], ["1", "2"]]


def test_while_the_disk_is_full_decisions_wait_and_are_told_and_later_stored(tmp_path, caplog):
    directions = np.eye(64, dtype=np.float32)
    with Store(tmp_path / "identities.db", 64) as store, RunWriter(tmp_path, ["a", "b"], fresh=True) as writer:
        service = MatchService(Matcher(CONFIG, 64), store, writer)
        service.step([update("a", 0.0, tracklet(1, directions[0], at=0.0))])
        stored = max(one.stat().st_size for one in tmp_path.glob("identities*"))
        with full_disk(stored + 4096):
            for one in range(2, 40):
                (answer,) = service.step([update("a", float(one), tracklet(one, directions[one], at=float(one)))])
                assert names(answer) == {one: one}
            service.step([update("b", 40.0, tracklet(1, directions[0], at=40.0))])
            assert service.unsaved > 0
        service.save()
        assert service.unsaved == 0
        state = store.load()
    assert {one.camera_id: one.people for one in state.learnt.means} == {"a": 39, "b": 1}
    assert state.tracks == {TrackKey("a", 1, one): one for one in range(1, 40)} | {TrackKey("b", 1, 1): 1}
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["identity"] for event in events if event["event"] == "assignment"] == [*range(1, 40), 1]
    told = [message for message in caplog.messages if "identity store" in message or "nothing is lost yet" in message]
    assert len(told) == 2


def test_people_who_come_and_are_forgotten_while_the_disk_is_full_are_counted(tmp_path):
    directions = np.eye(64, dtype=np.float32)
    config = msgspec.structs.replace(CONFIG, forget_after_s=10.0)
    with Store(tmp_path / "identities.db", 64) as store, RunWriter(tmp_path, ["a"], fresh=True) as writer:
        service = MatchService(Matcher(config, 64), store, writer)
        with full_disk(max(one.stat().st_size for one in tmp_path.glob("identities*"))):
            for at in (0.0, 2.0):
                service.step([update("a", at, tracklet(1, directions[0], at=at, closed=at > 0))])
            service.step([update("a", 60.0)])
            assert service.known == 0
        service.save()
        assert service.identities == 1


def test_a_step_of_no_updates_does_nothing(tmp_path):
    with Store(tmp_path / "identities.db", 3) as store, RunWriter(tmp_path, ["a"], fresh=True) as writer:
        service = MatchService(Matcher(CONFIG, 3), store, writer)
        assert service.step([]) == []
        assert (service.known, service.identities) == (0, 0)


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_only_confirmed_people_are_counted(tmp_path, seconds):
    with Store(tmp_path / "identities.db", 3) as store, RunWriter(tmp_path, ["a"], fresh=True) as writer:
        service = MatchService(Matcher(CONFIG, 3), store, writer)
        for at in (0.0, seconds):
            service.step([update("a", at, tracklet(1, X, at=at))])
        assert (service.known, service.identities) == (1, int(seconds > 0))


def test_who_was_seen_together_is_stored(tmp_path):
    serve(tmp_path, [update("a", at, tracklet(1, X, at=at), tracklet(2, Y, at=at)) for at in (0.0, 3.0, 6.0)])
    with Store(tmp_path / "identities.db", 3) as store:
        assert [sorted(pair) for pair in store.load().parted] == [[1, 2]]


class NotingStore(Store):
    """A store that remembers which identities and pairs it was last handed."""

    def record(self, decisions, changed, parted=(), learnt=NOTHING):
        changed = [*changed]
        self.last = ([one.identity.identity_id for one in changed], [sorted(pair) for pair in parted])
        super().record(decisions, changed, parted, learnt)


def test_what_was_stored_is_not_stored_again(tmp_path):
    with NotingStore(tmp_path / "identities.db", 3) as store, RunWriter(tmp_path, ["a", "b"], fresh=True) as writer:
        service = MatchService(Matcher(CONFIG, 3), store, writer)
        for at in (0.0, 2.0, 4.0):
            service.step([update("a", at, tracklet(1, X, at=at, count=3 + int(at)), tracklet(2, Y, at=at))])
        assert store.last == ([1], [[1, 2]])
        service.step([update("b", 6.1, tracklet(1, Z, at=6.1))])
        assert store.last == ([3], [])


def test_what_cameras_add_is_stored_once_for_each_new_person(tmp_path):
    people = [update("a", at, tracklet(one, row, at=at)) for one, (at, row) in enumerate([(0.0, X), (9.0, Y)], 1)]
    serve(tmp_path, [*people, update("a", 9.1, tracklet(2, Y, at=9.1))])
    with Store(tmp_path / "identities.db", 3) as store:
        (learnt,) = store.load().learnt.means
    assert (learnt.camera_id, learnt.people, learnt.mean.tolist()) == ("a", 2, [0.5, 0.5, 0.0])


def walks(count, start=0.0):
    """A track after the other, of two views each that differ along the last axis."""
    rows = np.random.default_rng(0).standard_normal((count, 2, 64)).astype(np.float32)
    rows[:, 1, :-1] = rows[:, 0, :-1]
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    for number, views in enumerate(rows, 1):
        at = start + number
        seen = tracklet(number, views[0], at=at, since=at, count=2, closed=True)
        yield update("a", at, msgspec.structs.replace(seen, embeddings=views))


def test_what_varies_is_stored_now_and_then_and_at_the_end(tmp_path):
    config = MatcherConfig(weigh_variation=True, remove_camera_bias=False, min_embeddings=1)
    path, kept, last = tmp_path / "identities.db", [], None
    for start in (0.0, 1000.0):
        with Store(path, 64, bias_removed=False) as store, RunWriter(tmp_path, ["a"], fresh=not start) as writer:
            service = MatchService(Matcher(config, 64, store.load()), store, writer)
            for last in walks(300, start):
                service.step([last])
            kept.append(store.load().learnt.variation.changes)
            service.finish()
            state = store.load()
            kept.append(state.learnt.variation.changes)
    assert kept == [256, 300, 556, 600]
    stored = {key: row for who, keys in state.identities for key, row in zip(keys, who.prototypes, strict=True)}
    plain = mean_embedding(last.tracklets[0].embeddings, np.ones(2, np.float32))
    np.testing.assert_allclose(stored[TrackKey("a", 1, 300)], plain, atol=1e-5)  # not as it was weighed


def test_what_varies_waits_while_the_disk_is_full(tmp_path):
    config = MatcherConfig(weigh_variation=True, min_embeddings=1)
    with Store(tmp_path / "identities.db", 64) as store, RunWriter(tmp_path, ["a"], fresh=True) as writer:
        service = MatchService(Matcher(config, 64), store, writer)
        service.save()
        with full_disk(max(one.stat().st_size for one in tmp_path.glob("identities*"))):
            for one in walks(300):
                service.step([one])
        assert store.load().learnt.variation is None
        service.save()
        assert store.load().learnt.variation.changes == 256


def test_assignments_that_the_store_would_drop_at_once_do_not_pile_up_while_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.match_service._TRY_AGAIN_S", 0.0)
    hours = [3600.0 * hour for hour in range(25)]
    stores = []
    for name in ("whole", "full"):
        folder = tmp_path / name
        folder.mkdir()
        with Store(folder / "identities.db", 64) as store, RunWriter(folder, ["a"], fresh=True) as writer:
            service = MatchService(Matcher(CONFIG, 64), store, writer)
            size = max(one.stat().st_size for one in folder.glob("identities*"))
            with full_disk(size if name == "full" else 2**30):
                for track, at in enumerate(hours, 1):
                    seen = tracklet(track, np.eye(64, dtype=np.float32)[0], at=at, closed=True)
                    service.step([update("a", at, seen)])
                assert service.unsaved <= (20 if name == "full" else 0)
            service.save()
            stores.append(store.load())
    assert stores[0].tracks == stores[1].tracks
    assert len(stores[0].tracks) == 9
    assert stores[0].next_identity_id == stores[1].next_identity_id


def test_decisions_that_can_never_be_stored_are_told_at_the_end(tmp_path, caplog):
    with Store(tmp_path / "identities.db", 64) as store, RunWriter(tmp_path, ["a"], fresh=True) as writer:
        service = MatchService(Matcher(CONFIG, 64), store, writer)
        with full_disk(max(one.stat().st_size for one in tmp_path.glob("identities*"))):
            service.step([update("a", 0.0, tracklet(1, np.eye(64, dtype=np.float32)[0], at=0.0))])
            service.finish()
    assert (
        "identity store: 1 decisions and what 1 people looked like could not be written and are lost" in caplog.messages
    )
