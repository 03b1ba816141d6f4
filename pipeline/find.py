"""Who of a run looks like somebody in a photograph, by the pictures that the run kept."""

import logging
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.camera_bias import CameraBias
from pipeline.config import MatcherConfig, Site
from pipeline.crowd import taken_off
from pipeline.datatypes import F32, U8, TrackKey
from pipeline.detector import Detector
from pipeline.embedder import Crop, Embedder
from pipeline.errors import ConfigError, EngineFailure
from pipeline.people import Row, write_page
from pipeline.portraits import jpeg, portrait_path
from pipeline.visits import Visit

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
        ConfigError: it is none.
    """
    picture = _read(path)
    if picture is None:
        raise ConfigError(f"{path}: is no picture that can be read; give a .jpg or .png")
    return picture


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
    site: Site,
    on_progress: Progress,
) -> list[Like]:
    """Everybody of whom there is a picture, the most similar first.

    Args:
        people: their visits, in the order in which people came.
        on_progress: called with the number of tracks looked at, and of all.

    Raises:
        ConfigError: there is a picture of nobody.
        EngineFailure: the network cannot run, or gives no numbers for the photograph.
    """
    tracks = [(who, track) for who, visits in people.items() for visit in visits for track in visit.tracks]
    photo = embedder.embed([crop])
    if not np.isfinite(photo).all():
        raise EngineFailure("reid.model: gave numbers that are not finite for the photograph; try precision: f32")
    kept, descriptors = _described(run, tracks, embedder, site.reid.max_batch, on_progress)
    if not kept:
        raise ConfigError(f"{run}: holds a picture of nobody who was confirmed; wait, or keep the pictures")
    if site.matcher.remove_camera_bias:
        photo, descriptors = _without_bias(photo, descriptors, kept)
    best: dict[int, float] = {}
    for (who, _), similarity in zip(kept, (descriptors @ photo[0]).tolist(), strict=True):
        best[who] = max(similarity, best.get(who, -1.0))
    return [Like(who, best[who], people[who]) for who in sorted(best, key=lambda who: -best[who])]


def joins_from(config: MatcherConfig, people: int) -> float:
    """The similarity from which a run takes two views for one person, among so many people."""
    return config.min_similarity + taken_off(people, config.crowd_penalty)


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
    run: Path, tracks: Sequence[_Owned], embedder: Embedder, batch: int, on_progress: Progress
) -> tuple[list[_Owned], F32]:
    """Those of whom there is a picture, and a unit row of each."""
    kept: list[_Owned] = []
    rows = [np.zeros((0, embedder.dimension), np.float32)]
    for start in range(0, len(tracks), batch):
        pictures = {
            one: picture for one in tracks[start : start + batch] if (picture := _picture(run, one)) is not None
        }
        found = embedder.embed([Crop.whole(picture) for picture in pictures.values()])
        sound = np.flatnonzero(np.isfinite(found).all(axis=1))
        kept += [[*pictures][place] for place in sound]
        rows.append(found[sound])
        on_progress(min(start + batch, len(tracks)), len(tracks))
    return kept, np.vstack(rows)


def _picture(run: Path, owned: _Owned) -> U8 | None:
    """The picture of a track, or nothing; one that is damaged is told."""
    path = portrait_path(run, owned[1])
    if not path.is_file():
        return None
    picture = _read(path)
    if picture is None:
        log.warning("%s: is no picture that can be read, left out", path)
    return picture


def _read(path: Path) -> U8 | None:
    try:
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):  # not there; empty, or far too large
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def _without_bias(photo: F32, descriptors: F32, kept: Sequence[_Owned]) -> tuple[F32, F32]:
    """Both without what cameras add to everybody; the photograph (1, D) is of an unknown one."""
    bias, met = CameraBias(), set()
    for (who, track), row in zip(kept, descriptors, strict=True):
        if (who, track.camera_id) not in met:
            met.add((who, track.camera_id))
            bias.note(track.camera_id, row)
    rest = [bias.take_off(track.camera_id, row[None]) for (_, track), row in zip(kept, descriptors, strict=True)]
    return bias.take_off_usual(photo), np.vstack(rest)
