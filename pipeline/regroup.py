"""Who was who, once more: the tracks that a run kept are gathered to people with all of them in view.

What comes of it is written as a run directory of its own, which `people`, `visits`, `find` and `evaluate` read.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.config import MatcherConfig
from pipeline.datatypes import TrackKey
from pipeline.errors import ConfigError, StoreError
from pipeline.events import Assigned, Confirmed, Event, Merged, TrackEnded, ended_as, read_events
from pipeline.grouping import Tracks, grouped
from pipeline.kept_tracks import KeptTrack, kept_files, read_kept_boxes, read_tracks
from pipeline.people import FOUND, PAGE, is_page
from pipeline.portraits import folder as pictures_of
from pipeline.sinks import replace_file, write_json
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
    became, highest = _told(run / "events.jsonl")
    known = [became.get(one.identity_id, one.identity_id) for one in tracks]
    highest = max(highest, *known)
    people = _numbers(tracks, known, grouped(_arrays(tracks, known), config), highest)
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
    try:
        if out.resolve() == run.resolve():
            raise ConfigError(f"{out}: is the run itself; give another --out")
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out}: is no folder; give another --out")
        if out.is_dir() and any(out.iterdir()) and not (out / _STAMP).is_file():
            raise ConfigError(f"{out}: holds something else than tracks gathered anew; give another --out")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be read: {error.strerror}; give another --out") from error


def _told(events: Path) -> tuple[dict[int, int], int]:
    """What each merged identity is in the end, and the highest number that anybody ever had."""
    if not events.is_file():
        raise ConfigError(f"{events}: no such file, so no merge is known; keep it beside the tracks")
    merges, highest = {}, 0
    for one in read_events(events):
        if isinstance(one, Merged):
            merges[one.replaces] = one.identity
        if isinstance(one, Assigned | Merged):
            highest = max(highest, one.identity)
    return ended_as(events, merges), highest


def _arrays(tracks: Sequence[KeptTrack], known: Sequence[int]) -> Tracks:
    names = sorted({one.key.camera_id for one in tracks})
    number = {name: place for place, name in enumerate(names)}
    passages = Passages(
        np.array([number[one.key.camera_id] for one in tracks]),
        np.array([one.since for one in tracks]),
        np.array([one.until for one in tracks]),
    )
    return Tracks(np.stack([one.descriptor for one in tracks]), passages, len(names), np.array(known))


def _numbers(tracks: Sequence[KeptTrack], known: Sequence[int], group: I64, highest: int) -> list[int]:
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
    unused = highest + 1
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
    """Writes all files beside the former ones before it replaces these."""
    whose: dict[str, dict[TrackKey, tuple[int, float]]] = defaultdict(dict)
    for one, who in zip(tracks, people, strict=True):
        whose[one.key.camera_id][one.key] = (who, one.until - one.since)
    cameras = {path.stem for path in kept_files(run)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _STAMP).touch()
        (out / "tracks").mkdir(exist_ok=True)
        written = [_write_tracks(run, out, camera_id, whose[camera_id]) for camera_id in sorted(cameras)]
        events = sorted(_events(tracks, people, counts), key=lambda one: one.at)
        replace_file(out / "events.jsonl", b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        old = {*(out / "tracks").glob("*.txt"), out / "evaluation.json", *filter(is_page, (out / PAGE, out / FOUND))}
        for path in old:
            path.unlink(missing_ok=True)
        for path in written:
            path.replace(path.with_suffix(""))
        _link_pictures(run, out)
    except OSError as error:
        raise StoreError(f"{out}: cannot write: {error.strerror}; free space or give another --out") from error


def _link_pictures(run: Path, out: Path) -> None:
    link = pictures_of(out)
    if link.is_symlink():
        link.unlink()
    if pictures_of(run).is_dir() and not link.exists():
        link.symlink_to(os.path.relpath(pictures_of(run).resolve(), out.resolve()))


def _write_tracks(run: Path, out: Path, camera_id: str, whose: Mapping[TrackKey, tuple[int, float]]) -> Path:
    """The boxes of a camera in MOT format, one for a person in a frame: that of the longest track; where they are.

    They go through one at a time; some 40 bytes of each are kept in memory meanwhile.
    """
    mine = (one for one in read_kept_boxes(run, camera_id) if one.key in whose)
    kind = np.dtype([("epoch", np.int64), ("frame", np.int64), ("who", np.int64), ("seconds", np.float64)])
    rows = np.fromiter(((one.key.epoch, one.frame, *whose[one.key]) for one in mine), kind)
    order = np.lexsort((rows["seconds"], rows["who"], rows["frame"], rows["epoch"]))
    place = rows[["epoch", "frame", "who"]][order]
    kept = np.ones(len(rows), bool)
    kept[order[:-1][place[:-1] == place[1:]]] = False
    path = out / "tracks" / f"{camera_id}.txt.part"
    with path.open("w", encoding="utf-8", newline="") as file:
        mine = (one for one in read_kept_boxes(run, camera_id) if one.key in whose)
        for stays, one in zip(kept, mine, strict=False):  # the file may have grown meanwhile
            if stays:
                file.write(f"{one.frame},{whose[one.key][0]},{one.box},-1,-1,-1\n")
    return path


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
