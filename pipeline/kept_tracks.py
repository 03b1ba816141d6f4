"""Tracks as their cameras follow them, kept in the run directory: boxes and looks, whatever identity they had.

`tracklets/<camera>.csv` has a line a box (epoch, track, frame, x, y, width, height, score), `tracklets/<camera>.jsonl`
one for each track that ended.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, NamedTuple, Self

import msgspec
import numpy as np
from msgspec import Meta

from pipeline.datatypes import F32, EndedTrack, TrackKey
from pipeline.errors import ConfigError
from pipeline.events import MOST, whole_lines
from pipeline.lines import AppendFile

FRAME = 2  # the column of a box's frame


def boxes_path(run: Path, camera_id: str) -> Path:
    """Where the boxes of a camera's tracks are kept."""
    return folder(run) / f"{camera_id}.csv"


def folder(run: Path) -> Path:
    """Where a run's tracks are kept."""
    return run / "tracklets"


def kept_files(run: Path) -> list[Path]:
    """Files of the tracks that a run has kept."""
    return [*folder(run).glob("*.csv"), *folder(run).glob("*.jsonl")]


class _Line(msgspec.Struct, frozen=True):
    """A track that ended; its descriptor in base64, little-endian float16."""

    epoch: int
    track: int
    identity: Annotated[int, Meta(ge=1, lt=MOST)]
    since: float
    until: float
    descriptor: bytes


class KeptTrack(NamedTuple):
    """A track that ended: whose it was then, from when to when it was seen, and its unit descriptor (D,)."""

    key: TrackKey
    identity_id: int
    since: float
    until: float
    descriptor: F32


class KeptBox(NamedTuple):
    """A box of a track: its frame, counted from 1, and `x,y,width,height,score` as written."""

    key: TrackKey
    frame: int
    box: str


class KeptTracks:
    """Keeps the tracks of one camera; `with` opens and closes the files.

    Args:
        fresh: start the files anew instead of after an earlier run.
    """

    def __init__(self, run: Path, camera_id: str, *, fresh: bool) -> None:
        self._boxes = AppendFile(boxes_path(run, camera_id), fresh=fresh)
        self._looks = AppendFile(folder(run) / f"{camera_id}.jsonl", fresh=fresh)

    def __enter__(self) -> Self:
        self._boxes.__enter__()
        self._looks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._boxes.__exit__(kind, value, at)
        self._looks.__exit__(kind, value, at)

    def see(self, epoch: int, frame: int, tracks: Sequence[int], boxes: Sequence[str]) -> None:
        """Keeps the boxes of a frame, `x,y,width,height,score` each."""
        if tracks:
            lines = (f"{epoch},{track},{frame},{box}\n" for track, box in zip(tracks, boxes, strict=True))
            self._boxes.write("".join(lines))

    def end(self, ended: EndedTrack) -> None:
        """Keeps what a track looked like; one that was never described is left out."""
        if len(ended.descriptor):
            looks = ended.descriptor.astype("<f2").tobytes()
            since, until = round(ended.first_seen, 3), round(ended.last_seen, 3)
            line = _Line(ended.track.epoch, ended.track.track_id, ended.identity_id, since, until, looks)
            self._looks.write(msgspec.json.encode(line).decode() + "\n")


def read_tracks(run: Path) -> list[KeptTrack]:
    """All tracks that were kept, by camera, each once.

    Raises:
        ConfigError: there are none, or a line is none.
    """
    found: dict[TrackKey, KeptTrack] = {}
    length = 0
    for path in sorted(folder(run).glob("*.jsonl")):
        for number, line in whole_lines(path, "tracks"):
            try:
                track = _track(path.stem, line)
            except (msgspec.DecodeError, ValueError) as error:
                raise ConfigError(f"{path}: line {number} is no track: {error}; delete the line") from error
            length = length or len(track.descriptor)
            if len(track.descriptor) != length:
                told = f"{len(track.descriptor)} numbers, not {length} as the tracks before"
                raise ConfigError(
                    f"{path}: line {number} is of another network: {told}; delete the lines of one of them"
                )
            found[track.key] = track
    if not run.is_dir():
        raise ConfigError(f"{run}: no such folder; give a run directory")
    if not found:
        raise ConfigError(f"{folder(run)}: holds no tracks, or none that ended; `run --tracklets` keeps them")
    return [*found.values()]


def read_kept_boxes(run: Path, camera_id: str) -> Iterator[KeptBox]:
    """The boxes of a camera's tracks, in the order in which they were seen.

    Raises:
        ConfigError: the file cannot be read, or a line is no box.
    """
    path = boxes_path(run, camera_id)
    for number, line in whole_lines(path, "boxes"):
        try:
            epoch, track, frame, box = line.rstrip().split(",", 3)
            yield KeptBox(TrackKey(camera_id, int(epoch), int(track)), int(frame), box)
        except ValueError as error:
            raise ConfigError(f"{path}: line {number} is no box of a track: {line[:80]!r}; delete the line") from error


def _track(camera_id: str, line: str) -> KeptTrack:
    one = msgspec.json.decode(line.encode("utf-8", "surrogateescape"), type=_Line)
    descriptor = np.frombuffer(one.descriptor, "<f2").astype(np.float32)
    length = float(np.linalg.norm(descriptor))
    if not (math.isfinite(length) and length > 0):
        raise ValueError("its descriptor has no length")
    if not (math.isfinite(one.since) and one.since <= one.until < math.inf):
        raise ValueError(f"seen from {one.since} to {one.until}")
    key = TrackKey(camera_id, one.epoch, one.track)
    return KeptTrack(key, one.identity, one.since, one.until, descriptor / np.float32(length))
