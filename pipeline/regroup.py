"""Who was who, once more: the tracks that a run kept are gathered to people with all of them in view.

What comes of it is written as a run directory of its own, which `people`, `visits`, `find` and `evaluate` read.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.config import MatcherConfig
from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError, StoreError
from pipeline.events import Assigned, Confirmed, Event, TrackEnded, read_merges
from pipeline.grouping import Tracks, grouped
from pipeline.kept_tracks import KeptTrack, read_kept_boxes, read_tracks
from pipeline.portraits import folder as pictures_of
from pipeline.sinks import write_json, write_whole
from pipeline.timetable import Passages

I64 = NDArray[np.int64]
FOLDER = "regrouped"  # of a run directory
_STAMP = "regrouped.json"


@dataclass(frozen=True, slots=True)
class Regrouped:
    """What came of it; regrouped.json of the directory.

    Attributes:
        people: who were seen for long enough, or by two cameras; before: how many of such the run itself had.
        changed: tracks with another number than the run gave them in the end.
    """

    tracks: int
    people: int
    before: int
    changed: int
    settings: MatcherConfig


def regroup(run: Path, out: Path, config: MatcherConfig) -> Regrouped:
    """Gathers the tracks of a run anew and writes `out`. People keep the number that most of their time had.

    Raises:
        ConfigError: the run kept no tracks, a line is none, or `out` is something else.
        StoreError: `out` cannot be written.
    """
    _check_replaceable(run, out)
    tracks = sorted(read_tracks(run), key=lambda one: (one.since, one.key))
    became = read_merges(run / "events.jsonl")
    known = [became.get(one.identity_id, one.identity_id) for one in tracks]
    people = _numbers(tracks, known, grouped(_arrays(tracks, known), config))
    counts = _confirmed(tracks, people, config)
    _write(run, out, tracks, people, counts)
    found = Regrouped(
        tracks=len(tracks),
        people=len(counts),
        before=len(_confirmed(tracks, known, config)),
        changed=sum(one != other for one, other in zip(people, known, strict=True)),
        settings=config,
    )
    write_json(out / _STAMP, found)
    return found


def _check_replaceable(run: Path, out: Path) -> None:
    if out.resolve() == run.resolve():
        raise ConfigError(f"{out}: is the run itself; give another --out")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is no folder; give another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / _STAMP).is_file():
        raise ConfigError(f"{out}: holds something else than tracks gathered anew; give another --out")


def _arrays(tracks: Sequence[KeptTrack], known: Sequence[int]) -> Tracks:
    names = sorted({one.key.camera_id for one in tracks})
    number = {name: place for place, name in enumerate(names)}
    passages = Passages(
        np.array([number[one.key.camera_id] for one in tracks]),
        np.array([one.since for one in tracks]),
        np.array([one.until for one in tracks]),
    )
    return Tracks(np.stack([one.descriptor for one in tracks]), passages, len(names), np.array(known))


def _numbers(tracks: Sequence[KeptTrack], known: Sequence[int], group: I64) -> list[int]:
    """The identity of each track: a group has the one that most of its seconds had, if no other group has more."""
    shared: dict[tuple[int, int], float] = defaultdict(float)
    for one, who, people in zip(tracks, known, group.tolist(), strict=True):
        shared[people, who] += one.until - one.since
    number: dict[int, int] = {}
    taken: set[int] = set()
    for (people, who), _ in sorted(shared.items(), key=lambda one: (-one[1], one[0])):
        if people not in number and who not in taken:
            number[people] = who
            taken.add(who)
    unused = max(known) + 1
    for people in sorted(set(group.tolist()) - number.keys()):
        number[people], unused = unused, unused + 1
    return [number[people] for people in group.tolist()]


def _confirmed(tracks: Sequence[KeptTrack], people: Sequence[int], config: MatcherConfig) -> dict[int, float]:
    """Who was seen for long enough or by two cameras, and since when that is known; as in `matcher`."""
    first: dict[int, KeptTrack] = {}
    since: dict[int, float] = {}
    for one, who in zip(tracks, people, strict=True):  # in the order of their beginning
        begun = first.setdefault(who, one)
        if one.key.camera_id != begun.key.camera_id:
            since[who] = min(since.get(who, np.inf), one.since)
        if one.until - begun.since >= config.confirm_after_s:
            since[who] = min(since.get(who, np.inf), max(one.since, begun.since + config.confirm_after_s))
    return since


def _write(
    run: Path, out: Path, tracks: Sequence[KeptTrack], people: Sequence[int], counts: Mapping[int, float]
) -> None:
    try:
        (out / "tracks").mkdir(parents=True, exist_ok=True)
        (out / _STAMP).touch()
        for path in (out / "tracks").glob("*.txt"):
            path.unlink()
        if pictures_of(run).is_dir():
            with suppress(FileExistsError):
                pictures_of(out).symlink_to(os.path.relpath(pictures_of(run).resolve(), out.resolve()))
    except OSError as error:
        raise StoreError(f"{out}: cannot write: {error.strerror}; give another --out") from error
    events = sorted(_events(tracks, people, counts), key=lambda one: one.at)
    write_whole(out / "events.jsonl", b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    whose: dict[str, dict[TrackKey, tuple[int, float]]] = defaultdict(dict)
    for one, who in zip(tracks, people, strict=True):
        whose[one.key.camera_id][one.key] = (who, one.until - one.since)
    for camera_id, own in whose.items():
        write_whole(out / "tracks" / f"{camera_id}.txt", "".join(_lines(run, camera_id, own)).encode())


def _events(tracks: Sequence[KeptTrack], people: Sequence[int], counts: Mapping[int, float]) -> Iterator[Event]:
    """What a run would have told that knew everything from the first."""
    met: set[int] = set()
    for one, who in zip(tracks, people, strict=True):
        key = one.key
        track: dict[str, Any] = {"camera": key.camera_id, "epoch": key.epoch, "track": key.track_id, "identity": who}
        yield Assigned(at=one.since, new=who not in met, **track)
        yield TrackEnded(at=one.until, since=one.since, until=one.until, **track)
        met.add(who)
    for who, at in counts.items():
        yield Confirmed(at=at, identity=who)


def _lines(run: Path, camera_id: str, whose: Mapping[TrackKey, tuple[int, float]]) -> Iterator[str]:
    """The boxes of a camera in MOT format, one for a person in a frame: that of the longest track."""
    best: dict[tuple[int, int], tuple[float, TrackKey]] = {}
    for one in read_kept_boxes(run, camera_id):
        if one.key in whose:
            who, seconds = whose[one.key]
            place = one.frame, who
            best[place] = max(best.get(place, (seconds, one.key)), (seconds, one.key))
    for one in read_kept_boxes(run, camera_id):
        if one.key in whose and best[one.frame, whose[one.key][0]][1] == one.key:
            yield f"{one.frame},{whose[one.key][0]},{one.box},-1,-1,-1\n"
