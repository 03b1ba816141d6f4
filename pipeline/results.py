"""What a run leaves behind: reading a run directory and its ground truth, and the summary of both."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import structs

from pipeline.config import CameraConfig, Site
from pipeline.datatypes import END_OF_FILE
from pipeline.errors import ConfigError, StoreError
from pipeline.evaluation import Boxes, Scores, last_in_frame, merged, score
from pipeline.events import MOST, lines, read_merges, whole_lines
from pipeline.telemetry import CameraCounters

_MUCH = 0.02
_ONLINE = (
    "strictly online: every box has the identity its track held when the box was written (those before a track's first "
    "identity have that one, those of tracks without one are absent)"
)
_AFTER = (
    "after merges: as strictly online, then every merge in events.jsonl carried out over the whole run, and of several "
    "boxes of one identity in a frame the one written last"
)
_RULES = "all cameras one sequence, global ids, IDF1 at IoU 0.5, boxes with consider=0 ignored"


class CameraSummary(msgspec.Struct):
    """One camera over a whole run.

    Attributes:
        fps: processed frames by the run's wall time.
        reason: why no more frames came; "" when they did to the end.
    """

    frames: int
    fps: float
    dropped: int
    tracks: int
    crops: int
    reconnects: int
    drop_reasons: dict[str, int]
    reason: str = ""


class Evaluation(Scores, frozen=True):
    """Cross-camera scores in 0..1, strictly online; `after_merges` beside them."""

    after_merges: Scores


class Summary(msgspec.Struct):
    """summary.json of a run directory.

    Attributes:
        latency_ms: p50, p95, p99 from a frame's arrival to its identities; in a replay from the start of its step.
        rss_mb: resident memory of all processes at the end, shared pages counted once a process.
        interrupted: a replay was stopped before its end.
    """

    mode: str
    identities: int
    seconds: float
    fps: float
    cameras: dict[str, CameraSummary]
    latency_ms: dict[str, float]
    rss_mb: float
    restarts: int = 0
    interrupted: bool = False
    evaluation: Evaluation | None = None


def read_boxes(path: Path, *, of_a_run: bool = False) -> Boxes:
    """Boxes of a MOT file: frame,id,x,y,w,h,consider,… a line; 0 for consider marks a person to be left out.

    Args:
        of_a_run: half a last line is left out.

    Raises:
        ConfigError: missing, or a line of another form.
    """
    read = whole_lines if of_a_run else lines
    numbers = [_box_numbers(path, number, line) for number, line in read(path, "boxes") if line.strip()]
    rows = np.array(numbers).reshape(-1, 7)
    frame, identity = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    return Boxes(frame, identity, rows[:, 2:6].astype(np.float32), rows[:, 6] != 0)


def _box_numbers(path: Path, number: int, line: str) -> list[float]:
    """The first seven values of a line of a MOT file."""
    try:
        values = [float(value) for value in line.split(",")[:7]]
    except ValueError:
        values = []
    if len(values) < 7 or not all(map(math.isfinite, values)) or not all(abs(one) < MOST for one in values[:2]):
        raise ConfigError(f"{path}: line {number} is not MOT (frame,id,x,y,w,h,consider,…): {line[:80]!r}; mend it")
    return values


@dataclass(frozen=True, slots=True)
class MergedTracks:
    """One camera's boxes after merges.

    Attributes:
        boxes: how many there are.
        changed: of them, how many have got another identity.
        left_out: how many more there were before, each with a later one of its identity in its frame.
    """

    camera_id: str
    boxes: int
    changed: int
    left_out: int


def write_merged(run: Path, out: Path) -> list[MergedTracks]:
    """Copies the tracks of a run to `out`, every merge in events.jsonl carried out; what each camera's file holds.

    Of several boxes of one identity in a frame the one written last is kept. But for the identity of those merged,
    lines stay as they are. They go through one at a time; some 60 bytes of each are kept in memory meanwhile.

    Raises:
        ConfigError: `run` holds no tracks or no events, `out` is its tracks, a line is no event or not MOT.
        StoreError: a camera's file cannot be written; it is as it was, and so are those of the cameras after it.
    """
    events, tracks = run / "events.jsonl", sorted((run / "tracks").glob("*.txt"))
    if not tracks:
        raise ConfigError(f"{run / 'tracks'}: no <camera id>.txt there; give a run directory")
    if not events.is_file():
        raise ConfigError(f"{events}: no such file, so no merge is known; give a whole run directory")
    if out.resolve() == (run / "tracks").resolve():
        raise ConfigError(f"{out}: the tracks are read from there; give another --out")
    became = read_merges(events)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{out}: cannot make the folder: {error.strerror}; give another --out") from error
    return [_copy_merged(path, out / path.name, became) for path in tracks]


def _copy_merged(source: Path, target: Path, became: Mapping[int, int]) -> MergedTracks:
    """One camera's file, which appears whole or not at all."""
    frame, identity = np.fromiter(_frames_and_identities(source), np.dtype((np.int64, 2))).T
    final = merged(identity, became)
    kept = last_in_frame(frame, final)
    part = target.with_name(target.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            # The file may have grown meanwhile.
            for stays, old, new, (_, line) in zip(kept, identity, final, _box_lines(source), strict=False):
                if stays:
                    file.write(line if old == new else _renamed(line, new))
        part.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot write: {error.strerror}; free space or give another --out") from error
    finally:
        with suppress(OSError):
            part.unlink()
    changed = int(np.count_nonzero((final != identity) & kept))
    return MergedTracks(source.stem, int(kept.sum()), changed, int((~kept).sum()))


def _frames_and_identities(path: Path) -> Iterator[tuple[int, int]]:
    for number, line in _box_lines(path):
        frame, identity, *_ = _box_numbers(path, number, line)
        yield int(frame), int(identity)


def _box_lines(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in whole_lines(path, "boxes") if line.strip())


def _renamed(line: str, identity: int) -> str:
    frame, _, rest = line.split(",", 2)
    return f"{frame},{identity},{rest}"


def evaluate_run(run: Path, truth: Path) -> Evaluation:
    """Scores of a run directory against a folder of MOT files named like its cameras.

    Raises:
        ConfigError: a folder is missing or holds no file that belongs to the other.
    """
    known = {path.stem: path for path in sorted(truth.glob("*.txt"))}
    tracks = {path.stem: path for path in sorted((run / "tracks").glob("*.txt"))}
    common = sorted(known.keys() & tracks.keys())
    if not common:
        raise ConfigError(
            f"no camera of {run / 'tracks'} ({', '.join(tracks) or 'no file'}) has truth in {truth} "
            f"({', '.join(known) or 'no file'}); files are named <camera id>.txt"
        )
    people = {camera: read_boxes(known[camera]) for camera in common}
    found = {camera: read_boxes(tracks[camera], of_a_run=True) for camera in common}
    stamp = f"{_RULES}; TrackEval {_trackeval_version()}; cameras {', '.join(common)}"
    online = score(people, found, f"{_ONLINE}; {stamp}")
    became = read_merges(run / "events.jsonl")
    after = score(people, _with_merges(found, became), f"{_AFTER}; {stamp}")
    return Evaluation(**_rounded(online), after_merges=Scores(**_rounded(after)))


def overlooked(run: Path, truth: Path) -> Iterator[str]:
    """A line for each camera with truth whose frames were not nearly all looked at, as summary.json has it."""
    try:
        summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return
    for camera_id, one in summary.cameras.items():
        path = truth / f"{camera_id}.txt"
        last = int(read_boxes(path).frame.max(initial=0)) if path.is_file() else 0
        if one.frames < (1 - _MUCH) * last:
            yield f"{camera_id}: {one.frames} of {last} frames were looked at; who is in the others counts as missed"


def _with_merges(found: Mapping[str, Boxes], became: Mapping[int, int]) -> dict[str, Boxes]:
    after = {camera: replace(boxes, identity=merged(boxes.identity, became)) for camera, boxes in found.items()}
    return {camera: boxes.at(last_in_frame(boxes.frame, boxes.identity)) for camera, boxes in after.items()}


def _rounded(scores: Scores) -> dict[str, Any]:
    return {name: round(one, 4) if isinstance(one, float) else one for name, one in structs.asdict(scores).items()}


def _trackeval_version() -> str:
    try:
        return version("trackeval")
    except PackageNotFoundError as error:
        raise ConfigError('scores need TrackEval; pip install "mspf-pipeline[evaluate]"') from error


def camera_summary(total: CameraCounters, seconds: float) -> CameraSummary:
    """One camera's totals."""
    return CameraSummary(
        frames=total.frames,
        fps=round(total.frames / max(seconds, 1e-3), 2),
        dropped=sum(total.dropped.values()),
        tracks=total.tracks,
        crops=total.crops,
        reconnects=total.reconnects,
        drop_reasons=total.dropped,
        reason="" if total.reason == END_OF_FILE else total.reason,
    )


def hints(summary: Summary, site: Site) -> list[str]:
    """What a user should know of a run beside its figures, a line each."""
    return [*_dropping(summary), *_nameless(summary, site)]


def _dropping(summary: Summary) -> Iterator[str]:
    dropped = sum(one.dropped for one in summary.cameras.values())
    frames = dropped + sum(one.frames for one in summary.cameras.values())
    if dropped > _MUCH * frames:
        missed = "; who is in them counts as missed in the scores" if summary.evaluation else ""
        yield f"{dropped} of {frames} frames were dropped: this machine is too slow for these cameras{missed}"


def _nameless(summary: Summary, site: Site) -> Iterator[str]:
    """Why people who were tracked have no identity; nothing when they have."""
    if undescribed := [camera_id for camera_id, one in summary.cameras.items() if one.tracks and not one.crops]:
        yield (
            f"{', '.join(undescribed)}: people were tracked but none described: all lower than quality.min_height_px "
            f"({site.quality.min_height_px:g}) or below quality.min_quality ({site.quality.min_quality:g})"
        )
    if not summary.identities and any(one.crops for one in summary.cameras.values()):
        yield (
            "people were described but none got an identity: none was seen for matcher.confirm_after_s "
            f"({site.matcher.confirm_after_s:g} s) with matcher.min_embeddings ({site.matcher.min_embeddings}) views"
        )


def short_reason(reason: str, camera: CameraConfig) -> str:
    """A camera's reason without its id, its url and what to do."""
    told = re.sub(rf"^{re.escape(camera.id)}:|( from)? {re.escape(camera.safe_url)}", "", reason)
    return told.partition(";")[0].strip(" :")
