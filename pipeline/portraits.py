"""A good view of every track, kept as a picture in the run directory: for people to look at, not for the pipeline."""

import logging
from pathlib import Path

import cv2

from pipeline.datatypes import U8, TrackKey
from pipeline.sinks import replace_file

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
    """Pictures of open tracks, each replaced as soon as there is a clearly better one."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._quality: dict[TrackKey, float] = {}  # of what is on disk
        self._failing = False

    def show(self, track: TrackKey, crop_bgr: U8, quality: float) -> None:
        """One more view (h, w, 3) of a track; where it cannot be written, a later one is tried again."""
        if quality < _BETTER * self._quality.get(track, 0.0):
            return
        scale = min(1.0, _MOST_ROWS / crop_bgr.shape[0])
        small = cv2.resize(crop_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else crop_bgr
        path = portrait_path(self._run, track)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, cv2.imencode(".jpg", small, _JPEG)[1].tobytes())
        except OSError as error:
            if not self._failing:
                log.error("%s: cannot write: %s; the run goes on without new pictures", path, error.strerror)
            self._failing = True
            return
        self._failing = False
        self._quality[track] = quality

    def forget(self, track: TrackKey) -> None:
        """The track has ended: its picture stays as it is."""
        self._quality.pop(track, None)
