"""Who was where, and when: the visits of people to cameras, from the events of a run."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from itertools import accumulate
from pathlib import Path

from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError
from pipeline.events import (
    Assigned,
    CameraDown,
    CameraUp,
    Confirmed,
    Event,
    Merged,
    TrackEnded,
    ended_as,
    read_events,
)
from pipeline.sinks import write_whole

_COLUMNS = ["identity", "camera", "since", "until", "seconds", "since_utc", "until_utc"]
_DATED_FROM_S = 365 * 86400.0  # no file of a replay is so long
_DATED_TO_S = 253_402_300_799.0  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody in the view of a camera, from when to when (seconds as `at` in the events).

    Attributes:
        tracks: those that ended as theirs.
    """

    identity_id: int
    camera_id: str
    since: float
    until: float
    tracks: tuple[TrackKey, ...] = ()

    @property
    def seconds(self) -> float:
        """How long."""
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Way:
    """Each time that somebody came from one camera to another: seconds on the way, negative while both saw them."""

    came_from: str
    came_to: str
    seconds: tuple[float, ...]


class _Log:
    """What the events of a run tell, one after the other.

    Attributes:
        visits: of tracks that ended, by the identities that they had then.
        merges: identity to the one that took its place.
    """

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.merges: dict[int, int] = {}
        self._confirmed: set[int] = set()
        self._begun: set[int] = set()
        self._open: dict[TrackKey, list[tuple[float, int]]] = {}  # identities in turn, and since when
        self._gone: dict[TrackKey, float] = {}  # when the camera of an open track came, went or began anew
        self._now = 0.0

    def take(self, event: Event) -> None:
        """One more event."""
        match event:
            case Assigned():
                self._camera_changed(event.camera, event.epoch)
                self._open.setdefault(event.key, []).append((event.at, event.identity))
                if event.new:
                    self._begun.add(event.identity)
            case TrackEnded():
                self._camera_changed(event.camera, event.epoch)
                self._end(event.key, event.since, event.until, event.identity)
            case Confirmed():
                self._confirmed.add(event.identity)
            case Merged():
                self.merges[event.replaces] = event.identity
            case CameraUp() | CameraDown():
                self._camera_changed(event.camera)
        self._now = max(self._now, event.at)

    def finish(self) -> None:
        """Ends the tracks whose end was not told: with their camera, else with the events."""
        for key, held in [*self._open.items()]:
            (since, _), (decided, who) = held[0], held[-1]
            self._end(key, since, max(decided, self._gone.get(key, self._now)), who)

    def counts(self, identity_id: int) -> bool:
        """Whether somebody was confirmed, or known before the first event."""
        return identity_id in self._confirmed or identity_id not in self._begun

    def _camera_changed(self, camera_id: str, epoch: int | None = None) -> None:
        for key in self._open:
            if key.camera_id == camera_id and (epoch is None or key.epoch < epoch):
                self._gone.setdefault(key, self._now)

    def _end(self, key: TrackKey, since: float, until: float, identity_id: int) -> None:
        """Adds what was seen of one track; its first identity holds from its beginning on, `identity_id` at its end."""
        held = self._open.pop(key, [(since, identity_id)])
        self._gone.pop(key, None)
        starts = [since, *(min(at, until) for at, _ in held[1:])]
        people = [who for _, who in held]
        spans = [*zip(people, starts, [*starts[1:], until], strict=True)]
        self.visits += [Visit(who, key.camera_id, start, stop) for who, start, stop in spans[:-1]]
        self.visits.append(Visit(people[-1], key.camera_id, *spans[-1][1:], (key,)))


def read_visits(run: Path, away_s: float) -> list[Visit]:
    """Visits of everybody who was confirmed, in the order in which they began; merges are carried out.

    A track whose end was not told, because the run goes on or was killed, lasts as long as its camera and the events.

    Args:
        away_s: who is out of a camera's view for no longer has not left.

    Raises:
        ConfigError: no events there, or a line is none.
    """
    path = run / "events.jsonl"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a run directory, or wait until its run has begun")
    log = _Log()
    for event in read_events(path):
        log.take(event)
    log.finish()
    became = ended_as(path, log.merges)
    people = {one.identity_id for one in log.visits} | log.merges.keys()
    counting = {became.get(who, who) for who in people if log.counts(who)}
    final = (replace(one, identity_id=became.get(one.identity_id, one.identity_id)) for one in log.visits)
    return joined((one for one in final if one.identity_id in counting), away_s)


def joined(visits: Iterable[Visit], away_s: float) -> list[Visit]:
    """One visit of those of a person to a camera that have no longer between them; in the order in which they began."""
    whole: list[Visit] = []
    for one in sorted(visits, key=lambda one: (one.identity_id, one.camera_id, one.since)):
        last = whole[-1] if whole else None
        same = last and (last.identity_id, last.camera_id) == (one.identity_id, one.camera_id)
        if last and same and one.since - last.until <= away_s:
            whole[-1] = replace(last, until=max(last.until, one.until), tracks=last.tracks + one.tracks)
        else:
            whole.append(one)
    return sorted(whole, key=lambda one: (one.since, one.identity_id, one.camera_id))


def ways(visits: Sequence[Visit]) -> list[Way]:
    """From which camera to which people went, the most used way first: they come from where they were seen last.

    Args:
        visits: in the order in which they began.
    """
    by_person: dict[int, list[Visit]] = defaultdict(list)
    for one in visits:
        by_person[one.identity_id].append(one)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for own in by_person.values():
        seen_last = accumulate(own, partial(max, key=lambda one: one.until))
        for before, after in zip(seen_last, own[1:], strict=False):
            if before.camera_id != after.camera_id:
                found[before.camera_id, after.camera_id].append(after.since - before.until)
    return [Way(*pair, tuple(seconds)) for pair, seconds in sorted(found.items(), key=lambda one: (-len(one[1]), one))]


def write_visits(visits: Iterable[Visit], path: Path) -> None:
    """A CSV file with a line a visit; where times are of a clock, also as dates in UTC.

    Raises:
        ConfigError: another kind of file is there.
        StoreError: it cannot be written; the former file is still there.
    """
    if path.is_file() and path.stat().st_size and _first_line(path) != _COLUMNS:
        raise ConfigError(f"{path}: is no list of visits, and would be replaced by one; give another --out")
    table = StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows(map(_row, visits))
    write_whole(path, table.getvalue().encode())


def _first_line(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return next(csv.reader([file.readline(1000)]), [])


def _row(visit: Visit) -> tuple[object, ...]:
    numbers = (f"{value:.3f}" for value in (visit.since, visit.until, visit.seconds))
    return (visit.identity_id, visit.camera_id, *numbers, utc_date(visit.since), utc_date(visit.until))


def utc_date(seconds: float) -> str:
    """ISO 8601, or nothing for a time that counts from the start of a file."""
    if not _DATED_FROM_S <= seconds <= _DATED_TO_S:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told_time(seconds: float) -> str:
    """A date to the second, or seconds from the start of a file, to be read."""
    date = utc_date(seconds)
    return f"{date[:10]} {date[11:19]} UTC" if date else f"{seconds:.1f} s"
