"""The best view of every track, kept as a picture in the run directory: for people to look at, not for the pipeline."""

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2

from pipeline.datatypes import U8, TrackKey
from pipeline.errors import StoreError
from pipeline.sinks import write_whole

log = logging.getLogger(__name__)

_BETTER = 1.25  # times the quality of the picture that a view replaces: a handful of pictures a track are written
_MOST_ROWS = 320
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 85)


def folder(run: Path) -> Path:
    """Where a run's pictures are."""
    return run / "pictures"


def portrait_path(run: Path, track: TrackKey) -> Path:
    """Where the picture of a track is, if there is one."""
    return folder(run) / track.camera_id / f"{track.epoch}-{track.track_id}.jpg"


class Portraits:
    """Pictures of the open tracks of some cameras, each replaced as soon as there is a clearly better one.

    Raises:
        StoreError: their folders cannot be made.
    """

    def __init__(self, run: Path, camera_ids: Sequence[str]) -> None:
        self._run = run
        self._quality: dict[TrackKey, float] = {}  # of what is on disk
        self._failing = False
        try:
            for camera_id in camera_ids:
                (folder(run) / camera_id).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{error.filename}: cannot be made: {error.strerror}; give another --out") from error

    def show(self, track: TrackKey, crop_bgr: U8, quality: float) -> None:
        """One more view (h, w, 3) of a track; where the disk is full, a later one is tried again."""
        if quality < _BETTER * self._quality.get(track, 0.0):
            return
        scale = min(1.0, _MOST_ROWS / crop_bgr.shape[0])
        small = cv2.resize(crop_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else crop_bgr
        try:
            write_whole(portrait_path(self._run, track), cv2.imencode(".jpg", small, _JPEG)[1].tobytes())
        except StoreError as error:
            if not self._failing:
                log.error("%s; the run goes on without such pictures", error)
            self._failing = True
            return
        self._failing = False
        self._quality[track] = quality

    def forget(self, track: TrackKey) -> None:
        """The track has ended: its picture stays as it is."""
        self._quality.pop(track, None)
