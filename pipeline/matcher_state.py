"""What the matcher tells after every update, and all of it that must outlive a crash. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.camera_bias import CameraMean
from pipeline.datatypes import Decision, EndedTrack, Identity, TrackIdentity, TrackKey
from pipeline.track_variation import Variation
from pipeline.transitions import Transition


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """What a site has taught.

    Attributes:
        means: what cameras add to everybody.
        variation: what varies within tracks.
        transitions: how long people take from camera to camera.
    """

    means: tuple[CameraMean, ...] = ()
    variation: Variation | None = None
    transitions: tuple[Transition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.means or self.variation or self.transitions)

    def updated(self, newer: "Knowledge") -> "Knowledge":
        """This, with what is newer in place of what it says of the same."""
        if not newer:
            return self
        means = {one.camera_id: one for one in self.means + newer.means}
        ways = {(one.came_from, one.came_to): one for one in self.transitions + newer.transitions}
        return Knowledge((*means.values(),), newer.variation or self.variation, (*ways.values(),))


NOTHING = Knowledge()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one update led to.

    Attributes:
        decisions: in the order in which they hold.
        tracks: everybody the camera saw in this frame.
        changed: identities whose stored state is no longer current.
        parted: pairs of identities that are two people, seen together just now for the first time.
        learnt: what is to be kept, in place of what was known of the same.
        ended: tracks with an identity that are over.
    """

    decisions: tuple[Decision, ...] = ()
    tracks: tuple[TrackIdentity, ...] = ()
    changed: tuple[int, ...] = ()
    parted: tuple[tuple[int, int], ...] = ()
    learnt: Knowledge = NOTHING
    ended: tuple[EndedTrack, ...] = ()


@dataclass(frozen=True, slots=True)
class MatcherState:
    """All that must outlive a crash.

    Attributes:
        identities: with the tracks behind their prototypes.
        tracks: who each of them is.
        parted: pairs of identities that some camera saw together.
    """

    identities: tuple[tuple[Identity, tuple[TrackKey | None, ...]], ...] = ()
    tracks: Mapping[TrackKey, int] = field(default_factory=dict)
    next_identity_id: int = 1
    parted: tuple[tuple[int, int], ...] = ()
    learnt: Knowledge = NOTHING


def survivors(became: Mapping[int, int]) -> dict[int, int]:
    """Each merged identity to the one that goes on, chains of merges followed.

    Raises:
        ValueError: a chain leads back to its start.
    """
    ends = {}
    for start in became:
        end, steps = start, 0
        while end in became:
            end, steps = became[end], steps + 1
            if steps > len(became):
                raise ValueError(f"identity {start} became itself")
        ends[start] = end
    return ends
