"""Messages survive the wire, and whatever else arrives there is refused with one kind of error."""

import contextlib
import math

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline import wire
from pipeline.datatypes import (
    Assignment,
    CameraIdentities,
    CameraState,
    CameraUpdate,
    Confirmation,
    Expiry,
    Merge,
    TrackIdentity,
    TrackKey,
    Tracklet,
    View,
)
from pipeline.errors import WireError
from pipeline.telemetry import CameraCounters, MatcherReport, WorkerReport
from tests.fakes import tracklet, update

ids = st.integers(0, 2**53)
names = st.text(max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def rows(*shape):
    return arrays.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))


@st.composite
def tracklets(draw):
    count, length = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    return Tracklet(
        draw(ids),
        draw(ids),
        draw(numbers),
        draw(numbers),
        draw(rows(count, length)),
        draw(rows(count)),
        draw(rows(4)),
        draw(numbers),
        draw(st.booleans()),
    )


keys = st.builds(TrackKey, names, ids, ids)
seen = st.builds(TrackIdentity, ids, st.none() | ids, rows(4), numbers)
counters = st.builds(CameraCounters, frames=ids, dropped=st.dictionaries(names, ids, max_size=2), reason=names)
messages = st.one_of(
    st.builds(CameraUpdate, names, ids, ids, numbers, numbers, st.lists(tracklets(), max_size=3).map(tuple)),
    st.builds(CameraState, names, numbers, st.booleans(), names),
    st.builds(CameraIdentities, names, ids, ids, numbers, numbers, numbers, st.lists(seen, max_size=3).map(tuple)),
    st.builds(Assignment, keys, ids, st.floats(), st.booleans(), st.none() | ids, numbers),
    st.builds(Merge, ids, ids, numbers, numbers),
    st.builds(Confirmation, ids, numbers),
    st.builds(Expiry, ids, numbers),
    st.builds(View, names, ids, numbers, numbers, st.binary(max_size=9)),
    st.builds(WorkerReport, ids, ids, numbers, st.dictionaries(names, counters, max_size=2)),
    st.builds(MatcherReport, ids, numbers, ids, ids, st.lists(ids, max_size=3), ids, ids),
)


def same(a, b):
    """Equality of messages, arrays and nan included."""
    if isinstance(a, msgspec.Struct):
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in a.__struct_fields__)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return a == b


@given(messages)
def test_every_message_arrives_as_it_was_sent(message):
    assert same(wire.decode(wire.encode(message)), message)


@given(messages, st.data())
def test_a_truncated_message_is_refused(message, data):
    schema, body = wire.encode(message)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(WireError, match=f"message of {cut} bytes cannot be read: .*it was cut or altered"):
        wire.decode([schema, body[:cut]])


@given(messages, st.data())
def test_an_altered_message_is_refused_or_read_as_another(message, data):
    schema, body = wire.encode(message)
    altered = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        wire.decode([schema, bytes(altered)])


@given(st.binary(max_size=64))
def test_random_bytes_are_refused(body):
    with pytest.raises(WireError):
        wire.decode([wire.SCHEMA, body])


def encoded_with_box(box):
    plain = {"type": "CameraIdentities", "camera_id": "a", "epoch": 1, "frame_index": 0, "captured_at": 0.0}
    plain |= {"arrived_at": 0.0, "decided_at": 0.0}
    plain["tracks"] = [{"track_id": 1, "identity_id": 1, "box_xyxy": box, "score": 1.0}]
    return [wire.SCHEMA, msgspec.msgpack.encode(plain)]


def nested(depth):
    return encoded_with_box(None)[1].replace(b"\xa8box_xyxy\xc0", b"\xa8box_xyxy" + b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize(
    "body",
    [
        encoded_with_box([[4], b"\0" * 15])[1],
        encoded_with_box([[4], b"\0" * 20])[1],
        encoded_with_box([[-1], b"\0" * 8])[1],
        encoded_with_box([[2**64 - 1], b""])[1],
        encoded_with_box([[2**63 - 1, 2**63 - 1], b""])[1],
        encoded_with_box([[0] * 100, b""])[1],
        encoded_with_box({"a": 1})[1],
        nested(10_000),
    ],
    ids=["cut", "long", "minus one", "huge", "overflow", "100 axes", "map", "nested"],
)
def test_an_array_that_does_not_add_up_is_refused(body):
    with pytest.raises(WireError):
        wire.decode([wire.SCHEMA, body])


@pytest.mark.parametrize(
    ("parts", "named"),
    [([b"mspf-pipeline/0", b""], "mspf-pipeline/0"), ([wire.SCHEMA], wire.SCHEMA.decode()), ([], "nothing")],
)
def test_another_schema_version_is_named(parts, named):
    with pytest.raises(WireError, match=f"message of schema '{named}', expected '{wire.SCHEMA.decode()}'"):
        wire.decode(parts)


@pytest.fixture
def link():
    """A receiver and a plain socket that can send it anything."""
    with (
        zmq.Context() as context,
        wire.Receiver(context, zmq.PULL, "inproc://link", 16) as receiver,
        context.socket(zmq.PUSH) as stranger,
    ):
        stranger.connect("inproc://link")
        yield receiver, stranger


def test_unreadable_messages_that_keep_coming_do_not_hold_up_the_receiver(link):
    receiver, stranger = link
    for _ in range(3):
        stranger.send(b"hello")
    assert receiver.receive(5.0, at_most=2) == []
    assert receiver.unreadable == 2


def test_only_float32_arrays_are_sent():
    with pytest.raises(TypeError, match="float32"):
        wire.encode(View("a", 0, 0.0, np.zeros(1), b""))


def test_messages_travel_in_order_and_unreadable_ones_are_counted(link):
    receiver, sender = link
    sender.send_multipart(wire.encode(update("a", 0.0, tracklet(1, (1, 0), at=0.0))))
    sender.send(b"hello")
    sender.send_multipart(wire.encode(update("a", 1.0)))
    got = [one for _ in range(3) for one in receiver.receive(5.0, at_most=1)]
    assert [one.captured_at for one in got] == [0.0, 1.0]
    assert receiver.unreadable == 1
    assert "schema 'hello'" in receiver.last_error
    assert receiver.receive(0.0) == []


def test_a_sender_reaches_its_receiver():
    with (
        zmq.Context() as context,
        wire.Receiver(context, zmq.PULL, "inproc://link", 16) as receiver,
        wire.Sender(context, zmq.PUSH, "inproc://link", 16) as sender,
    ):
        assert sender.send(update("a", 7.0))
        assert [one.captured_at for one in receiver.receive(5.0)] == [7.0]


def test_above_the_high_water_mark_messages_are_refused_and_counted_without_waiting():
    with zmq.Context() as context, wire.Sender(context, zmq.PUSH, "inproc://nobody", 2) as sender:
        sent = [sender.send(update("a", float(at))) for at in range(5)]
    assert sent == [True, True, False, False, False]
    assert sender.refused == 3
