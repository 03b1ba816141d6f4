"""Frames of several cameras to tracklets: one batched detector call and one batched re-ID call a step."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import Site
from pipeline.datatypes import F32, CameraUpdate, Detections, Frame, Track, TrackKey
from pipeline.detector import Detector
from pipeline.embedder import Crop, Embedder
from pipeline.ignored import counted
from pipeline.portraits import Portraits
from pipeline.quality import box_quality, sharpness
from pipeline.tracker import CameraTracker, Tracked
from pipeline.tracklets import Fit, TrackletBook

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A crop that its camera wants described."""

    camera_id: str
    track: Track
    crop: Crop
    quality: float


@dataclass(frozen=True, slots=True)
class StepCounts:
    """People seen and crops described by the last step, for the counters."""

    visible: dict[str, int]
    crops: dict[str, int]


class Worker:
    """The per-camera state of some cameras and the two networks they share. No clock, no sockets.

    Args:
        epoch: names this worker's numbering of tracks; grows from start to start.
        portraits: keeps good views, if any are to be kept.
    """

    def __init__(
        self, site: Site, epoch: int, detector: Detector, embedder: Embedder, portraits: Portraits | None = None
    ) -> None:
        self._site = site
        self._epoch = epoch
        self._detector = detector
        self._embedder = embedder
        self._portraits = portraits
        self._ignored = {camera.id: camera.ignore for camera in site.cameras}
        self._trackers: dict[str, CameraTracker] = {}
        self._books: dict[str, TrackletBook] = {}
        self._last: dict[str, Frame] = {}
        self._warned = False
        self.counts = StepCounts({}, {})

    def step(self, frames: Sequence[Frame]) -> list[CameraUpdate]:
        """One update a frame; at most one frame a camera.

        Raises:
            EngineFailure: a network cannot run.
        """
        return self.follow(frames, self.detect(frames))

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """People in each frame, but for who stands where its camera ignores everybody."""
        found = self._detector.detect([frame.image_bgr for frame in frames])
        return [
            counted(people, self._ignored[frame.camera_id], frame.size_wh)
            for frame, people in zip(frames, found, strict=True)
        ]

    def follow(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[CameraUpdate]:
        """Tracks, describes and reports the people detected in each frame."""
        tracked = [self._track(frame, found) for frame, found in zip(frames, detections, strict=True)]
        wanted = [one for frame, seen in zip(frames, tracked, strict=True) for one in self._candidates(frame, seen)]
        chosen = sorted(wanted, key=lambda one: -one.quality)[: self._site.reid.max_batch]
        embeddings = self._embedder.embed([one.crop for one in chosen])
        fits = [
            (one, self._books[one.camera_id].add(one.track, embedding, one.quality))
            for one, embedding in zip(chosen, embeddings, strict=True)
            if self._sound(embedding)
        ]
        self._keep_pictures([one for one, fit in fits if fit is Fit.SAME])
        splits = [one for one, fit in fits if fit is Fit.ANOTHER]
        tracked = [self._split(frame, seen, splits) for frame, seen in zip(frames, tracked, strict=True)]
        self.counts = StepCounts(
            {frame.camera_id: len(seen.visible) for frame, seen in zip(frames, tracked, strict=True)},
            {frame.camera_id: sum(one.camera_id == frame.camera_id for one, _ in fits) for frame in frames},
        )
        return [self._update(frame, seen) for frame, seen in zip(frames, tracked, strict=True)]

    def finish(self, camera_id: str) -> list[CameraUpdate]:
        """Closes the tracks of a camera that has ended; [] when none is open."""
        closed = self._trackers[camera_id].close() if camera_id in self._trackers else ()
        return [self._update(self._last[camera_id], Tracked((), closed))] if closed else []

    def _sound(self, embedding: F32) -> bool:
        """Whether an embedding (D,) is one: where half precision overflows, it is not, and would resemble everybody."""
        sound = bool(np.isfinite(embedding).all())
        if not sound and not self._warned:
            log.warning("reid.model: gave numbers that are not finite; such crops are left out. Try precision: f32")
            self._warned = True
        return sound

    def _track(self, frame: Frame, detections: Detections) -> Tracked:
        if frame.camera_id not in self._trackers:
            self._trackers[frame.camera_id] = CameraTracker(self._site.tracker)
            self._books[frame.camera_id] = TrackletBook(self._site.reid, self._site.quality, self._embedder.dimension)
        self._last[frame.camera_id] = frame
        return self._trackers[frame.camera_id].step(detections, frame.captured_at)

    def _split(self, frame: Frame, seen: Tracked, splits: Sequence[_Candidate]) -> Tracked:
        """The tracks with those that became somebody else closed, and followed under a new id."""
        ended = {one.track.track_id: one.track for one in splits if one.camera_id == frame.camera_id}
        if not ended:
            return seen
        tracker = self._trackers[frame.camera_id]
        visible = tuple(tracker.split(one) if one.track_id in ended else one for one in seen.visible)
        return Tracked(visible, (*seen.closed, *ended.values()))

    def _candidates(self, frame: Frame, tracked: Tracked) -> list[_Candidate]:
        if not tracked.visible:
            return []
        boxes = np.stack([track.box_xyxy for track in tracked.visible])
        book = self._books[frame.camera_id]
        candidates = []
        for track, quality in zip(tracked.visible, box_quality(boxes, frame.size_wh, self._site.quality), strict=True):
            if book.wants(track, float(quality)):
                crop = Crop(frame.image_bgr, track.box_xyxy)
                total = float(quality) * sharpness(crop.pixels())
                if book.wants(track, total):
                    candidates.append(_Candidate(frame.camera_id, track, crop, total))
        return candidates

    def _keep_pictures(self, shown: Sequence[_Candidate]) -> None:
        if self._portraits:
            for one in shown:
                self._portraits.offer(self._key(one.camera_id, one.track), one.crop.pixels(), one.quality)

    def _key(self, camera_id: str, track: Track) -> TrackKey:
        return TrackKey(camera_id, self._epoch, track.track_id)

    def _update(self, frame: Frame, tracked: Tracked) -> CameraUpdate:
        book = self._books[frame.camera_id]
        if self._portraits:
            for track in tracked.closed:
                self._portraits.forget(self._key(frame.camera_id, track))
        tracklets = [book.snapshot(track) for track in tracked.visible]
        tracklets += [book.snapshot(track, closed=True) for track in tracked.closed]
        return CameraUpdate(
            camera_id=frame.camera_id,
            epoch=self._epoch,
            frame_index=frame.index,
            captured_at=frame.captured_at,
            arrived_at=frame.arrived_at,
            tracklets=tuple(tracklets),
        )
