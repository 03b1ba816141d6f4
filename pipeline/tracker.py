"""Boxes of one camera into tracks: ByteTrack (Zhang et al., ECCV 2022) from the trackers library, behind one verb."""

from dataclasses import dataclass, replace

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

from pipeline.config import TrackerConfig
from pipeline.datatypes import Detections, Track, TrackState

# ByteTrack's Kalman noise is stated per nominal frame; timestamps scale it to the camera's real rate.
_NOMINAL_FPS = 30.0


@dataclass(frozen=True, slots=True)
class Tracked:
    """Tracks that were seen in this frame, and the last state of those that ended."""

    visible: tuple[Track, ...]
    closed: tuple[Track, ...]


class CameraTracker:
    """Tracks of one camera; ids count from 1 within this object and are never reused.

    Args:
        config: thresholds, in seconds and scores.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config
        self._byte_track = ByteTrackTracker(
            lost_track_buffer=round(config.lost_after_s * _NOMINAL_FPS),
            frame_rate=_NOMINAL_FPS,
            track_activation_threshold=config.new_track_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=config.min_iou,
            high_conf_det_threshold=config.high_score,
        )
        self._open: dict[int, Track] = {}
        self._sightings: dict[int, int] = {}
        self._named: dict[int, int] = {}  # ByteTrack's id to ours
        self._next_id = 1

    def step(self, detections: Detections, now: float) -> Tracked:
        """Tracks after one frame; `now` must grow from call to call (a repeated time changes nothing)."""
        boxes = sv.Detections(xyxy=detections.boxes_xyxy, confidence=detections.score)
        found = self._byte_track.update(boxes, timestamp=now)
        ids = found.tracker_id if found.tracker_id is not None else np.zeros(0, int)
        score = found.confidence if found.confidence is not None else np.zeros(0, np.float32)
        visible = tuple(
            self._seen(int(track_id), found.xyxy[row].astype(np.float32), float(score[row]), now)
            for row, track_id in enumerate(ids)
            if track_id >= 0
        )
        return Tracked(visible, self._close(now - self._config.lost_after_s))

    def close(self) -> tuple[Track, ...]:
        """Ends every open track, as when the camera goes away."""
        return self._close(float("inf"))

    def split(self, track: Track) -> Track:
        """A new track that goes on where this one turned out to follow somebody else; this one is no longer open."""
        byte_id = next(theirs for theirs, ours in self._named.items() if ours == track.track_id)
        del self._open[track.track_id], self._sightings[track.track_id]
        self._named[byte_id] = self._next_id
        self._next_id += 1
        after = replace(track, track_id=self._named[byte_id], first_seen=track.last_seen)
        self._open[after.track_id], self._sightings[after.track_id] = after, self._config.confirm_frames
        return after

    def _seen(self, byte_id: int, box_xyxy: np.ndarray, score: float, now: float) -> Track:
        if byte_id not in self._named:
            self._named[byte_id] = self._next_id
            self._next_id += 1
        track_id = self._named[byte_id]
        before = self._open.get(track_id)
        self._sightings[track_id] = self._sightings.get(track_id, 0) + 1
        confirmed = self._sightings[track_id] >= self._config.confirm_frames
        state = TrackState.CONFIRMED if confirmed else TrackState.TENTATIVE
        track = Track(track_id, box_xyxy, score, state, before.first_seen if before else now, now)
        self._open[track_id] = track
        return track

    def _close(self, last_seen_before: float) -> tuple[Track, ...]:
        closed = tuple(track for track in self._open.values() if track.last_seen < last_seen_before)
        for track in closed:
            del self._open[track.track_id], self._sightings[track.track_id]
        self._named = {theirs: ours for theirs, ours in self._named.items() if ours in self._open}
        return closed
