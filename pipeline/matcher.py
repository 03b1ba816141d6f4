"""Who is who: open tracks of one camera against everybody known. Pure; time comes with the update.

A track joins the identity it is most like, by Hungarian assignment over that camera's undecided tracks (Kuhn 1955,
through scipy): at once when it is sure, after more views when it is not. Nobody whom that camera saw beside it is a
candidate. A track unlike everybody becomes a provisional identity. Two identities found alike later, and never seen
together, merge. Descriptors are compared without what their camera adds to everybody's, and who is due in a camera, by
where and when they were last seen, need be less alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.assignment import assign
from pipeline.company import Company
from pipeline.config import MatcherConfig
from pipeline.continuity import continuities
from pipeline.covisibility import Covisibility
from pipeline.crowd import merges_from, taken_off
from pipeline.datatypes import (
    F32,
    Assignment,
    CameraUpdate,
    Confirmation,
    Decision,
    Expiry,
    Identity,
    Merge,
    TrackIdentity,
    TrackKey,
)
from pipeline.gallery import Candidates, Gallery
from pipeline.looks import Looks
from pipeline.matcher_state import Knowledge, MatcherState, Outcome
from pipeline.open_tracks import OpenTrack, OpenTracks, Tracks
from pipeline.transitions import Transitions

_NEVER = -1
_TOGETHER_S = 3.0  # shorter lets one wrong turn of a tracker part somebody from themselves for good
_YOUNG_S = 30.0  # up to here every view may show an identity to be a known one; later where views have doubled
_DUE = 16  # people known, of those most like a newcomer, who may be due where the most alike are not
_TOLD_EVERY_S = 60.0  # somebody in view for long is kept as seen no longer ago than this
_SWEEP_S = 1.0
_SET_BACK_S = 60.0  # by which time may seem to go back: cameras are not in step
_FORGOTTEN_AT_ONCE = 256  # of more, as after a long stop, the rest is next


class Matcher:
    """Decides identities; `step` takes the updates of all cameras, each camera's in order.

    Args:
        dimension: D, length of an embedding.
        state: where an earlier matcher stopped.
    """

    def __init__(self, config: MatcherConfig, dimension: int, state: MatcherState | None = None) -> None:
        state = state or MatcherState()
        self._config = config
        self.gallery = Gallery(dimension, config.prototypes)
        for identity, keys in state.identities:
            self.gallery.add(identity, keys)
        self._next_id = state.next_identity_id
        self._open = OpenTracks({key: who for key, who in state.tracks.items() if who in self.gallery})
        self._company = Company(state.parted)
        self._covisibility = Covisibility()
        self._transitions = Transitions(state.learnt.transitions)
        self._looks = Looks(config, dimension, state.learnt.means, state.learnt.variation)
        self._weigh_anew()
        self._last_sweep = -np.inf

    def step(self, update: CameraUpdate) -> Outcome:
        """What one camera's frame leads to. An update of an epoch that has ended leads to nothing."""
        now = update.captured_at
        if self._open.is_late(update):
            return Outcome()
        self._looks.learn(_views(self._open.begin(update)))
        decisions = self._forget_of_before(now)
        tracks = self._open.take_in(update, self.gallery)
        self._see(update, tracks)
        visible = {
            key: track for key, track in tracks.items() if track.tracklet.last_seen >= now and not track.tracklet.closed
        }
        self._part_twins(visible)
        decisions += self._match(tracks, visible, now)
        self._note_company(tracks, visible, now)
        described = self._describe(tracks)
        decisions += self._merge(described, tracks, now)
        decisions += self._confirm(tracks, now)
        decisions += self._sweep(now)
        self._looks.learn(_views(self._open.close(update.camera_id, now)))
        seen = tuple(
            TrackIdentity(key.track_id, track.identity_id, track.tracklet.box_xyxy, track.tracklet.score)
            for key, track in visible.items()
        )
        changed = {done.identity_id for done in decisions} | {tracks[key].identity_id for key in described}
        changed |= _to_be_told(tracks, now)
        current = tuple(sorted(who for who in changed if who is not None and who in self.gallery))
        learnt = Knowledge(self._looks.take_new_means(), self._looks.take_new_variation(), self._transitions.take_new())
        return Outcome(tuple(decisions), seen, current, self._company.take_new(), learnt, self._open.take_ended())

    def identity(self, identity_id: int) -> Identity:
        """One of the gallery as it is to be kept: its prototypes before weighing."""
        known = self.gallery.get(identity_id)
        return replace(known, prototypes=self._looks.kept(known.prototypes))

    def _see(self, update: CameraUpdate, tracks: Tracks) -> None:
        """Notes where and when those whose tracks were decided before are seen."""
        for tracklet in update.tracklets:
            who = tracks[TrackKey(update.camera_id, update.epoch, tracklet.track_id)].identity_id
            if who is not None:
                self.gallery.see(who, update.camera_id, tracklet.last_seen)

    def _part_twins(self, visible: Tracks) -> None:
        """Where two visible tracks hold one identity, the less similar one is undecided again."""
        holder: dict[int, TrackKey] = {}
        for key, track in visible.items():
            if track.identity_id is None:
                continue
            other = holder.setdefault(track.identity_id, key)
            if other != key:
                loser = key if self._fit(track, key) <= self._fit(visible[other], other) else other
                holder[track.identity_id] = key if loser is other else other
                self.gallery.forget(track.identity_id, loser)
                visible[loser].former_id, visible[loser].identity_id = track.identity_id, None

    def _fit(self, track: OpenTrack, key: TrackKey) -> float:
        """Similarity of a track to its identity's other prototypes."""
        if track.identity_id is None or not len(track.mean):
            return 0.0
        identity = self.gallery.get(track.identity_id)
        others = [row for row, behind in enumerate(self.gallery.keys(track.identity_id)) if behind != key]
        (looks,) = self._looks.of(key.camera_id, track.mean[None])
        return float((identity.prototypes[others] @ looks).max()) if others else 0.0

    def _weigh_anew(self) -> None:
        """Brings everybody known in line with what was learnt of the site since."""
        change = self._looks.renew(_views(self._open))
        if change is not None:
            self.gallery.turn(change)

    def finish(self) -> Knowledge:
        """What was learnt since the last outcome that told it."""
        return Knowledge((), self._looks.finish(), self._transitions.take_new(1))

    def _match(self, tracks: Tracks, visible: Tracks, now: float) -> list[Decision]:
        """Identities for the undecided tracks with evidence enough."""
        undecided = [key for key, track in tracks.items() if track.identity_id is None and self._has_evidence(track)]
        if not undecided:
            return []
        ids, looks = self._candidates(undecided, tracks, visible, now)
        expected = self._expected(undecided, tracks, ids)
        similarity: F32 = np.where(looks > -1, looks + expected, np.float32(-1))
        pairs = assign(1.0 - similarity, 1.0 - self._config.min_similarity)
        decisions: list[Decision] = []
        for row, key in enumerate(undecided):
            track, best = tracks[key], float(similarity[row].max(initial=-1.0))
            column = pairs.get(row)
            if column is not None and (
                similarity[row, column] >= self._config.sure_similarity or self._waited_enough(track, now)
            ):
                who, similar = int(ids[column]), float(similarity[row, column])
            elif column is None and self._is_somebody_new(track, best, now):
                who, similar = None, float("nan")
            else:
                track.doubtful_since = now if track.doubtful_since is None else track.doubtful_since
                continue
            self._learn_way(key, track, ids, looks[row])
            decisions.append(self._join(key, track, who, similar, now))
        return decisions

    def _expected(self, undecided: Sequence[TrackKey], tracks: Tracks, ids: NDArray[np.int64]) -> F32:
        """(Q, C) what speaks for each besides looks, or against.

        That the track goes on where this camera lost them, or where and when they were last seen, whichever says more;
        both give back what the crowd takes off.
        """
        camera, crowd, weight = undecided[0].camera_id, self._crowd(), self._config.transition_weight
        lost, seen = self._open.lost(camera), self.gallery.sightings(ids.tolist())
        expected = np.zeros((len(undecided), len(ids)), np.float32)
        for row, key in enumerate(undecided):
            since = tracks[key].tracklet.first_seen
            goes_on = continuities(lost, ids, tracks[key].first_box, since)
            place = (self._config.continuity_bonus + np.float32(crowd)) * goes_on
            due = self._transitions.due(camera, seen, since, weight, crowd)
            expected[row] = np.where(place > 0, np.maximum(place, due), due)
        return expected

    def _crowd(self) -> float:
        """What every similarity is less worth among so many people."""
        return taken_off(len(self.gallery), self._config.crowd_penalty)

    def _learn_way(self, key: TrackKey, track: OpenTrack, ids: NDArray[np.int64], looks: F32) -> None:
        """Learns where a newcomer came from whom looks (C,) alone give away, whatever was decided."""
        if not self._config.transition_weight or track.former_id is not None:  # was here before
            return
        sure = looks.max(initial=-1.0) >= self._config.min_similarity
        came_from = self.gallery.sightings([int(ids[looks.argmax()])]) if sure else None
        self._transitions.note(key.camera_id, track.tracklet.first_seen, self.gallery.sightings(), came_from)

    def _candidates(
        self, undecided: Sequence[TrackKey], tracks: Tracks, visible: Tracks, now: float
    ) -> tuple[NDArray[np.int64], F32]:
        """Whom (C,) each undecided track may join, and how like (Q, C) it looks; -1 for whom it must not."""
        camera = undecided[0].camera_id
        lost, elsewhere = self._open.lost(camera), self._open.elsewhere(camera, now)
        special = {one.identity_id for one in lost}.union(*elsewhere.values())
        special = special.union(*(tracks[key].strangers for key in undecided))
        # For all others no more counts than looks and whether they are due.
        looks = self._looks.of(camera, np.stack([tracks[key].mean for key in undecided]))
        near = self.gallery.candidates(looks, len(undecided) + _DUE, special)
        similarity: F32 = self._doubted(camera, elsewhere, near) - np.float32(self._crowd())
        taken = {track.identity_id for track in visible.values()}
        for row, key in enumerate(undecided):
            track = tracks[key]
            met = {tracks[other].identity_id for other in track.rivals if other in tracks}
            barred = track.strangers | met | (set() if track.tracklet.closed else taken)
            similarity[row, np.isin(near.ids, [who for who in barred if who is not None])] = -1.0
        return near.ids, similarity

    def _doubted(self, camera_id: str, elsewhere: Mapping[str, set[int]], near: Candidates) -> F32:
        """(Q, C) similarities, less of who is seen elsewhere."""
        doubt = self._covisibility.doubt(camera_id, elsewhere, near.ids)
        doubted: F32 = near.similarity - self._config.elsewhere_penalty * doubt
        return doubted

    def _has_evidence(self, track: OpenTrack) -> bool:
        return len(track.tracklet.embeddings) >= (1 if track.tracklet.closed else self._config.min_embeddings)

    def _waited_enough(self, track: OpenTrack, now: float) -> bool:
        """Whether a track has been in doubt long enough, or will not be seen again."""
        waited = 0.0 if track.doubtful_since is None else now - track.doubtful_since
        return track.tracklet.closed or waited >= self._config.decide_after_s

    def _is_somebody_new(self, track: OpenTrack, best: float, now: float) -> bool:
        if len(track.tracklet.embeddings) < self._config.min_embeddings:
            return False
        return best < self._config.new_below or self._waited_enough(track, now)

    def _join(
        self, key: TrackKey, track: OpenTrack, identity_id: int | None, similarity: float, now: float
    ) -> Assignment:
        is_new = identity_id is None
        if identity_id is None:
            identity_id, self._next_id = self._next_id, self._next_id + 1
            nothing = np.zeros((0, len(track.mean)), np.float32)
            seen = (track.tracklet.first_seen, track.tracklet.last_seen)
            self.gallery.add(Identity(identity_id, nothing, *seen, frozenset(), False))
        if key.camera_id not in self.gallery.get(identity_id).cameras:
            self._looks.meet(key.camera_id, track.mean)
        self._covisibility.note(key.camera_id, self._open.elsewhere(key.camera_id, now), identity_id)
        self.gallery.see(identity_id, key.camera_id, track.tracklet.last_seen)
        track.identity_id, track.described_seq, track.doubtful_since = identity_id, _NEVER, None
        return Assignment(key, identity_id, similarity, is_new, track.former_id, now)

    def _describe(self, tracks: Tracks) -> list[TrackKey]:
        """Brings the prototypes of decided tracks up to date; the tracks with something new."""
        described = []
        for key, track in tracks.items():
            if track.identity_id is None or not len(track.mean) or track.described_seq == track.tracklet.seq:
                continue
            (looks,) = self._looks.of(key.camera_id, track.mean[None])
            self.gallery.describe(track.identity_id, key, looks, float(track.tracklet.quality.sum()))
            track.described_seq = track.tracklet.seq
            described.append(key)
        return described

    def _note_company(self, tracks: Tracks, visible: Tracks, now: float) -> None:
        """Two tracks that one camera sees at one moment are two people.

        While both are open, or for good where they are seen together a while after that again: a track that ends right
        after it met another may have followed the wrong one of two people who crossed.
        """
        for key, track in tracks.items():
            met = {other: now for other in visible if key in visible and other != key} | track.rivals
            track.rivals = {other: since for other, since in met.items() if other in tracks}
            for other, since in track.rivals.items():
                who = tracks[other].identity_id
                together = key in visible and other in visible
                if who is not None and together and now - since >= _TOGETHER_S:
                    track.strangers.add(who)
            if track.identity_id is not None:
                self._company.note(track.identity_id, track.strangers)

    def _merge(self, described: Sequence[TrackKey], tracks: Tracks, now: float) -> list[Decision]:
        """Merges the identity of each freshly described track with one that it resembles, the newer into the older."""
        merges: list[Decision] = []
        for key in described:
            who, track = tracks[key].identity_id, tracks[key]
            if who is None or len(track.tracklet.embeddings) < self._config.min_embeddings:
                continue
            young = now - self.gallery.get(who).first_seen <= _YOUNG_S
            if not young and not _is_power_of_two(track.tracklet.seq):
                continue
            other, similarity = self._most_like(who, track, key.camera_id, now)
            newer = self.gallery.get(max(who, other))
            least = merges_from(self._config.merge_similarity, len(self.gallery), self._config.crowd_penalty)
            if not similarity >= least or now - newer.first_seen > self._config.merge_within_s:
                continue
            alone = len(self.gallery.keys(who)) == 1
            if young or alone or self._fit(track, key) >= least:  # else it may be somebody else's
                merges.append(self._unite(min(who, other), newer.identity_id, similarity, now))
        return merges

    def _most_like(self, who: int, track: OpenTrack, camera_id: str, now: float) -> tuple[int, float]:
        """Who may be the same as `who` and is most like this track of theirs, and how like, -1 where nobody may."""
        never = self._company.of(who) | self._open.beside(who) | {who}
        elsewhere = self._open.elsewhere(camera_id, now)
        looks = self._looks.of(camera_id, track.mean[None])
        near = self.gallery.candidates(looks, 1, never.union(*elsewhere.values()))
        similarity = np.where(np.isin(near.ids, [*never]), -1.0, self._doubted(camera_id, elsewhere, near)[0])
        best = int(np.argmax(similarity))
        return int(near.ids[best]), float(similarity[best])

    def _unite(self, identity_id: int, replaces: int, similarity: float, now: float) -> Merge:
        self.gallery.absorb(identity_id, replaces)
        self._open.rename(replaces, identity_id)
        self._company.unite(identity_id, replaces)
        return Merge(identity_id, replaces, similarity, now)

    def _confirm(self, tracks: Tracks, now: float) -> list[Decision]:
        confirmations: list[Decision] = []
        for track in tracks.values():
            if track.identity_id is None or self.gallery.is_confirmed(track.identity_id):
                continue
            identity = self.gallery.get(track.identity_id)
            seen_s = identity.last_seen - identity.first_seen
            if seen_s >= self._config.confirm_after_s or len(identity.cameras) > 1:
                self.gallery.confirm(track.identity_id)
                confirmations.append(Confirmation(track.identity_id, now))
        return confirmations

    def _forget_of_before(self, now: float) -> list[Decision]:
        """Forgets, before the first update, who was last seen too long before it, however many.

        Who was in view when an earlier matcher stopped may be so still, and was told last up to a minute before.
        """
        if self._last_sweep > -np.inf:
            return []
        in_view, limit = self._open.in_view(now), now - self._config.forget_after_s
        longest = self.gallery.longest_unseen(len(self.gallery)).items()
        gone = [who for who, at in longest if at < (limit - _TOLD_EVERY_S if who in in_view else limit)]
        for who in gone:
            self._forget(who)
        return [Expiry(who, now) for who in gone]

    def _sweep(self, now: float) -> list[Decision]:
        """Forgets, once a second, who was not seen for long, and the longest unseen of too many."""
        if -_SET_BACK_S < now - self._last_sweep < _SWEEP_S:
            return []
        self._last_sweep = now
        self._weigh_anew()
        self._looks.learn(_views(self._open.abandon(now)))
        in_view = self._open.in_view(now)
        longest = self.gallery.longest_unseen(_FORGOTTEN_AT_ONCE + len(in_view))
        idle = [who for who in longest if who not in in_view][:_FORGOTTEN_AT_ONCE]
        surplus = max(0, len(self.gallery) - self._config.max_identities)
        gone = idle[:surplus] + [who for who in idle[surplus:] if now - longest[who] > self._config.forget_after_s]
        for who in gone:
            self._forget(who)
        return [Expiry(who, now) for who in gone]

    def _forget(self, identity_id: int) -> None:
        self.gallery.remove(identity_id)
        self._open.forget(identity_id)
        self._company.forget(identity_id)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _to_be_told(tracks: Tracks, now: float) -> set[int | None]:
    """Whose last sighting is to be kept now: of tracks that end, and once in a while of those that go on."""
    due = [track for track in tracks.values() if track.tracklet.closed or now - track.told_at >= _TOLD_EVERY_S]
    for track in due:
        track.told_at = now
    return {track.identity_id for track in due}


def _views(tracks: Iterable[OpenTrack]) -> list[F32]:
    """(K, D) of each."""
    return [track.tracklet.embeddings for track in tracks]
