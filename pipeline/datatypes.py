"""The named types that flow from a camera to an identity.

Arrays are numpy; boxes are pixels of the original frame; times are UTC seconds. What stays in a process is a
dataclass; what crosses a socket is a msgspec struct, whose arrays `pipeline.wire` carries as raw bytes.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

END_OF_FILE = "end of file"  # why a camera gives no more frames where nothing is wrong
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of one camera.

    Attributes:
        index: position among the frames that the source delivered, from 0; a gap is a frame nobody processed. It goes
            on where a worker is restarted or a run appended to.
        captured_at: UTC seconds; for a replayed file its `started_at` plus the time since its first frame.
        arrived_at: UTC seconds by this machine's clock when the picture was decoded; latency counts from here.
        image_bgr: (H, W, 3) uint8.
    """

    camera_id: str
    index: int
    captured_at: float
    arrived_at: float
    image_bgr: U8

    @property
    def size_wh(self) -> tuple[int, int]:
        """Pixels across and down."""
        height, width = self.image_bgr.shape[:2]
        return width, height


@dataclass(frozen=True, slots=True)
class Position:
    """How far a camera had come when it was last heard of.

    Attributes:
        index: of its next frame.
        at: seconds of this machine's monotonic clock at that word.
        fps: frames a second it delivered then.
        first: index of the first picture of a file.
    """

    index: int = 0
    at: float = 0.0
    fps: float = 0.0
    first: int = 0

    def index_at(self, now: float) -> int:
        """Index of the frame that comes at `now`, had the camera gone on alike."""
        return self.index + math.ceil(self.fps * (now - self.at))


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """People found in one frame.

    Attributes:
        boxes_xyxy: (N, 4) float32, pixels of the frame.
        score: (N,) float32 in 0..1.
    """

    boxes_xyxy: F32
    score: F32

    def __post_init__(self) -> None:
        if self.boxes_xyxy.shape != (len(self.score), 4):
            raise ValueError(f"expected boxes (N, 4) and scores (N,), got {self.boxes_xyxy.shape}, {self.score.shape}")

    def __len__(self) -> int:
        return len(self.score)


class TrackState(StrEnum):
    """Tentative until seen often enough, lost while not seen."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person followed by one camera; box and score are those of `last_seen`.

    Attributes:
        track_id: unique within camera and epoch, never reused.
        box_xyxy: (4,) float32 pixels.
    """

    track_id: int
    box_xyxy: F32
    score: float
    state: TrackState
    first_seen: float
    last_seen: float


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, eq=False):
    """What may cross a socket."""


class Tracklet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, eq=False):
    """All that is known of a track: a snapshot, so that the next one repairs a lost one.

    Attributes:
        seq: grows with every new embedding; two snapshots of equal seq hold the same embeddings.
        embeddings: (K, D) unit rows, K may be 0.
        quality: (K,) in 0..1, of the crops behind them.
        box_xyxy, score: at last_seen.
        closed: no later snapshot will follow.
    """

    track_id: int
    seq: int
    first_seen: float
    last_seen: float
    embeddings: F32
    quality: F32
    box_xyxy: F32
    score: float
    closed: bool = False

    def __post_init__(self) -> None:
        shapes = self.embeddings.shape, self.quality.shape, self.box_xyxy.shape
        if self.embeddings.ndim != 2 or shapes[1:] != ((len(self.embeddings),), (4,)):
            raise ValueError(f"expected embeddings (K, D), quality (K,) and box (4,), got {shapes}")
        rows = (self.embeddings, self.quality, self.box_xyxy)
        numbers = (self.first_seen, self.last_seen, self.score)
        if not all(np.isfinite(one).all() for one in rows) or not all(map(math.isfinite, numbers)):
            raise ValueError(f"track {self.track_id} has numbers that are not finite")


class CameraUpdate(Message, frozen=True, eq=False):
    """One processed frame of a camera: the tracklets seen in it and those that closed.

    Attributes:
        epoch: start of the worker that numbered the tracks; a later epoch closes all tracks of an earlier one.
        frame_index, captured_at, arrived_at: as in `Frame`.
    """

    camera_id: str
    epoch: int
    frame_index: int
    captured_at: float
    arrived_at: float
    tracklets: tuple[Tracklet, ...]

    def __post_init__(self) -> None:
        for name in ("captured_at", "arrived_at"):
            if not math.isfinite(at := getattr(self, name)):
                raise ValueError(f"a frame of {self.camera_id}: {name} is {at}")


class CameraState(Message, frozen=True, eq=False):
    """A camera came up or went down, and why."""

    camera_id: str
    at: float
    up: bool
    reason: str = ""


class TrackKey(msgspec.Struct, frozen=True, order=True):
    """Names one track across all cameras and restarts."""

    camera_id: str
    epoch: int
    track_id: int


class Assignment(Message, frozen=True, eq=False):
    """A track was given an identity.

    Attributes:
        similarity: cosine to the identity before this track joined it; nan when the identity is new.
        replaces: the identity that this track was believed to be before; None at first.
        decided_at: capture time of the frame that settled it.
    """

    track: TrackKey
    identity_id: int
    similarity: float
    is_new: bool
    replaces: int | None
    decided_at: float


class Merge(Message, frozen=True, eq=False):
    """Two identities turned out to be one person: `replaces` ends, `identity_id` goes on."""

    identity_id: int
    replaces: int
    similarity: float
    decided_at: float


class Confirmation(Message, frozen=True, eq=False):
    """A provisional identity has been seen well enough to count."""

    identity_id: int
    decided_at: float


class Expiry(Message, frozen=True, eq=False):
    """An identity was forgotten; its number is never used again."""

    identity_id: int
    decided_at: float


Decision = Assignment | Merge | Confirmation | Expiry


@dataclass(frozen=True, slots=True)
class EndedTrack:
    """A track that nobody follows any more: who it was at last, and from when to when its camera saw them.

    Attributes:
        descriptor: (D,) unit mean of its embeddings, as its camera shows them; (0,) where there are none.
    """

    track: TrackKey
    identity_id: int
    first_seen: float
    last_seen: float
    descriptor: F32 = field(default_factory=lambda: np.zeros(0, np.float32), compare=False)


class TrackIdentity(msgspec.Struct, frozen=True, eq=False):
    """Who a visible track is believed to be; identity_id None is "not sure yet"."""

    track_id: int
    identity_id: int | None
    box_xyxy: F32
    score: float

    def __post_init__(self) -> None:
        if self.box_xyxy.shape != (4,):
            raise ValueError(f"expected box (4,), got {self.box_xyxy.shape}")


class CameraIdentities(Message, frozen=True, eq=False):
    """The matcher's answer to one `CameraUpdate`: a snapshot of everybody that camera sees.

    Attributes:
        decided_at: UTC seconds by the matcher's clock.
    """

    camera_id: str
    epoch: int
    frame_index: int
    captured_at: float
    arrived_at: float
    decided_at: float
    tracks: tuple[TrackIdentity, ...]


class View(Message, frozen=True, eq=False):
    """A camera's picture for the mosaic: JPEG, boxes of the original frame times `scale` fit it."""

    camera_id: str
    frame_index: int
    captured_at: float
    scale: float
    jpeg: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """One person as the gallery knows them.

    Attributes:
        identity_id: never reused.
        prototypes: (K, D) unit rows.
        cameras: every camera that has seen them.
        confirmed: False while provisional.
        last_camera: which saw them last; empty where nobody knows.
        weights: (K,) how much each prototype counts where two are averaged; (0,) where all count 1.
    """

    identity_id: int
    prototypes: F32
    first_seen: float
    last_seen: float
    cameras: frozenset[str]
    confirmed: bool
    last_camera: str = ""
    weights: F32 = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Where and when each of N identities was last seen.

    Attributes:
        cameras: their names, all that occur among the N, and perhaps others.
        camera: (N,) places in `cameras`.
        last_seen: (N,) seconds.
    """

    cameras: tuple[str, ...]
    camera: NDArray[np.int64]
    last_seen: NDArray[np.float64]
