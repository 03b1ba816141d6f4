"""Messages to bytes and back, and the sockets they travel on. Nothing is ever unpickled."""

from types import TracebackType
from typing import Annotated, Any, Self

import msgspec
import numpy as np
import zmq

from pipeline.datatypes import (
    Assignment,
    CameraIdentities,
    CameraState,
    CameraUpdate,
    Confirmation,
    Expiry,
    Merge,
    Message,
    View,
)
from pipeline.errors import WireError
from pipeline.telemetry import MatcherReport, WorkerReport

SCHEMA = b"mspf-pipeline/2"  # grows whenever a message changes; both ends must agree

Context = zmq.Context[zmq.Socket[bytes]]
AnyMessage = (
    CameraUpdate
    | CameraState
    | CameraIdentities
    | Assignment
    | Merge
    | Confirmation
    | Expiry
    | View
    | WorkerReport
    | MatcherReport
)


class _Array(msgspec.Struct, frozen=True, array_like=True):
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    rows: bytes


def _from_array(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return _Array(value.shape, np.ascontiguousarray(value).tobytes())
    raise TypeError(f"cannot send {type(value).__name__}; messages hold plain values and float32 arrays")


def _to_array(kind: type, value: Any) -> Any:
    found = msgspec.convert(value, _Array)
    return np.frombuffer(found.rows, np.float32).reshape(found.shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=_from_array)
_decoder = msgspec.msgpack.Decoder(AnyMessage, dec_hook=_to_array)


def encode(message: Message) -> list[bytes]:
    """Two parts: the schema's name and the message."""
    return [SCHEMA, _encoder.encode(message)]


def decode(parts: list[bytes]) -> AnyMessage:
    """The message of two received parts; its arrays are read-only views.

    Raises:
        WireError: another schema version, a truncated or foreign message.
    """
    if len(parts) != 2 or parts[0] != SCHEMA:
        named = parts[0][:40].decode("ascii", "replace") if parts else "nothing"
        raise WireError(f"message of schema {named!r}, expected {SCHEMA.decode()!r}; run one version on all hosts")
    try:
        message: AnyMessage = _decoder.decode(parts[1])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"message of {len(parts[1])} bytes cannot be read: {error}; it was cut or altered") from error
    return message


class Sender:
    """Sends messages; never blocks: what does not fit below the high-water mark is refused and counted.

    Args:
        kind: zmq.PUSH (connects) or zmq.PUB (binds).
    """

    def __init__(self, context: Context, kind: int, address: str, high_water: int) -> None:
        self.refused = 0
        self._context = context
        self._kind = kind
        self._address = address
        self._high_water = high_water

    def send(self, message: Message) -> bool:
        """Whether the message was queued."""
        try:
            self._socket.send_multipart(encode(message), flags=zmq.NOBLOCK)
        except zmq.Again:
            self.refused += 1
            return False
        return True

    def __enter__(self) -> Self:
        self._socket = self._context.socket(self._kind)
        self._socket.setsockopt(zmq.SNDHWM, self._high_water)
        self._socket.setsockopt(zmq.LINGER, 500)
        if self._kind == zmq.PUB:
            self._socket.bind(self._address)
        else:
            self._socket.connect(self._address)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()


class Receiver:
    """Receives messages; unreadable ones are counted, and `last_error` says what was wrong with the newest.

    Args:
        kind: zmq.PULL (binds) or zmq.SUB (connects, takes everything).
    """

    def __init__(self, context: Context, kind: int, address: str, high_water: int) -> None:
        self.unreadable = 0
        self.last_error = ""
        self._context = context
        self._kind = kind
        self._address = address
        self._high_water = high_water

    def receive(self, timeout_s: float, at_most: int = 256) -> list[AnyMessage]:
        """Messages that are there, or come within the time; [] when none did or the first was unreadable."""
        messages: list[AnyMessage] = []
        wait_ms = int(timeout_s * 1000)
        for _ in range(at_most):
            if not self._socket.poll(wait_ms):
                break
            wait_ms = 0
            try:
                messages.append(decode(self._socket.recv_multipart()))
            except WireError as error:
                self.unreadable += 1
                self.last_error = str(error)
        return messages

    def __enter__(self) -> Self:
        self._socket = self._context.socket(self._kind)
        self._socket.setsockopt(zmq.RCVHWM, self._high_water)
        self._socket.setsockopt(zmq.LINGER, 0)
        if self._kind == zmq.PULL:
            self._socket.bind(self._address)
        else:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
            self._socket.connect(self._address)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
