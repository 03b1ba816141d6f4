"""Who of a run looks like somebody in a photograph, by the pictures that the run kept."""

import logging
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.camera_bias import CameraBias
from pipeline.datatypes import F32, U8, TrackKey
from pipeline.detector import Detector
from pipeline.embedder import Crop, Embedder
from pipeline.errors import ConfigError
from pipeline.people import Row, write_page
from pipeline.portraits import jpeg, portrait_path
from pipeline.visits import Visit

_BATCH = 32  # pictures that are described at once

_Owned = tuple[int, TrackKey]  # a track and whose it is
Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Like:
    """Somebody of a run.

    Attributes:
        similarity: of the picture of theirs that is most like the photograph; a cosine.
    """

    identity_id: int
    similarity: float
    visits: Sequence[Visit]


def read_picture(path: Path) -> U8:
    """(H, W, 3) BGR.

    Raises:
        ConfigError: no such file, or no picture.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a picture")
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ConfigError(f"{path}: cannot be read as a picture; give a .jpg or .png")
    return np.asarray(picture, np.uint8)


def subject(detector: Detector, photo_bgr: U8) -> tuple[Crop, int]:
    """The largest person in a photograph (H, W, 3), and how many there are; all of it where nobody is found."""
    (people,) = detector.detect([photo_bgr])
    boxes = people.boxes_xyxy
    if not len(boxes):
        return Crop.whole(photo_bgr), 0
    return Crop(photo_bgr, boxes[np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).argmax()]), len(boxes)


def alike(
    run: Path,
    people: Mapping[int, Sequence[Visit]],
    crop: Crop,
    embedder: Embedder,
    *,
    remove_camera_bias: bool,
    on_progress: Progress,
) -> list[Like]:
    """Everybody of whom there is a picture, the most similar first.

    Args:
        people: their visits, in the order in which people came.
        on_progress: called with the number of tracks looked at, and of all.
    """
    tracks = [(who, track) for who, visits in people.items() for visit in visits for track in visit.tracks]
    (photo,) = embedder.embed([crop])
    kept, descriptors = _described(run, tracks, embedder, on_progress)
    if remove_camera_bias:
        photo, descriptors = _without_bias(photo, descriptors, kept)
    best: dict[int, float] = {}
    for (who, _), similarity in zip(kept, (descriptors @ photo).tolist(), strict=True):
        best[who] = max(similarity, best.get(who, -1.0))
    return [Like(who, best[who], people[who]) for who in sorted(best, key=lambda who: -best[who])]


def write_found(run: Path, page: Path, crop: Crop, found: Sequence[Like]) -> None:
    """Writes a page of the photograph and of those who look like it.

    Raises:
        ConfigError: `page` is something else.
        StoreError: it cannot be written; the former page is still there.
    """
    photo = b64encode(jpeg(crop.pixels())).decode()
    head = f'<figure><img src="data:image/jpeg;base64,{photo}" alt="the photograph"></figure>'
    rows = [Row(one.identity_id, f"similarity {one.similarity:.2f}", one.visits) for one in found]
    told = "Those who look like the photograph, the most similar first."
    write_page(run, page, f"Found in {run.resolve().name}", told, rows, head)


def _described(
    run: Path, tracks: Sequence[_Owned], embedder: Embedder, on_progress: Progress
) -> tuple[list[_Owned], F32]:
    """Those of whom there is a picture, and a unit row of each."""
    kept: list[_Owned] = []
    rows = [np.zeros((0, embedder.dimension), np.float32)]
    for start in range(0, len(tracks), _BATCH):
        pictures = {one: picture for one in tracks[start : start + _BATCH] if (picture := _kept(run, one)) is not None}
        kept += pictures
        rows.append(embedder.embed([Crop.whole(picture) for picture in pictures.values()]))
        on_progress(min(start + _BATCH, len(tracks)), len(tracks))
    return kept, np.vstack(rows)


def _kept(run: Path, owned: _Owned) -> U8 | None:
    """The picture of a track, or nothing; one that is damaged is told."""
    path = portrait_path(run, owned[1])
    try:
        return read_picture(path) if path.is_file() else None
    except ConfigError as error:
        log.warning("%s: left out", error)
        return None


def _without_bias(photo: F32, descriptors: F32, kept: Sequence[_Owned]) -> tuple[F32, F32]:
    """Both without what cameras add to everybody; nobody knows the photograph's."""
    bias = CameraBias()
    firsts = {(who, track.camera_id): row for (who, track), row in zip(reversed(kept), descriptors[::-1], strict=True)}
    for (_, camera_id), row in firsts.items():
        bias.note(camera_id, row)
    rest = [bias.take_off(track.camera_id, row[None]) for (_, track), row in zip(kept, descriptors, strict=True)]
    return bias.take_off_usual(photo[None])[0], np.vstack([descriptors[:0], *rest])
