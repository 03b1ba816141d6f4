"""cams.yaml: the whole site in one file. Everything but `cameras` may be left out."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from pipeline.errors import ConfigError

Positive = Annotated[float, Meta(gt=0, le=1e9)]
Instant = Annotated[float, Meta(ge=-1e12, le=1e12)]  # limits keep nan and inf out
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Few = Annotated[int, Meta(ge=1, le=1000)]
Several = Annotated[int, Meta(ge=2, le=1000)]
Moments = Annotated[float, Meta(gt=0, le=30)]
Text = Annotated[str, Meta(min_length=1)]
Area = tuple[tuple[Share, Share], ...]

_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
CameraId = Annotated[str, Meta(pattern=_ID)]

_EXAMPLE = "cameras: [{id: hall, url: webcam:0}]"
_YEAR_S = 365 * 86400.0
_AREA = "[[0, 0], [1, 0], [1, 0.5]]"
_CORNERS = 3  # of an area, at least
_LEAST_AREA = 1e-6  # of the picture: less than a pixel
_FRAMES_TO_LOSE = 2.5  # frames that `tracker.lost_after_s` has to hold; they are not quite even
_SECRET = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Userinfo goes up to the last @, since passwords are often not percent-encoded; tokens are told by their names.
_USERINFO = re.compile(r"(:/+).*(?=@)|[^\s:/]+:(?!/)\S*(?=@)")
_TOKEN = re.compile(r"((?:pass|pwd|psw|token|key|secret|auth|sig)[^=&\s/]*=)[^&\s]*", re.IGNORECASE)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file; unknown keys are errors."""


class CameraConfig(_Section, frozen=True):
    """One camera.

    Attributes:
        url: rtsp://…, http://…, a video file (relative to cams.yaml), or webcam:N.
        started_at: UTC seconds of a file's first frame, for all files or, where they start together, none.
        max_age_s: a live camera that delivers no frame for so long is reconnected.
        max_fps: most frames a second that are looked at, evenly; left out, all that the machine has time for.
        ignore: areas of the picture, each of three corners or more, [x, y] as shares of its width and height. Who
            stands in one (the middle of a box's lower edge) is nobody: a mannequin, a poster, the street outside.
    """

    id: CameraId
    url: Text
    started_at: Instant = 0.0
    max_age_s: Positive = 10.0
    max_fps: Positive | None = None
    ignore: tuple[Area, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether the source ends and can be replayed without loss."""
        return "://" not in self.url and not self.url.startswith("webcam:")

    @property
    def safe_url(self) -> str:
        """The url fit for a log: without user, password or token."""
        return redact(self.url)


class DetectorConfig(_Section, frozen=True):
    """Who is a person.

    Attributes:
        model: "default", an .onnx file (relative to cams.yaml), or an ultralytics .pt name or path (needs that extra).
        size: longer side, in pixels, that pictures are brought to for the network, a multiple of 32; left out, the one
            that it was made for ("default": 480). On a GPU no more than that.
        min_score: boxes below are dropped before tracking.
    """

    model: Text = "default"
    backend: str = "auto"
    precision: str = "auto"
    size: Annotated[int, Meta(ge=64, le=4096, multiple_of=32)] | None = None
    min_score: Share = 0.1


class TrackerConfig(_Section, frozen=True):
    """How boxes become tracks (ByteTrack; times in seconds).

    Attributes:
        new_track_score: a box starts a track only above this.
        high_score: boxes above are matched first.
        min_iou: least overlap of a box with a track's predicted box.
        lost_after_s: a track not seen for so long is closed; well within the 60 s after which the matcher gives it up.
        confirm_frames: sightings before a track is described.
    """

    new_track_score: Share = 0.3
    high_score: Share = 0.25
    min_iou: Share = 0.15
    lost_after_s: Moments = 1.0
    confirm_frames: Few = 2


class QualityConfig(_Section, frozen=True):
    """Which crops are worth describing.

    Attributes:
        min_height_px: shorter boxes are never described.
        full_height_px: from here on height costs no quality.
        min_quality: crops below are skipped.
    """

    min_height_px: Positive = 40.0
    full_height_px: Positive = 100.0
    min_quality: Share = 0.3


class ReidConfig(_Section, frozen=True):
    """The describing network and how often it runs.

    Attributes:
        model: "default", which is mspf_x0_5; mspf_x1_0, mspf_x0_25, mspf_x0_5_rendered, mspf_x0_25_rendered, or an
            .onnx file with re-ID metadata (relative to cams.yaml).
        refresh_s: a long track gets a new embedding so often; a young one sooner.
        bank: embeddings kept per track, no fewer than `matcher.min_embeddings`.
        split_below: a track whose last two embeddings are less similar than this to all earlier ones became somebody
            else (two people crossed) and is split; 0 never splits.
        max_batch: most crops described in one step.
    """

    model: Text = "default"
    backend: str = "auto"
    precision: str = "auto"
    refresh_s: Positive = 1.0
    bank: Few = 4
    split_below: Share = 0.65
    max_batch: Few = 16


class MatcherConfig(_Section, frozen=True):
    """When two tracks are one person (cosine similarity, 1 is equal).

    The thresholds are those of mspf_x0_5; a cams.yaml that chooses mspf_x0_25 or mspf_x1_0 has theirs where it gives no
    others.

    Attributes:
        min_similarity: least similarity for joining a known identity.
        sure_similarity: from here on it joins at once; below, more views are waited for.
        new_below: a well-seen track less similar than this to everybody is somebody new at once.
        remove_camera_bias: compare people without what their camera adds to everybody's descriptor.
        weigh_variation: compare people by what does not vary within the site's tracks, learnt as it runs. Similarities
            sink as it learns, so thresholds may have to; with each doubling of it, 20,000 people take 1.4 s.
        continuity_bonus: added to the similarity of a track that goes on where its camera lost that identity just now.
        elsewhere_penalty: taken off the similarity to somebody whom another camera sees now, in full where the two
            cameras have never been found to see the same people at one moment.
        crowd_penalty: taken off every similarity with each tenfold of the people known, from 20 on: the more there are,
            the more of them look like anybody. Less for a track that goes on where its camera lost them.
        transition_weight: added to the similarity of somebody who is ten times as likely as others to come now, by the
            camera and the time they were last seen, and taken off where ten times less; learnt as the site runs.
        merge_similarity: two identities this similar become one, unless seen together by one camera.
        merge_within_s: only an identity younger than this is merged into an older one.
        min_embeddings: least evidence before deciding.
        decide_after_s: a track in doubt for so long is decided by min_similarity.
        confirm_after_s: a provisional identity seen for so long is confirmed.
        prototypes: tracklet means kept per identity; beyond, the two most similar are averaged.
        forget_after_s, max_identities: bounds of the gallery.
    """

    min_similarity: Share = 0.55
    sure_similarity: Share = 0.75
    new_below: Share = 0.35
    remove_camera_bias: bool = True
    weigh_variation: bool = False
    continuity_bonus: Share = 0.15
    elsewhere_penalty: Share = 0.3
    crowd_penalty: Share = 0.1
    transition_weight: Share = 0.15
    merge_similarity: Share = 0.8
    merge_within_s: Positive = 3600.0
    min_embeddings: Count = 3
    decide_after_s: Positive = 1.5
    confirm_after_s: Positive = 1.0
    prototypes: Several = 8
    forget_after_s: Positive = 3600.0
    max_identities: Count = 20_000


_THRESHOLDS = {  # of shipped networks whose similarities are not those of the default; measured, see its card
    "mspf_x0_25": {"min_similarity": 0.5, "sure_similarity": 0.75, "new_below": 0.3},
    "mspf_x1_0": {"min_similarity": 0.5, "sure_similarity": 0.7, "new_below": 0.3, "merge_similarity": 0.75},
}


class Site(_Section, frozen=True):
    """A whole installation.

    Attributes:
        truth: folder of MOT ground truth, one file per camera; when set, a run ends with its scores.
        cameras_per_worker: cameras that share one worker process.
    """

    cameras: Annotated[tuple[CameraConfig, ...], Meta(min_length=1)]
    truth: Text | None = None
    cameras_per_worker: Count = 4
    detector: DetectorConfig = DetectorConfig()
    tracker: TrackerConfig = TrackerConfig()
    quality: QualityConfig = QualityConfig()
    reid: ReidConfig = ReidConfig()
    matcher: MatcherConfig = MatcherConfig()

    @property
    def workers(self) -> int:
        """Worker processes of a live run."""
        return -(-len(self.cameras) // self.cameras_per_worker)


_SECTIONS: dict[str, type[_Section]] = {
    "cameras": CameraConfig,
    "detector": DetectorConfig,
    "tracker": TrackerConfig,
    "quality": QualityConfig,
    "reid": ReidConfig,
    "matcher": MatcherConfig,
}


def redact(text: str) -> str:
    """The text with every URL's user, password and token replaced by ***."""
    return _TOKEN.sub(r"\1***", _USERINFO.sub(lambda found: f"{found[1] or ''}***", text))


def load_site(path: Path, environ: Mapping[str, str] | None = os.environ) -> Site:
    """The site that a cams.yaml describes, secrets filled in, file paths made absolute.

    Args:
        environ: the secrets; None leaves ${NAME} as it is, where no camera is opened.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown or of the wrong type, an id occurs twice, some
            files have a clock and others none, a ${NAME} is not set, the truth or a network is not there, settings
            contradict each other.
    """
    try:
        content = path.read_bytes()
        settings = _settings(path, content)
        site = msgspec.convert(settings, Site)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the site: {error.strerror}; give an existing cams.yaml") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {redact(' '.join(str(error).split()))}") from error
    _check_keys(path, yaml.compose(content, Loader=yaml.SafeLoader))
    _check_ids(path, site)
    cameras = tuple(_resolve(path, camera, environ) for camera in site.cameras)
    _check_clocks(path, cameras)
    _check_rates(path, site)
    truth = str(path.parent / site.truth) if site.truth is not None else None
    if truth and not Path(truth).is_dir():
        raise ConfigError(f"{path}: truth: no folder {truth}; give one with a MOT file for each camera")
    matcher = _with_thresholds(site, settings)
    _check_decidable(path, site.reid, matcher)
    return msgspec.structs.replace(
        site,
        cameras=cameras,
        truth=truth,
        matcher=matcher,
        detector=msgspec.structs.replace(site.detector, model=_model_path(path, "detector", site.detector.model)),
        reid=msgspec.structs.replace(site.reid, model=_model_path(path, "reid", site.reid.model)),
    )


def _settings(path: Path, content: bytes) -> dict[str, Any]:
    """What the file gives; a section of which nothing is left is not given.

    Raises:
        ConfigError: it has another form than settings have.
    """
    found = msgspec.yaml.decode(content)
    if not isinstance(found, dict | None):
        raise ConfigError(f"{path}: holds no settings; give at least {_EXAMPLE}")
    given = {key: value for key, value in (found or {}).items() if value is not None or key not in _SECTIONS}
    for fault in _misshapen(given):
        raise ConfigError(f"{path}: {fault}")
    return given


def _misshapen(given: Mapping[str, Any]) -> Iterator[str]:
    """What has another form than it should, told to somebody who does not know YAML's types."""
    for key, kind in _SECTIONS.items():
        if key != "cameras" and not isinstance(value := given.get(key, {}), dict):
            first = msgspec.structs.fields(kind)[0]
            fit = value if isinstance(value, type(first.default)) else first.default
            yield f"{key}: {value!r} is a value where settings belong; write {key}: {{{first.name}: {fit}}}"
    cameras = given.get("cameras", [])
    if not isinstance(cameras, list):
        yield f"cameras: no list; put a dash before each camera, or write {_EXAMPLE}"
        return
    for place, camera in enumerate(cameras):
        if fault := _camera_fault(camera):
            yield f"cameras[{place}]{fault}"


def _camera_fault(camera: object) -> str:
    if not isinstance(camera, dict):
        return f": {redact(repr(camera))} is no camera; write it as in {_EXAMPLE}"
    camera_id, url = camera.get("id"), camera.get("url")
    if not isinstance(camera_id, str | None):
        return f".id: YAML reads {camera_id}, no text; put it in quotes, as '1' or 'no'"
    if camera_id is not None and not re.fullmatch(_ID, camera_id):
        return f".id: {camera_id!r} is no id; use at most 64 of a-z A-Z 0-9 . _ -, first a letter or digit"
    if str(url).isdecimal():
        return f".url: {url!r} is no url; write webcam:{url}"
    return _ignore_fault(camera["ignore"]) if "ignore" in camera else ""


def _ignore_fault(areas: object) -> str:
    if not isinstance(areas, list):
        return f".ignore: {areas!r} is no list of areas; write [{_AREA}]"
    if areas and all(map(_is_pair, areas)):
        return f".ignore: {areas} is one area where a list of them belongs; write [{areas}]"
    for place, area in enumerate(areas):
        if not (isinstance(area, list) and len(area) >= _CORNERS and all(map(_is_pair, area))):
            return f".ignore[{place}]: {area!r} is no area; write three corners or more, each [x, y], as in {_AREA}"
        if outside := [corner for corner in area if not (0 <= corner[0] <= 1 and 0 <= corner[1] <= 1)]:
            return f".ignore[{place}]: {outside[0]} is no corner; give shares of the picture's width and height, 0 to 1"
        if abs(_enclosed(area)) < _LEAST_AREA:
            return f".ignore[{place}]: {area} encloses nothing; give corners that are not on one line, in their order"
    return ""


def _enclosed(area: Sequence[Sequence[float]]) -> float:
    """The share of the picture within some corners, in their order (the shoelace formula); signed."""
    return sum(x * below - right * y for (x, y), (right, below) in pairwise([*area, area[0]])) / 2


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and [type(one) in (int, float) for one in value] == [True, True]


def _with_thresholds(site: Site, settings: Mapping[str, Any]) -> MatcherConfig:
    """The matcher's settings; thresholds that the file does not give are those of the re-ID network."""
    given = settings.get("matcher", {})
    own = thresholds_of(site.reid.model)
    return msgspec.structs.replace(site.matcher, **{key: value for key, value in own.items() if key not in given})


def thresholds_of(model: str) -> Mapping[str, float]:
    """The thresholds of a shipped network's own, by its name; none where they are the defaults."""
    return _THRESHOLDS.get(model, {})


def _check_decidable(path: Path, reid: ReidConfig, matcher: MatcherConfig) -> None:
    """Refuses settings by which no track could ever be decided, or not as they say."""
    if reid.bank < (least := matcher.min_embeddings):
        raise ConfigError(
            f"{path}: reid.bank: {reid.bank} embeddings of a track are kept, matcher.min_embeddings waits for {least}; "
            f"keep {least} or more, or wait for fewer"
        )
    for lower, upper in pairwise(("new_below", "min_similarity", "sure_similarity")):
        if (low := getattr(matcher, lower)) > (high := getattr(matcher, upper)):
            raise ConfigError(
                f"{path}: matcher.{lower}: {low:g} is above {upper}, which is {high:g} here; lower it or raise {upper}"
            )


def _check_keys(path: Path, node: yaml.Node | None) -> None:
    """Refuses a key that stands twice in one place: YAML would take the last and forget the others."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"{path}: line {line}: {key.value!r} stands there twice; keep one")
            seen.add(key.value)
            _check_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_keys(path, value)


def _check_ids(path: Path, site: Site) -> None:
    ids = [camera.id for camera in site.cameras]
    twice = sorted({camera_id for camera_id in ids if ids.count(camera_id) > 1})
    if twice:
        raise ConfigError(f"{path}: cameras: id {twice[0]!r} occurs {ids.count(twice[0])} times; ids must differ")


def _check_clocks(path: Path, cameras: Sequence[CameraConfig]) -> None:
    """Refuses files of which some tell a date and others none: they would be replayed decades apart."""
    files = sorted((camera for camera in cameras if camera.is_file), key=lambda camera: camera.started_at)
    if files and files[-1].started_at - files[0].started_at > _YEAR_S:
        raise ConfigError(
            f"{path}: camera {files[-1].id}: started_at is {files[-1].started_at:.0f}, of {files[0].id} it is "
            f"{files[0].started_at:g}; give it for all files, or for none if they start together"
        )


def _check_rates(path: Path, site: Site) -> None:
    """Refuses cameras of so few frames that one without its person ends a track, or that scores would be wrong."""
    for camera in site.cameras:
        if camera.max_fps is None:
            continue
        where = f"{path}: camera {camera.id}: max_fps: {camera.max_fps:g}"
        if _FRAMES_TO_LOSE / camera.max_fps > (lost_after_s := site.tracker.lost_after_s):
            raise ConfigError(
                f"{where}: somebody missed in one frame would be lost, since tracker.lost_after_s is {lost_after_s:g}; "
                f"give {_FRAMES_TO_LOSE / lost_after_s:g} or more, or a lost_after_s of "
                f"{_FRAMES_TO_LOSE / camera.max_fps:g} or more"
            )
        if site.truth is not None:
            raise ConfigError(f"{where}, and scores against truth count every frame; leave out one of the two")


def _resolve(path: Path, camera: CameraConfig, environ: Mapping[str, str] | None) -> CameraConfig:
    def secret(found: re.Match[str]) -> str:
        if environ is None:
            return found[0]
        if found[1] not in environ:
            raise ConfigError(f"{path}: camera {camera.id}: ${{{found[1]}}} is not set; export {found[1]}=… first")
        return environ[found[1]]

    url = _SECRET.sub(secret, camera.url).removeprefix("file://")
    camera = msgspec.structs.replace(camera, url=url)
    return msgspec.structs.replace(camera, url=str(path.parent / camera.url)) if camera.is_file else camera


def _model_path(path: Path, section: str, model: str) -> str:
    """A file beside cams.yaml, else in the working folder; names such as `default` or `yolo11n.pt` stay names."""
    beside = path.parent / model
    if Path(model).suffix.lower() == ".onnx" and not beside.is_file() and not Path(model).is_file():
        raise ConfigError(f"{path}: {section}.model: no file {model}; relative paths start at cams.yaml")
    return str(beside) if beside.is_file() else model


def _explain(message: str) -> str:
    """msgspec's message, an unknown key named with its full path and the nearest known one."""
    if "missing required field `cameras`" in message:
        return f"cameras: is missing; give at least one, as in {_EXAMPLE}"
    found = re.search(r"unknown field `(.+?)`(?: - at `\$\.?(.*)`)?", message)
    if not found:
        told = message.replace(" - at `$.", " at `").replace(" - at `$`", "")
        return f"{told}; configs/cams.example.yaml shows every setting"
    key, where = found[1], found[2] or ""
    known = _keys_at(re.sub(r"\[.*?\]", "", where))
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {f'{where}.{key}' if where else key!r}; {hint}"


def _keys_at(section: str) -> list[str]:
    return [field.name for field in msgspec.structs.fields(_SECTIONS[section] if section else Site)]
