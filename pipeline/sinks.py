"""The run directory: events.jsonl, tracks/<camera>.txt and summary.json. What a full disk refuses is written later."""

import fcntl
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from pipeline.datatypes import (
    Assignment,
    CameraIdentities,
    CameraState,
    Confirmation,
    Decision,
    EndedTrack,
    Expiry,
    Merge,
    TrackIdentity,
    TrackKey,
)
from pipeline.errors import StoreError
from pipeline.kept_tracks import FRAME, KeptTracks, boxes_path
from pipeline.lines import AppendFile

_WAITING_LIMIT = 1000  # boxes of one track that wait for an identity
_WAITING_TRACKS = 1000  # tracks whose boxes wait; of more the oldest, whose end was never told, is given up
_BEFORE = -1  # the epoch of what an earlier run or matcher wrote


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Holds a run directory, so that no second run writes into it; the kernel lets go of it whatever happens.

    Raises:
        StoreError: another run holds it, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context((out / ".lock").open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{out}: another run is writing there; wait for its end or give another --out") from error
        except OSError as error:
            raise StoreError(f"{out}: cannot write: {error.strerror}; give another --out") from error
        yield


@dataclass(frozen=True, slots=True)
class _Numbering:
    """Frame numbers of one camera, each larger than those before, also when a worker that began anew counts from less.

    Attributes:
        offset: what this epoch's numbers are raised by.
        last: the number of the newest frame.
    """

    epoch: int
    offset: int = 0
    last: int = 0

    def after(self, epoch: int, frame_index: int) -> "_Numbering":
        """With one more frame."""
        offset = self.offset if epoch == self.epoch else max(0, self.last - frame_index)
        return _Numbering(epoch, offset, frame_index + 1 + offset)


class RunWriter:
    """Writes events and tracks as they are decided; `with` opens and closes the files.

    A track's boxes wait until it has its first identity and are written with that; later ones carry the identity that
    holds at their frame. Boxes of tracks that never get one are not written, nor are those that waited too long.

    Args:
        fresh: start the files anew (a replay) instead of after an earlier run (a restart).
        tracklets: also keep tracks as their cameras follow them, see `pipeline.kept_tracks`.
    """

    def __init__(self, out: Path, camera_ids: Sequence[str], *, fresh: bool, tracklets: bool = False) -> None:
        self._events = AppendFile(out / "events.jsonl", fresh=fresh)
        self._tracks = {one: AppendFile(out / "tracks" / f"{one}.txt", fresh=fresh) for one in camera_ids}
        self._kept = {one: KeptTracks(out, one, fresh=fresh) for one in camera_ids if tracklets}
        self._waiting: dict[TrackKey, deque[str]] = {}
        self._out, self._fresh = out, fresh

    def __enter__(self) -> Self:
        self._numbering = {
            one: _Numbering(_BEFORE, last=0 if self._fresh else frames_written(self._out, one)) for one in self._tracks
        }
        for file in self._files:
            file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files:
            file.__exit__(kind, value, at)

    @property
    def _files(self) -> "tuple[AppendFile | KeptTracks, ...]":
        return (self._events, *self._tracks.values(), *self._kept.values())

    def camera(self, state: CameraState) -> None:
        """Notes that a camera came up or went down."""
        kind = "camera_up" if state.up else "camera_down"
        self._event(state.at, kind, camera=state.camera_id, **({} if state.up else {"reason": state.reason}))

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Notes decisions in the order in which they hold."""
        for decision in decisions:
            name, facts = _described(decision)
            self._event(decision.decided_at, name, **facts)
            if isinstance(decision, Assignment):
                lines = self._waiting.pop(decision.track, deque())
                self._tracks[decision.track.camera_id].write("".join(line % decision.identity_id for line in lines))

    def end(self, tracks: Sequence[EndedTrack], at: float) -> None:
        """Notes tracks that are over."""
        for ended in tracks:
            since, until = round(ended.first_seen, 3), round(ended.last_seen, 3)
            facts = {**_named(ended.track), "identity": ended.identity_id, "since": since, "until": until}
            self._event(at, "track_ended", **facts)
            if kept := self._kept.get(ended.track.camera_id):
                kept.end(ended)

    def see(self, seen: CameraIdentities) -> None:
        """Writes the boxes of one frame, MOT format, frames counted from 1."""
        numbering = self._numbering[seen.camera_id]
        if seen.epoch < numbering.epoch:  # a late word of a worker that is gone
            return
        if seen.epoch > numbering.epoch:  # the worker began anew
            self._waiting = {key: kept for key, kept in self._waiting.items() if key.camera_id != seen.camera_id}
        numbering = self._numbering[seen.camera_id] = numbering.after(seen.epoch, seen.frame_index)
        boxes = [_box(track) for track in seen.tracks]
        if kept := self._kept.get(seen.camera_id):
            kept.see(seen.epoch, numbering.last, [track.track_id for track in seen.tracks], boxes)
        lines = []
        for track, box in zip(seen.tracks, boxes, strict=True):
            line = f"{numbering.last},%d,{box},-1,-1,-1\n"
            if track.identity_id is None:
                key = TrackKey(seen.camera_id, seen.epoch, track.track_id)
                self._waiting.setdefault(key, deque(maxlen=_WAITING_LIMIT)).append(line)
                if len(self._waiting) > _WAITING_TRACKS:
                    del self._waiting[next(iter(self._waiting))]
            else:
                lines.append(line % track.identity_id)
        if lines:
            self._tracks[seen.camera_id].write("".join(lines))

    def close_track(self, key: TrackKey) -> None:
        """Forgets the waiting boxes of a track that ended."""
        self._waiting.pop(key, None)

    def _event(self, at: float, event: str, **facts: object) -> None:
        line = {"at": round(at, 3), "event": event, **facts}
        self._events.write(msgspec.json.encode(line).decode() + "\n")


def frames_written(out: Path, camera_id: str) -> int:
    """Highest frame number among the last 64 KiB of a camera's boxes in a run directory; 0 when there are none.

    Raises:
        StoreError: a file cannot be read, or holds no boxes.
    """
    return max(_last_frame(out / "tracks" / f"{camera_id}.txt", 0), _last_frame(boxes_path(out, camera_id), FRAME))


def _last_frame(path: Path, column: int) -> int:
    try:
        with path.open("rb") as file:
            start = file.seek(max(0, path.stat().st_size - 2**16))
            lines = file.read().split(b"\n")[start > 0 : -1]  # whole ones
        return max((int(line.split(b",")[column]) for line in lines), default=0)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(f"{path}: cannot go on after the boxes there: {error}; give another --out") from error


def _box(track: TrackIdentity) -> str:
    x1, y1, x2, y2 = (float(value) for value in track.box_xyxy)
    return f"{x1:.1f},{y1:.1f},{x2 - x1:.1f},{y2 - y1:.1f},{track.score:.3f}"


def _named(track: TrackKey) -> dict[str, object]:
    return {"camera": track.camera_id, "epoch": track.epoch, "track": track.track_id}


def _described(decision: Decision) -> tuple[str, dict[str, object]]:
    match decision:
        case Assignment(track=track):
            similarity = None if math.isnan(decision.similarity) else round(decision.similarity, 4)
            return "assignment", {
                **_named(track),
                "identity": decision.identity_id,
                "similarity": similarity,
                "new": decision.is_new,
                "replaces": decision.replaces,
            }
        case Merge():
            similarity = round(decision.similarity, 4)
            return "merge", {"identity": decision.identity_id, "replaces": decision.replaces, "similarity": similarity}
        case Confirmation():
            return "confirmed", {"identity": decision.identity_id}
        case Expiry():
            return "expired", {"identity": decision.identity_id}


def write_json(path: Path, value: object) -> None:
    """Replaces a JSON file in one move, so that a reader never sees half of it.

    Raises:
        StoreError: it cannot be written; the former file is still there.
    """
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file in one move, so that a reader never sees half of it.

    Raises:
        StoreError: it cannot be written; the former file is still there.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise StoreError(f"{path}: cannot write: {error.strerror}; free space there or give another --out") from error


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file in one move; the former one is still there where that raises an OSError."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
