"""What a camera remembers of its open tracks: a few good embeddings each, and when the next is due. Pure."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from pipeline.config import QualityConfig, ReidConfig
from pipeline.datatypes import F32, Track, Tracklet, TrackState

_FIRST = 3  # embeddings taken as fast as frames come, so that a new track is known soon
_SETTLED = 8  # embeddings after which a track is refreshed at its full interval


class Fit(Enum):
    """Whether an embedding shows whom its track showed before."""

    SAME = "same"
    DOUBTFUL = "doubtful"  # somebody else, perhaps: the next one decides
    ANOTHER = "another"  # for the second time in a row


@dataclass(slots=True)
class _Bank:
    """A track's embeddings; `suspect` is one that does not fit them, waiting for a second opinion."""

    embeddings: F32
    quality: list[float] = field(default_factory=list)
    seq: int = 0
    described_at: float = -np.inf
    was_hidden: bool = False
    suspect: F32 | None = None


class TrackletBook:
    """Embeddings of one camera's open tracks, at most `bank` each.

    Args:
        dimension: D, length of an embedding.
    """

    def __init__(self, reid: ReidConfig, quality: QualityConfig, dimension: int) -> None:
        self._reid = reid
        self._quality = quality
        self._dimension = dimension
        self._banks: dict[int, _Bank] = {}

    def wants(self, track: Track, quality: float) -> bool:
        """Whether a crop of this quality is worth describing now.

        A young track is described often, an old one every refresh_s, and any one at once when it was hidden: people who
        pass in front of each other are where a tracker takes one for the other.
        """
        bank = self._banks.get(track.track_id)
        if track.state is not TrackState.CONFIRMED or quality < self._quality.min_quality:
            if bank is not None:
                bank.was_hidden = True
            return False
        if bank is None or bank.was_hidden or bank.suspect is not None:
            return True
        wait = self._reid.refresh_s * min(1.0, max(0, bank.seq + 1 - _FIRST) / (_SETTLED - _FIRST))
        return track.last_seen - bank.described_at >= wait - 1e-6

    def add(self, track: Track, embedding: F32, quality: float) -> Fit:
        """Keeps one more embedding (D,) if it shows the same person; whether it does.

        When the bank is full, the worse of its two most similar ones goes.
        """
        bank = self._banks.setdefault(track.track_id, _Bank(np.zeros((0, self._dimension), np.float32)))
        bank.described_at, bank.was_hidden = track.last_seen, False
        if len(bank.quality) > 1 and float((bank.embeddings @ embedding).max()) < self._reid.split_below:
            if bank.suspect is not None:
                return Fit.ANOTHER
            bank.suspect = embedding
            return Fit.DOUBTFUL
        bank.suspect = None
        bank.embeddings = np.vstack([bank.embeddings, embedding[None]])
        bank.quality.append(quality)
        if len(bank.quality) > self._reid.bank:
            redundant = _redundant(bank.embeddings, bank.quality)
            bank.embeddings = np.delete(bank.embeddings, redundant, axis=0)
            del bank.quality[redundant]
        bank.seq += 1
        return Fit.SAME

    def snapshot(self, track: Track, closed: bool = False) -> Tracklet:
        """Everything known of a track; closing it forgets it here."""
        bank = self._banks.pop(track.track_id, None) if closed else self._banks.get(track.track_id)
        empty = np.zeros((0, self._dimension), np.float32)
        return Tracklet(
            track_id=track.track_id,
            seq=bank.seq if bank else 0,
            first_seen=track.first_seen,
            last_seen=track.last_seen,
            embeddings=bank.embeddings if bank else empty,
            quality=np.array(bank.quality if bank else [], np.float32),
            box_xyxy=track.box_xyxy,
            score=track.score,
            closed=closed,
        )


def _redundant(embeddings: F32, quality: list[float]) -> int:
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    a, b = np.unravel_index(int(np.argmax(similarity)), similarity.shape)
    return int(a) if quality[a] <= quality[b] else int(b)
