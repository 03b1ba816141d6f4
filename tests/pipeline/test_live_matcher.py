"""The desk of the matcher process: what happens to messages when the identity store cannot be opened."""

import logging
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import zmq

from pipeline.config import CameraConfig, Site
from pipeline.datatypes import CameraIdentities, CameraState
from pipeline.job import Addresses, Job
from pipeline.live_matcher import MatcherDesk
from pipeline.sinks import RunWriter
from pipeline.wire import Context, Receiver, Sender
from tests.fakes import tracklet, update
from tests.pipeline.disk import full_disk

X, Y, _ = np.eye(3, dtype=np.float32)


@contextmanager
def desk_and_listener(out):
    cameras = (CameraConfig("a", "a.mp4"),)
    job = Job(Site(cameras=cameras), out, Addresses("", "", "", ""), cameras)
    with Context() as context, ExitStack() as stack:
        heard = stack.enter_context(Receiver(context, zmq.PULL, "inproc://answers", 64))
        answers = stack.enter_context(Sender(context, zmq.PUSH, "inproc://answers", 64))
        writer = stack.enter_context(RunWriter(out, ["a"], fresh=False))
        yield MatcherDesk(job, writer, answers, stack), heard


def people(answers):
    assert all(isinstance(one, CameraIdentities) for one in answers)
    return [[track.identity_id for track in one.tracks] for one in answers]


def test_updates_wait_for_a_disk_on_which_the_store_can_be_opened(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("pipeline.live_matcher.REPORT_S", 0.01)
    with (
        desk_and_listener(tmp_path) as (desk, heard),
        Context() as context,
        Receiver(context, zmq.PULL, "inproc://tracklets", 64) as tracklets,
        Sender(context, zmq.PUSH, "inproc://tracklets", 64) as worker,
    ):
        with full_disk(100):
            for message in (CameraState("a", 0.0, up=True), update("a", 0.1, tracklet(1, X, at=0.1))):
                worker.send(message)
                desk.serve(tracklets)
            worker.send(update("a", 0.2, tracklet(1, X, at=0.2), tracklet(2, Y, at=0.2)))
            for _ in range(3):
                desk.serve(tracklets)
            assert heard.receive(0.0) == []
            assert len(tracklets.receive(0.0)) == 1, "it was taken in while the first one waited"
        worker.send(update("a", 0.3, tracklet(1, X, at=0.3), tracklet(2, Y, at=0.3)))
        for _ in range(2):
            desk.serve(tracklets)
        assert people(heard.receive(1.0)) == [[1], [1, 2]]
        desk.finish()
    assert (tmp_path / "events.jsonl").read_text().count("camera_up") == 1
    full, going_on = (one.message for one in caplog.records if one.levelno >= logging.WARNING)
    assert "free space there; until then nobody is identified, and frames are dropped" in full
    assert going_on == "identity store: could be opened, going on"


def test_updates_that_waited_in_vain_are_told(tmp_path, caplog):
    with desk_and_listener(tmp_path) as (desk, _), full_disk(100):
        desk.take([update("a", 0.1, tracklet(1, X, at=0.1))] * 2)
        desk.finish()
    assert "matcher: 2 frames came before the identity store could be opened and are lost" in caplog.messages


@pytest.mark.parametrize("length", [2, 4])
def test_embeddings_of_another_length_are_refused(tmp_path, caplog, length):
    with desk_and_listener(tmp_path) as (desk, heard):
        desk.take([update("a", 0.1, tracklet(1, X, at=0.1))])
        desk.take([update("a", 0.2, tracklet(2, np.eye(length, dtype=np.float32)[0], at=0.2))])
        assert people(heard.receive(1.0)) == [[1]]
    assert "all workers must use one re-ID model" in caplog.text
