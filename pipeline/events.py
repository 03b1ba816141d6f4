"""The lines of a run's files, read again, and the events among them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError
from pipeline.matcher_state import survivors

log = logging.getLogger(__name__)

MOST = 2**53  # frame or identity in a file: beyond, a float no longer counts by ones
_Identity = Annotated[int, Meta(ge=1, lt=MOST)]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """One line of events.jsonl; what nobody asks for is passed over."""

    at: float = 0.0


class _OfTrack(_Event, frozen=True, kw_only=True):
    camera: str
    epoch: int
    track: int
    identity: _Identity

    @property
    def key(self) -> TrackKey:
        """The track."""
        return TrackKey(self.camera, self.epoch, self.track)


class Assigned(_OfTrack, frozen=True, kw_only=True, tag="assignment"):
    """A track was given an identity, perhaps a new one."""

    new: bool


class TrackEnded(_OfTrack, frozen=True, kw_only=True, tag="track_ended"):
    """A camera saw a track from `since` to `until`."""

    since: float
    until: float


class Confirmed(_Event, frozen=True, kw_only=True, tag="confirmed"):
    """An identity counts from now on."""

    identity: _Identity


class Merged(_Event, frozen=True, kw_only=True, tag="merge"):
    """The identity `replaces` goes on as `identity`."""

    identity: _Identity
    replaces: _Identity


class CameraUp(_Event, frozen=True, kw_only=True, tag="camera_up"):
    """Pictures are arriving."""

    camera: str


class CameraDown(_Event, frozen=True, kw_only=True, tag="camera_down"):
    """No pictures are arriving."""

    camera: str


class Other(_Event, frozen=True, kw_only=True, tag="expired"):
    """An event of no consequence here, also of a kind that later versions know."""


Event = Assigned | TrackEnded | Confirmed | Merged | CameraUp | CameraDown | Other
_KINDS = {one.__struct_config__.tag for one in get_args(Event)}


class _Kind(msgspec.Struct):
    event: str


def whole_lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Lines that a run wrote to their end, with their numbers: one that still writes, or was killed, may leave half.

    Raises:
        ConfigError: the file cannot be read.
    """
    for number, line in lines(path, what):
        if line.endswith(("\n", "\r")):
            yield number, line
        else:
            log.warning("%s: line %d is half, its run still writes or was killed; it is left out", path, number)


def lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1, and their ends; one at a time, however long the file.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:  # half a letter may be the last
            yield from enumerate(file, start=1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read {what}: {error.strerror}") from error


def read_events(path: Path) -> Iterator[Event]:
    """The events of a file in their order.

    Raises:
        ConfigError: the file cannot be read, or a line is no event.
    """
    decoder = msgspec.json.Decoder[Event](Event)
    for number, line in whole_lines(path, "events"):
        try:
            yield _event(decoder, line.encode("utf-8", "surrogateescape"))
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}: line {number} is no event: {error}; delete the line") from error


def _event(decoder: msgspec.json.Decoder[Event], line: bytes) -> Event:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        if msgspec.json.decode(line, type=_Kind).event in _KINDS:
            raise
        return Other()


def read_merges(path: Path) -> dict[int, int]:
    """Identity to the one it is in the end; {} when the file is missing.

    Raises:
        ConfigError: a line is no event, or merges lead in a circle.
    """
    events = read_events(path) if path.is_file() else ()
    return ended_as(path, {one.replaces: one.identity for one in events if isinstance(one, Merged)})


def ended_as(path: Path, merges: dict[int, int]) -> dict[int, int]:
    """Each merged identity to the one it is in the end.

    Raises:
        ConfigError: merges lead in a circle.
    """
    try:
        return survivors(merges)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; delete one of its merges") from error
