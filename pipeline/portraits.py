"""A good view of every track, kept as a picture in the run directory: for people to look at, not for the pipeline."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import cv2

from pipeline.datatypes import U8, TrackKey
from pipeline.pictures import resized
from pipeline.sinks import replace_file

log = logging.getLogger(__name__)

_BETTER = 1.25  # times the quality of the picture that a view replaces: a handful of pictures a track are written
_MOST_ROWS = 320
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 85)


def folder(run: Path) -> Path:
    """Where a run's pictures are."""
    return run / "pictures"


def of_replays(run: Path) -> Iterator[Path]:
    """The pictures that replays have kept (their epoch is 0), whole or not; nothing that a live run or a user has."""
    return (path for path in folder(run).glob("*/*") if re.fullmatch(r"0-\d+\.jpg(\.part)?", path.name))


def portrait_path(run: Path, track: TrackKey) -> Path:
    """Where the picture of a track is, if there is one."""
    return folder(run) / track.camera_id / f"{track.epoch}-{track.track_id}.jpg"


class Portraits:
    """Pictures of open tracks, each replaced as soon as there is a clearly better one.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._quality: dict[TrackKey, float] = {}  # of what is on disk
        self._failing = False

    def offer(self, track: TrackKey, crop_bgr: U8, quality: float) -> None:
        """One more view (h, w, 3) of a track, of a quality in 0..1; where it cannot be written, it is left out."""
        if quality < _BETTER * self._quality.get(track, 0.0):
            return
        path = portrait_path(self._run, track)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, jpeg(crop_bgr))
        except OSError as error:
            if not self._failing:
                log.error("%s: cannot write: %s; pictures are left out until it can be", path, error.strerror)
            self._failing = True
            return
        if self._failing:
            log.warning("%s: writing again", path)
        self._failing = False
        self._quality[track] = quality

    def forget(self, track: TrackKey) -> None:
        """The track has ended: its picture stays as it is."""
        self._quality.pop(track, None)


def jpeg(image_bgr: U8) -> bytes:
    """A picture (h, w, 3) as it is kept, made smaller where it is large."""
    height, width = image_bgr.shape[:2]
    if height > _MOST_ROWS:
        image_bgr = resized(image_bgr, (max(1, round(width * _MOST_ROWS / height)), _MOST_ROWS))
    return cv2.imencode(".jpg", image_bgr, _JPEG)[1].tobytes()
