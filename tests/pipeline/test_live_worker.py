"""What a worker keeps for a matcher that is away."""

import zmq

from pipeline.datatypes import CameraState
from pipeline.live_worker import Outbox
from pipeline.wire import Context, Sender
from tests.fakes import tracklet, update


def test_closing_messages_are_kept_up_to_a_limit_and_others_dropped():
    with Context() as context, Sender(context, zmq.PUSH, "inproc://nobody", 1) as sender:
        outbox = Outbox(sender)
        assert outbox.send(CameraState("a", 0.0, up=True))  # the socket takes one
        assert not outbox.send(update("a", 1.0, tracklet(1, [1, 0, 0], at=1.0)))
        closing = update("a", 2.0, tracklet(1, [1, 0, 0], at=2.0, closed=True))
        assert [outbox.send(closing) for _ in range(257)] == [True] * 256 + [False]
