"""The matcher with its memory: decide, commit, write down, answer. The same for a live run and a replay."""

import logging
import time
from collections.abc import Sequence

from pipeline.datatypes import CameraIdentities, CameraUpdate, Decision, TrackKey
from pipeline.errors import StoreError
from pipeline.matcher import Matcher
from pipeline.matcher_state import NOTHING, Outcome
from pipeline.sinks import RunWriter
from pipeline.store import Known, Store, lasting

log = logging.getLogger(__name__)

_TRY_AGAIN_S = 1.0


class MatchService:
    """Decisions that are stored before they are told. While the store cannot be written they wait in memory."""

    def __init__(self, matcher: Matcher, store: Store, writer: RunWriter) -> None:
        self._matcher = matcher
        self._store = store
        self._writer = writer
        self._unsaved: list[Decision] = []
        self._touched: set[int] = set()
        self._parted: list[tuple[int, int]] = []
        self._learnt = NOTHING
        self._failing = False
        self._tried_at = 0.0

    @property
    def unsaved(self) -> int:
        """Decisions that wait for the store."""
        return len(self._unsaved)

    @property
    def known(self) -> int:
        """Identities in the gallery."""
        return len(self._matcher.gallery)

    @property
    def identities(self) -> int:
        """Different people confirmed so far."""
        return self._store.count()

    def step(self, updates: Sequence[CameraUpdate]) -> list[CameraIdentities]:
        """One answer an update, in order."""
        outcomes = [self._matcher.step(update) for update in updates]
        for outcome in outcomes:
            self._unsaved += outcome.decisions
            self._touched.update(outcome.changed)
            self._parted += outcome.parted
            self._learnt = self._learnt.updated(outcome.learnt)
        if not self._failing or time.monotonic() - self._tried_at >= _TRY_AGAIN_S:
            self.save()
        answers = []
        for update, outcome in zip(updates, outcomes, strict=True):
            answers.append(_answer(update, outcome))
            self._writer.decide(outcome.decisions)
            self._writer.see(answers[-1])
            self._writer.end(outcome.ended, update.captured_at)
            for tracklet in update.tracklets:
                if tracklet.closed:
                    self._writer.close_track(TrackKey(update.camera_id, update.epoch, tracklet.track_id))
        return answers

    def save(self) -> None:
        """Commits what waits; a store that fails is reported once."""
        if not self._waits:
            return
        self._tried_at = time.monotonic()
        gallery = self._matcher.gallery
        known = [
            Known(self._matcher.identity(who), gallery.keys(who)) for who in sorted(self._touched) if who in gallery
        ]
        try:
            self._store.record(self._unsaved, known, self._parted, self._learnt)
        except StoreError as error:
            if not self._failing:
                log.error("%s", error)
            self._failing = True
            self._unsaved = lasting(self._unsaved)
            return
        if self._failing:
            log.warning("identity store: writing again, nothing was lost")
        self._failing = False
        self._unsaved.clear()
        self._touched.clear()
        self._parted.clear()
        self._learnt = NOTHING

    @property
    def _waits(self) -> bool:
        return bool(self._unsaved or self._touched or self._parted or self._learnt)

    def finish(self) -> None:
        """Commits what waits, for the last time, and what was learnt; what cannot be is told."""
        self._learnt = self._learnt.updated(self._matcher.finish())
        self.save()
        if self._waits:
            lost = f"{len(self._unsaved)} decisions and what {len(self._touched)} people looked like"
            log.error("identity store: %s could not be written and are lost", lost)


def _answer(update: CameraUpdate, outcome: Outcome) -> CameraIdentities:
    return CameraIdentities(
        camera_id=update.camera_id,
        epoch=update.epoch,
        frame_index=update.frame_index,
        captured_at=update.captured_at,
        arrived_at=update.arrived_at,
        decided_at=time.time(),
        tracks=outcome.tracks,
    )
