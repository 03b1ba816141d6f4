"""A whole site from a seed: clips of every camera, cams.yaml, calibration and ground truth."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, StoreError
from pipeline.film import FilmFile
from pipeline.simulator.camera import MAX_CAMERAS, Camera, site_cameras
from pipeline.simulator.cast import COLOURFUL, EVERYDAY, random_cast
from pipeline.simulator.mesh import Mesh, build_mesh
from pipeline.simulator.person import Person
from pipeline.simulator.renderer import Renderer
from pipeline.simulator.scene import Place, PlaceName, Scene, build_scene
from pipeline.simulator.skeleton import pose
from pipeline.simulator.truth import PersonView, measure_views, mot_line, skin_points, write_calibration
from pipeline.simulator.walk import Walks, walk

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
MAX_PEOPLE = 200  # a mask pixel holds a person's number in 8 bits


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to simulate; the same values give the same pixels and the same truth.

    Attributes:
        supersampling: pixels are averaged over its square; 1 is enough for a detector, 2 looks better.
        crf: x264 constant rate factor, smaller is better and larger.
        everyday: people wear what people in streets do, much of it dark; they are harder to tell apart.
    """

    cameras: int = 4
    people: int = 12
    seconds: float = 60.0
    seed: int = 7
    fps: int = 10
    size_wh: tuple[int, int] = (640, 360)
    supersampling: int = 1
    crf: int = 23
    everyday: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        _check("cameras", self.cameras, 1, MAX_CAMERAS)
        _check("people", self.people, 1, MAX_PEOPLE)
        _check("seconds", self.seconds, 0.1, 3600)
        _check("seed", self.seed, 0, 2**31 - 1)
        _check("fps", self.fps, 1, 60)
        _check("supersampling", self.supersampling, 1, 4)
        _check("crf", self.crf, 0, 51)
        for side in self.size_wh:
            _check("size", side, 64, 3840)
            if side % 2:
                raise ConfigError(f"size: {side} is odd; H.264 needs an even width and height")

    @property
    def frames(self) -> int:
        """Frames of every clip."""
        return max(1, round(self.seconds * self.fps))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one camera delivers at one frame (from 0)."""

    frame: int
    camera: Camera
    image_bgr: U8
    people: list[PersonView]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """The world of a simulation before anything is drawn."""

    scene: Scene
    cameras: tuple[Camera, ...]
    cast: tuple[Person, ...]
    walks: Walks


def plan(simulation: Simulation) -> Site:
    """Scene, cameras, cast and motion; needs no graphics."""
    scene = build_scene(simulation.seed)
    cameras = site_cameras(simulation.cameras, simulation.size_wh, simulation.seed)
    cast = random_cast(simulation.people, simulation.seed, EVERYDAY if simulation.everyday else COLOURFUL)
    visited = tuple(dict.fromkeys(camera.place for camera in cameras))
    walks = walk(scene, cast, visited, frames=simulation.frames, fps=simulation.fps, seed=simulation.seed)
    return Site(scene, cameras, cast, walks)


def simulate(simulation: Simulation, out: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Write OUT/cams.yaml, CAMERA.mp4, truth/CAMERA.txt, truth/ground.csv and calibration.json.

    Args:
        on_progress: called after every frame with the frames done and the frames in all.

    Raises:
        ConfigError: the renderer's libraries are missing.
        StoreError: OUT cannot be written, or holds a site.
    """
    if (out / "cams.yaml").exists():
        raise StoreError(f"{out}: holds a cams.yaml, which would be replaced; give another --out, or move it away")
    site = plan(simulation)
    try:
        (out / "truth").mkdir(parents=True, exist_ok=True)
        write_calibration(out / "calibration.json", site.cameras)
        (out / "truth" / "ground.csv").write_text(_ground_csv(site, simulation.fps))
        with ExitStack() as stack:
            clips = {
                camera.camera_id: stack.enter_context(Clip(out / f"{camera.camera_id}.mp4", simulation))
                for camera in site.cameras
            }
            lines: dict[str, list[str]] = {camera_id: [] for camera_id in clips}
            for view in render(simulation, site, range(simulation.frames)):
                camera_id = view.camera.camera_id
                clips[camera_id].write(view.image_bgr)
                lines[camera_id] += [mot_line(view.frame + 1, person) for person in view.people]
                if on_progress and view.camera is site.cameras[-1]:
                    on_progress(view.frame + 1, simulation.frames)
        for camera_id, rows in lines.items():
            (out / "truth" / f"{camera_id}.txt").write_text("".join(f"{row}\n" for row in rows))
        (out / "cams.yaml").write_text(_cams_yaml(site.cameras))  # last: where it is, the site is whole
    except (av.error.FFmpegError, OSError) as error:
        raise StoreError(f"{out}: cannot write the simulation ({error}); choose another --out") from error


def render(simulation: Simulation, site: Site, frames: Sequence[int]) -> Iterator[View]:
    """Views of the given frames, each time step once per camera, in the cameras' order."""
    meshes = [build_mesh(person.build, person.outfit) for person in site.cast]
    sensors = {camera.camera_id: Sensor(camera, simulation.seed) for camera in site.cameras}
    cast = list(zip(site.cast, meshes, strict=True))
    with Renderer(site.scene, cast, simulation.size_wh, simulation.supersampling) as renderer:
        for frame in frames:
            poses = {place: _poses(site, meshes, site.scene.places[place], frame) for place in PlaceName}
            bodies = {
                number: skin_points(meshes[number - 1], bones)
                for present in poses.values()
                for number, bones in present.items()
            }
            lit: PlaceName | None = None
            for camera in site.cameras:
                place, present = site.scene.places[camera.place], poses[camera.place]
                if lit is not camera.place:
                    renderer.light_place(place, present)
                    lit = camera.place
                picture = renderer.draw(camera, place, present)
                people = measure_views(renderer, camera, present, bodies, picture.owner)
                yield View(frame, camera, sensors[camera.camera_id].expose(picture.image_bgr, frame), people)


def _poses(site: Site, meshes: list[Mesh], place: Place, frame: int) -> dict[int, F32]:
    """Bone matrices by actor number of those who are in the place or in sight of it."""
    walks = site.walks
    low, high = place.sight_x
    return {
        person.identity_id: pose(
            meshes[index].joints,
            person.gait,
            float(walks.phase[frame, index]),
            float(walks.amplitude[frame, index]),
            ground_xy=walks.position_xy[frame, index],
            heading=float(walks.heading[frame, index]),
        )
        for index, person in enumerate(site.cast)
        if low < walks.position_xy[frame, index, 0] < high
    }


class Sensor:
    """Lens blur and noise of one camera; the noise of a frame depends on seed, camera and frame alone."""

    def __init__(self, camera: Camera, seed: int) -> None:
        self._look = camera.look
        self._seed = (seed, 6, int(camera.camera_id.removeprefix("cam")))
        width, height = camera.size_wh
        rng = np.random.default_rng(self._seed)
        grain = rng.standard_normal((height * 2, width * 2, 1), np.float32)
        chroma = cv2.resize(rng.standard_normal((height, width, 3), np.float32), (width * 2, height * 2))
        self._noise = (grain + 0.7 * chroma) * camera.look.noise

    def expose(self, image_bgr: U8, frame: int) -> U8:
        """(H, W, 3) uint8, blurred and noisy."""
        height, width = image_bgr.shape[:2]
        rng = np.random.default_rng((*self._seed, frame))
        top, left = rng.integers(0, height), rng.integers(0, width)
        blurred = cv2.GaussianBlur(image_bgr, (0, 0), self._look.blur)
        noisy = blurred + self._noise[top : top + height, left : left + width]
        return np.clip(noisy, 0, 255).astype(np.uint8)


class Clip:
    """An H.264 file being written: constant frame rate, timestamps from 0, a key frame every 2 s, no B-frames."""

    def __init__(self, path: Path, simulation: Simulation) -> None:
        self._file = FilmFile(path)
        self._container = av.open(self._file, "w", format="mp4")
        stream = self._container.add_stream("libx264", rate=simulation.fps)
        stream.width, stream.height = simulation.size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 2 * simulation.fps
        stream.codec_context.max_b_frames = 0
        stream.options = {"crf": str(simulation.crf), "preset": "medium", "threads": "1"}
        self._stream = stream
        self._fps = simulation.fps
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            self._file.close()
            self._file.check()
        except (av.error.FFmpegError, OSError):
            if kind is None:  # else the first error says it
                raise

    def write(self, image_bgr: U8) -> None:
        """Append a picture (H, W, 3)."""
        frame = av.VideoFrame.from_ndarray(image_bgr, format="bgr24")
        frame.pts = self._written
        frame.time_base = Fraction(1, self._fps)
        self._written += 1
        self._container.mux(self._stream.encode(frame))
        self._file.check()


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value} is out of range; use {low} to {high}")


def _cams_yaml(cameras: Sequence[Camera]) -> str:
    lines = [f"  - {{id: {camera.camera_id}, url: {camera.camera_id}.mp4}}\n" for camera in cameras]
    return "".join(["cameras:\n", *lines, "truth: truth\n"])


def _ground_csv(site: Site, fps: int) -> str:
    """Where everybody stands, frame by frame: metres, heading in degrees from +x."""
    rows = ["frame,seconds,id,x_m,y_m,heading_deg\n"]
    for frame, (positions, headings) in enumerate(zip(site.walks.position_xy, site.walks.heading, strict=True)):
        for person, (x, y), heading in zip(site.cast, positions, headings, strict=True):
            turned = np.degrees(heading) % 360
            rows.append(f"{frame + 1},{frame / fps:.3f},{person.identity_id},{x:.3f},{y:.3f},{turned:.1f}\n")
    return "".join(rows)
