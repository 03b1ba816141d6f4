"""The tracks that every camera follows now, whom they are taken for, and where tracks were lost a moment ago. Pure."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.continuity import Lost
from pipeline.datatypes import F32, CameraUpdate, EndedTrack, TrackKey, Tracklet
from pipeline.gallery import mean_embedding

_ABANDONED_S = 60.0
_RECENT_S = 3.0
_NOW_S = 1.0  # so recent a sighting is of now


@dataclass(slots=True)
class OpenTrack:
    """What the matcher holds of one open track.

    Attributes:
        identity_id: None while undecided; former_id: what it was before it was undecided again.
        described_seq: of the tracklet that its identity's prototype shows.
        mean: (D,) of its embeddings, as its camera shows them.
        first_box: (4,) where it began.
        rivals: open tracks that its camera saw at the same moment, and since when.
        strangers: identities of rivals seen beside it for long enough to be sure that they are two people.
        told_at: when the last sighting of its identity was told for keeping.
    """

    tracklet: Tracklet
    identity_id: int | None
    first_box: F32
    told_at: float
    former_id: int | None = None
    described_seq: int = 0
    doubtful_since: float | None = None
    mean: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    rivals: dict[TrackKey, float] = field(default_factory=dict)
    strangers: set[int] = field(default_factory=set)

    def take_in(self, tracklet: Tracklet) -> None:
        """Replaces what is known by a later snapshot."""
        if len(tracklet.embeddings) and (tracklet.seq > self.tracklet.seq or not len(self.mean)):
            self.mean = mean_embedding(tracklet.embeddings, tracklet.quality)
        self.tracklet = tracklet

    def rename(self, replaces: int, identity_id: int) -> None:
        """Carries out a merge."""
        if self.identity_id == replaces:
            self.identity_id = identity_id
        if self.former_id == replaces:
            self.former_id = identity_id
        if replaces in self.strangers:
            self.strangers = self.strangers - {replaces} | {identity_id}


Tracks = Mapping[TrackKey, OpenTrack]


class OpenTracks:
    """The open tracks of all cameras, by camera.

    Args:
        decided: whom tracks of before a restart were taken for; their camera may follow them still.
    """

    def __init__(self, decided: Mapping[TrackKey, int]) -> None:
        self._open: dict[str, dict[TrackKey, OpenTrack]] = {}
        self._lost: dict[str, list[Lost]] = {}
        self._epoch: dict[str, int] = {}
        self._epoch_since: dict[str, float] = {}
        self._began = np.inf
        self._decided: dict[str, dict[TrackKey, int]] = {}
        self._ended: list[EndedTrack] = []
        for key, who in decided.items():
            self._decided.setdefault(key.camera_id, {})[key] = who

    def __iter__(self) -> Iterator[OpenTrack]:
        for tracks in self._open.values():
            yield from tracks.values()

    def is_late(self, update: CameraUpdate) -> bool:
        """Whether an update is of an epoch that has ended."""
        return update.epoch < self._epoch.get(update.camera_id, update.epoch)

    def begin(self, update: CameraUpdate) -> list[OpenTrack]:
        """The camera's tracks that an update ends by being of a later epoch."""
        camera = update.camera_id
        self._began = min(self._began, update.captured_at)
        if update.epoch == self._epoch.get(camera):
            return []
        self._epoch[camera], self._epoch_since[camera] = update.epoch, update.captured_at
        decided = self._decided.get(camera, {})
        self._decided[camera] = {key: who for key, who in decided.items() if key.epoch >= update.epoch}
        return self._end(camera, dict(self._open.setdefault(camera, {})), update.captured_at)

    def take_in(self, update: CameraUpdate, known: Container[int]) -> dict[TrackKey, OpenTrack]:
        """The camera's open tracks after an update, those that it closes included, by track id.

        Args:
            known: identities that are not forgotten.
        """
        tracks = self._open[update.camera_id]
        for tracklet in update.tracklets:
            key = TrackKey(update.camera_id, update.epoch, tracklet.track_id)
            if key not in tracks:
                who = self._decided[update.camera_id].pop(key, None)
                who = who if who in known else None
                tracks[key] = OpenTrack(tracklet, who, tracklet.box_xyxy, update.captured_at)
            tracks[key].take_in(tracklet)
        return dict(sorted(tracks.items()))

    def close(self, camera_id: str, now: float) -> list[OpenTrack]:
        """Takes the closed tracks of a camera away; these."""
        ended = {key: track for key, track in self._open[camera_id].items() if track.tracklet.closed}
        return self._end(camera_id, ended, now)

    def _end(self, camera_id: str, ended: Tracks, now: float) -> list[OpenTrack]:
        """Remembers for a moment where tracks ended."""
        recent = [one for one in self._lost.get(camera_id, []) if now - one.last_seen <= _RECENT_S]
        for key, track in ended.items():
            del self._open[camera_id][key]
            self._note_end(key, track)
            if track.identity_id is not None:
                recent.append(Lost(track.identity_id, track.tracklet.box_xyxy, track.tracklet.last_seen))
        self._lost[camera_id] = recent
        return list(ended.values())

    def abandon(self, now: float) -> list[OpenTrack]:
        """Takes tracks away whose closing update must have been lost; these."""
        for camera, since in self._epoch_since.items():  # by now it has told which of its tracks are still open
            if now - since > _ABANDONED_S:
                self._decided[camera] = {}
        gone = []
        for tracks in self._open.values():
            silent = [key for key, track in tracks.items() if now - track.tracklet.last_seen > _ABANDONED_S]
            for key in silent:
                gone.append(tracks.pop(key))
                self._note_end(key, gone[-1])
        return gone

    def _note_end(self, key: TrackKey, track: OpenTrack) -> None:
        who = track.former_id if track.identity_id is None else track.identity_id
        if who is not None:
            seen = track.tracklet.first_seen, track.tracklet.last_seen
            self._ended.append(EndedTrack(key, who, *seen, track.mean))

    def take_ended(self) -> tuple[EndedTrack, ...]:
        """Tracks that have, or had, an identity and ended since the last call."""
        ended, self._ended = tuple(self._ended), []
        return ended

    def in_view(self, now: float) -> set[int]:
        """Identities that cameras follow, or may follow still after a restart, when not all have been heard of."""
        followed = {track.identity_id for track in self}
        if now - self._began <= _ABANDONED_S:
            followed |= {who for decided in self._decided.values() for who in decided.values()}
        return {who for who in followed if who is not None}

    def lost(self, camera_id: str) -> list[Lost]:
        """Where a camera sees, or saw a moment ago, each identity last."""
        here = [
            Lost(one.identity_id, one.tracklet.box_xyxy, one.tracklet.last_seen)
            for one in self._open[camera_id].values()
            if one.identity_id is not None
        ]
        return here + self._lost.get(camera_id, [])

    def elsewhere(self, camera_id: str, now: float) -> dict[str, set[int]]:
        """Whom every other camera sees now."""
        return {
            other: {
                track.identity_id
                for track in tracks.values()
                if track.identity_id is not None and now - track.tracklet.last_seen <= _NOW_S
            }
            for other, tracks in self._open.items()
            if other != camera_id
        }

    def beside(self, identity_id: int) -> set[int]:
        """Identities that some camera follows at this moment beside this one."""
        followed = [{track.identity_id for track in tracks.values()} for tracks in self._open.values()]
        beside = set[int | None]().union(*(people for people in followed if identity_id in people))
        return {who for who in beside if who is not None}

    def rename(self, replaces: int, identity_id: int) -> None:
        """Carries out a merge."""
        for track in self:
            track.rename(replaces, identity_id)
        for decided in self._decided.values():
            decided.update({key: identity_id for key, who in decided.items() if who == replaces})
        self._lost = {
            camera: [replace(one, identity_id=identity_id) if one.identity_id == replaces else one for one in lost]
            for camera, lost in self._lost.items()
        }

    def forget(self, identity_id: int) -> None:
        """Nobody is a stranger to somebody forgotten."""
        for track in self:
            track.strangers.discard(identity_id)
