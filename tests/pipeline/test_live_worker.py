"""What a worker sends, and what it keeps for a matcher that is away."""

import pytest
import zmq

from pipeline.annotate import view
from pipeline.config import CameraConfig, Site
from pipeline.datatypes import CameraState, CameraUpdate, View
from pipeline.detector import Detector
from pipeline.embedder import Embedder
from pipeline.live_worker import CameraDesk, Outbox, serve
from pipeline.sources import LiveCapture
from pipeline.wire import Context, Receiver, Sender
from pipeline.worker import Worker
from tests.fakes import bright_box_finder, colour_describer, frame, picture, tracklet, update
from tests.pipeline.clips import truncate, write_clip


def test_closing_messages_are_kept_up_to_a_limit_and_others_dropped():
    with Context() as context, Sender(context, zmq.PUSH, "inproc://nobody", 1) as sender:
        outbox = Outbox(sender)
        assert outbox.send(CameraState("a", 0.0, up=True))  # the socket takes one
        assert not outbox.send(update("a", 1.0, tracklet(1, [1, 0, 0], at=1.0)))
        assert not outbox.send(view(frame(picture())))
        closing = update("a", 2.0, tracklet(1, [1, 0, 0], at=2.0, closed=True))
        assert [outbox.send(closing) for _ in range(257)] == [True] * 256 + [False]


@pytest.mark.parametrize("whole", [1.0, 0.6])
def test_the_tracks_of_a_live_file_are_closed_when_it_ends_or_breaks(tmp_path, whole):
    person = picture((40, 20, 30, 80, (200, 200, 200)))
    path = truncate(write_clip(tmp_path / "a.ts", [person] * 30, fps=60), whole)
    cameras = (CameraConfig("a", str(path)),)
    worker = Worker(
        Site(cameras=cameras), 1, Detector(bright_box_finder(), "fake"), Embedder(colour_describer(), "fake")
    )
    messages = []
    with (
        Context() as context,
        Receiver(context, zmq.PULL, "inproc://matcher", 64) as matcher,
        Receiver(context, zmq.PULL, "inproc://views", 64) as mosaic,
        Sender(context, zmq.PUSH, "inproc://views", 64) as film,
        Sender(context, zmq.PUSH, "inproc://matcher", 64) as sender,
        LiveCapture(*cameras, lambda: None) as capture,
    ):
        desks, outbox, views = {"a": CameraDesk(capture, lost_after_s=60.0)}, Outbox(sender), Outbox(film)
        while not capture.state.ended:
            serve(worker, desks, outbox, views)
            messages += matcher.receive(0.01)
        for _ in range(3):
            serve(worker, desks, outbox, views)
        messages += matcher.receive(1.0)
        shown = mosaic.receive(1.0)
    updates = [one for one in messages if isinstance(one, CameraUpdate)]
    assert [[track.closed for track in one.tracklets] for one in updates[-2:]] == [[False], [True]]
    assert updates[-1].tracklets[0].track_id == updates[-2].tracklets[0].track_id
    assert [isinstance(one, View) for one in shown[-2:]] == [
        True,
        False,
    ]  # the mosaic hears of the end after all pictures
    assert [one.up for one in shown if isinstance(one, CameraState)] == [True, False]


def test_a_camera_that_is_down_is_over_only_when_it_was_seen_and_then_silent_for_long():
    desk = CameraDesk(LiveCapture(CameraConfig("a", "rtsp://127.0.0.1:1/"), lambda: None), lost_after_s=2.0)
    assert not desk.is_over(100.0)
    desk.processed(update("a", 0.0), 0, sent=True, now=100.0)
    assert (desk.is_over(101.9), desk.is_over(102.1)) == (False, True)
    desk.capture.state.up = True
    assert not desk.is_over(200.0)


def test_a_camera_that_came_up_says_when_by_the_clock_of_its_run():
    capture = LiveCapture(CameraConfig("a", "rtsp://127.0.0.1:1/"), lambda: None, utc=1e6)
    desk = CameraDesk(capture, lost_after_s=2.0)
    assert desk.state_change(5.0) is None
    capture.state.up, capture.state.changes = True, 1
    change = desk.state_change(5.0)
    assert (change.at, change.up) == (1e6 + 5.0, True)
