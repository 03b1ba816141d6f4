"""Who was where, and when: the visits of people to cameras, from the events of a run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError
from pipeline.events import Assigned, Confirmed, Merged, TrackEnded, ended_as, read_events
from pipeline.sinks import write_whole


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody in the view of a camera, from when to when (seconds as `at` in the events)."""

    identity_id: int
    camera_id: str
    since: float
    until: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Way:
    """Everybody who came from one camera to another, without a third between: seconds on the way, of each time.

    Negative where both cameras saw them at one moment.
    """

    came_from: str
    came_to: str
    seconds: tuple[float, ...]


@dataclass(slots=True)
class _Seen:
    """What events tell: tracks with each identity they had and since when, and what became of identities."""

    open: dict[TrackKey, list[tuple[float, int]]] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    confirmed: set[int] = field(default_factory=set)
    merges: dict[int, int] = field(default_factory=dict)

    def assign(self, key: TrackKey, identity_id: int, at: float) -> None:
        self.open.setdefault(key, []).append((at, identity_id))

    def end(self, key: TrackKey, since: float, until: float, identity_id: int) -> None:
        """Adds what was seen of one track; its first identity holds from its beginning on, the last is told, too."""
        held = self.open.pop(key, [(since, identity_id)])
        starts = [since, *(at for at, _ in held[1:])]
        stops = [*starts[1:], max(until, starts[-1])]
        people = [who for _, who in held]
        self.visits += [Visit(who, key.camera_id, *span) for who, *span in zip(people, starts, stops, strict=True)]


def read_visits(run: Path, away_s: float) -> list[Visit]:
    """Visits of everybody who was confirmed, in the order in which they began; merges are carried out.

    A track that did not end, because the run goes on or was killed, counts up to when its identity was decided.

    Args:
        away_s: who is out of a camera's view for no longer has not left.

    Raises:
        ConfigError: no events there, or a line is none.
    """
    path = run / "events.jsonl"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a run directory")
    seen = _Seen()
    for event in read_events(path):
        match event:
            case Assigned():
                seen.assign(event.key, event.identity, event.at)
            case TrackEnded():
                seen.end(event.key, event.since, event.until, event.identity)
            case Confirmed():
                seen.confirmed.add(event.identity)
            case Merged():
                seen.merges[event.replaces] = event.identity
    for key, held in [*seen.open.items()]:
        (since, _), (until, who) = held[0], held[-1]
        seen.end(key, since, until, who)
    became = ended_as(path, seen.merges)
    counting = {became.get(who, who) for who in seen.confirmed}
    final = (replace(one, identity_id=became.get(one.identity_id, one.identity_id)) for one in seen.visits)
    return joined((one for one in final if one.identity_id in counting), away_s)


def joined(visits: Iterable[Visit], away_s: float) -> list[Visit]:
    """One visit of those of a person to a camera that have no longer between them; in the order in which they began."""
    whole: list[Visit] = []
    for one in sorted(visits, key=lambda one: (one.identity_id, one.camera_id, one.since)):
        last = whole[-1] if whole else None
        same = last and (last.identity_id, last.camera_id) == (one.identity_id, one.camera_id)
        if last and same and one.since - last.until <= away_s:
            whole[-1] = replace(last, until=max(last.until, one.until))
        else:
            whole.append(one)
    return sorted(whole, key=lambda one: (one.since, one.identity_id, one.camera_id))


def ways(visits: Sequence[Visit]) -> list[Way]:
    """From which camera to which people went, the most used way first."""
    by_person: dict[int, list[Visit]] = defaultdict(list)
    for one in visits:
        by_person[one.identity_id].append(one)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for own in by_person.values():
        for before, after in pairwise(own):
            if before.camera_id != after.camera_id:
                found[before.camera_id, after.camera_id].append(after.since - before.until)
    return [Way(*pair, tuple(seconds)) for pair, seconds in sorted(found.items(), key=lambda one: (-len(one[1]), one))]


def write_visits(visits: Iterable[Visit], path: Path) -> None:
    """A CSV file: identity, camera, since, until, seconds.

    Raises:
        StoreError: it cannot be written; the former file is still there.
    """
    lines = [f"{one.identity_id},{one.camera_id},{one.since:.3f},{one.until:.3f},{one.seconds:.3f}" for one in visits]
    write_whole(path, "\n".join(["identity,camera,since,until,seconds", *lines, ""]).encode())
