"""Render training images: whole frames with boxes for the detector, crops of people for re-identification.

    python scripts/simulate_training_data.py detector OUT --images 1200 --split train --seed 1000
    python scripts/simulate_training_data.py detector OUT --images 1860 --seed 100000 --street
    python scripts/simulate_training_data.py reid OUT --people 480 --seed 5000
    python scripts/simulate_training_data.py reid OUT --people 480 --seed 30000 --first-id 30001 --street

detector: OUT/{images,labels}/SPLIT/*.jpg|txt in YOLO's format, one class; people less than 30 % visible or less than
20 px tall have no label. reid: OUT/PPPPP_cC_N.jpg, person, camera, number; every person is seen by several cameras
with lights of their own. --street: people in everyday clothes; half of the cameras at eye level, where one hides the
other; half of all cameras see them before backdrops of shapes. Seeds of demo and tests are below 1000. An interrupted
run continues where it stopped.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.camera import Camera, random_look
from pipeline.simulator.cast import COLOURFUL, EVERYDAY, Wardrobe, random_cast
from pipeline.simulator.mesh import Mesh, build_mesh
from pipeline.simulator.person import Person
from pipeline.simulator.renderer import Picture, Renderer
from pipeline.simulator.scene import Light, Place, build_scene
from pipeline.simulator.simulate import Sensor
from pipeline.simulator.skeleton import pose
from pipeline.simulator.truth import PersonView, measure_views, skin_points

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
SIZE_WH = (640, 360)
FRAMES_PER_CAST = 12
PEOPLE_PER_GROUP = 6
GROUPS_PER_SCENE = 8
CAMERAS_PER_GROUP = 8
MIN_CROP_HEIGHT = 70
MAX_CROPS_PER_CAMERA = 3


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A compressed picture (H, W, 3) and who is in it."""

    image_bgr: U8
    people: list[PersonView]


class Studio:
    """One scene and one cast; `shoot` puts some of them somewhere and takes a picture."""

    def __init__(self, cast: Sequence[Person], seed: int, supersampling: int) -> None:
        self.cast = cast
        self._meshes: list[Mesh] = [build_mesh(person.build, person.outfit) for person in cast]
        self.scene = build_scene(seed)
        pairs = list(zip(cast, self._meshes, strict=True))
        self._renderer = Renderer(self.scene, pairs, SIZE_WH, supersampling)

    def shoot(
        self, rng: np.random.Generator, camera: Camera, place: Place, numbers: Sequence[int], scenery: U8 | None = None
    ) -> Shot:
        """These people (from 1), at random ground points that the camera sees, in random poses.

        Args:
            scenery: (H, W, 3), takes the place of all that is not a person.
        """
        grounds = scattered(rng, camera, place, len(numbers))
        poses = {number: self._pose(rng, number, at) for number, at in zip(numbers, grounds, strict=False)}
        bodies = {number: skin_points(self._meshes[number - 1], bones) for number, bones in poses.items()}
        self._renderer.light_place(place, poses)
        picture = self._renderer.draw(camera, place, poses)
        people = measure_views(self._renderer, camera, poses, bodies, picture.owner)
        image = picture.image_bgr if scenery is None else before(scenery, picture)
        image = Sensor(camera, 0).expose(image, int(rng.integers(2**31)))
        return Shot(compressed(image, int(rng.integers(45, 90))), people)

    def _pose(self, rng: np.random.Generator, number: int, ground_xy: F64) -> F32:
        amplitude = 1.0 if rng.random() < 0.8 else float(rng.uniform(0, 0.4))
        heading = float(rng.uniform(-np.pi, np.pi))
        joints, gait = self._meshes[number - 1].joints, self.cast[number - 1].gait
        return pose(joints, gait, float(rng.random()), amplitude, ground_xy=ground_xy, heading=heading)

    def close(self) -> None:
        """Free the graphics memory."""
        self._renderer.__exit__(None, None, None)


def random_camera(rng: np.random.Generator, place: Place, number: int) -> Camera:
    """A camera under the walls of the place that looks at its middle."""
    x, y = place.centre
    angle, away = rng.uniform(-np.pi, np.pi), rng.uniform(5.5, 10)
    eye = (
        float(x + np.clip(away * np.cos(angle), -8.2, 8.2)),
        float(y + np.clip(away * np.sin(angle), -8.0, 8.0)),
        float(rng.uniform(2.2, 6.0)),
    )
    at = (float(x + rng.uniform(-2, 2)), float(y + rng.uniform(-2, 2)), float(rng.uniform(0.4, 1.0)))
    return Camera(f"cam{number}", place.name, eye, at, float(rng.uniform(50, 74)), SIZE_WH, random_look(rng))


def street_camera(rng: np.random.Generator, place: Place, number: int) -> Camera:
    """Half of them as `random_camera`, half at the height of eyes, with a longer lens."""
    camera = random_camera(rng, place, number)
    if rng.random() < 0.5:
        return camera
    eye = (*camera.eye[:2], float(rng.uniform(1.2, 2.4)))
    target = (*camera.target[:2], float(rng.uniform(0.7, 1.2)))
    return replace(camera, eye=eye, target=target, horizontal_fov_deg=float(rng.uniform(35, 60)))


def backdrop(rng: np.random.Generator) -> U8:
    """(H, W, 3) of shapes that hide each other, from large ones to small ones, in few colours."""
    width, height = SIZE_WH
    palette = np.clip(rng.uniform(10, 235, (6, 1)) + rng.normal(0, 12, (6, 3)), 0, 255)
    image = np.full((height, width, 3), palette[0], np.uint8)
    sizes = np.sort(6 + 160 * rng.power(0.35, 260))[::-1]
    for size in sizes:
        colour = np.clip(palette[rng.integers(6)] + rng.normal(0, 14, 3), 0, 255).tolist()
        x, y = (int(value) for value in rng.uniform((0, 0), SIZE_WH))
        across, down = (max(1, int(value)) for value in size * rng.uniform(0.15, 1.0, 2) / 2)
        if rng.random() < 0.7:
            cv2.rectangle(image, (x - across, y - down), (x + across, y + down), colour, -1)
        else:
            cv2.ellipse(image, (x, y), (across, down), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 4))), np.uint8)


def before(scenery: U8, picture: Picture) -> U8:
    """The picture's people (H, W, 3) before other scenery."""
    height, width = scenery.shape[:2]
    fine = (picture.owner > 0).reshape(height, -1, width, picture.owner.shape[1] // width)
    share = fine.mean((1, 3), dtype=np.float32)[..., None]
    return np.asarray(share * picture.image_bgr + (1 - share) * scenery).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Style:
    """How people look, and who looks at them.

    Attributes:
        name: begins the files of detector frames.
        backdrops: share of the cameras that see people before shapes instead of walls.
        least_visible: share of a person's pixels, in a crop.
    """

    name: str
    wardrobe: Wardrobe
    camera: Callable[[np.random.Generator, Place, int], Camera]
    backdrops: float
    least_visible: float


PLAZA = Style("sim", COLOURFUL, random_camera, backdrops=0.0, least_visible=0.6)
STREET = Style("street", EVERYDAY, street_camera, backdrops=0.5, least_visible=0.4)


def random_light(rng: np.random.Generator) -> Light:
    """From overcast to hard low sun, warm to cold."""
    sun, sky = rng.uniform(0.2, 3.0), rng.uniform(0.6, 1.3)
    warmth, tint = rng.uniform(-0.15, 0.25), rng.uniform(-0.15, 0.1)
    return Light(
        azimuth=float(rng.uniform(0, 360)),
        elevation=float(rng.uniform(25, 75)),
        sun=(sun * (1 + warmth), sun, sun * (1 - warmth)),
        sky=(sky * (1 + tint), sky, sky * (1 - tint)),
        ground=(0.45 * sky, 0.42 * sky, 0.40 * sky),
    )


def scattered(rng: np.random.Generator, camera: Camera, place: Place, count: int) -> list[F64]:
    """Up to `count` ground points (2,) in sight, clear of props and of one another."""
    x, y = place.centre
    points: list[F64] = []
    for _ in range(60 * count):
        point = np.array([x + rng.uniform(-7, 7), y + rng.uniform(-6.5, 6.5)])
        across, down, depth = camera.project([[*point, 0.9]])[0]
        in_sight = 2.5 < depth < 16 and -20 < across < SIZE_WH[0] + 20 and 20 < down < SIZE_WH[1] + 40
        clear = all(np.hypot(*(point - other)) > 0.55 for other in points)
        beside_props = all(np.hypot(*(point - (prop.x, prop.y))) > 0.8 * prop.radius_m for prop in place.props)
        if in_sight and clear and beside_props:
            points.append(point)
        if len(points) == count:
            break
    return points


def compressed(image_bgr: U8, quality: int) -> U8:
    """The image (H, W, 3) after JPEG: blocks and smeared colour, as of a video stream."""
    coded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def detector_frames(out: Path, split: str, images: int, seed: int, style: Style = PLAZA) -> None:
    """Frames of many small casts; crowding differs from cast to cast."""
    for kind in ("images", "labels"):
        (out / kind / split).mkdir(parents=True, exist_ok=True)
    for first in range(0, images, FRAMES_PER_CAST):
        names = [f"{style.name}{seed}_{index:05d}" for index in range(first, min(first + FRAMES_PER_CAST, images))]
        if all((out / "images" / split / f"{name}.jpg").exists() for name in names):
            continue
        rng = np.random.default_rng([seed, 7, first])
        scene_seed = seed + first
        studio = Studio(random_cast(int(rng.integers(2, 15)), scene_seed, style.wardrobe), scene_seed, 1)
        for name in names:
            shot = detector_shot(rng, studio, style)
            lines = [yolo_line(view) for view in shot.people if view.visibility >= 0.3 and view.box_xywh[3] >= 20]
            write_atomically(out / "labels" / split / f"{name}.txt", "".join(lines).encode())
            write_atomically(out / "images" / split / f"{name}.jpg", jpeg(shot.image_bgr))
        studio.close()
        print(f"detector {split}: {first + len(names)} of {images} images", flush=True)


def detector_shot(rng: np.random.Generator, studio: Studio, style: Style) -> Shot:
    """A random part of the cast before a random camera; one picture in twelve is empty."""
    place = list(studio.scene.places.values())[int(rng.integers(3))]
    place = replace(place, light=random_light(rng)) if rng.random() < 0.7 else place
    everybody = len(studio.cast)
    present = 0 if rng.random() < 1 / 12 else int(rng.integers(1, everybody + 1))
    numbers = rng.permutation(everybody)[:present] + 1
    camera = style.camera(rng, place, 1)
    scenery = backdrop(rng) if style.backdrops and rng.random() < style.backdrops else None
    return studio.shoot(rng, camera, place, numbers.tolist(), scenery)


def yolo_line(view: PersonView) -> str:
    """Class 0, centre and size as fractions of the frame."""
    x, y, w, h = view.box_xywh
    width, height = SIZE_WH
    return f"0 {(x + w / 2) / width:.5f} {(y + h / 2) / height:.5f} {w / width:.5f} {h / height:.5f}\n"


def reid_crops(out: Path, people: int, seed: int, first_id: int, style: Style = PLAZA) -> None:
    """Crops of groups of six, in which some dress alike, each group before eight cameras."""
    out.mkdir(parents=True, exist_ok=True)
    per_scene = PEOPLE_PER_GROUP * GROUPS_PER_SCENE
    for done in range(0, people, per_scene):
        if any(out.glob(f"{first_id + done:05d}_*.jpg")):
            continue
        scene_seed = seed + done
        count = min(per_scene, people - done)
        studio = Studio(random_cast(count, scene_seed, style.wardrobe), scene_seed, 2)
        crops: list[tuple[str, U8]] = []
        for group in range(0, count, PEOPLE_PER_GROUP):
            numbers = range(group + 1, min(group + PEOPLE_PER_GROUP, count) + 1)
            rng = np.random.default_rng([scene_seed, 8, group])
            crops += group_crops(rng, studio, numbers, first_id + done, style)
        studio.close()
        # By name, backwards: the first person's files, which mark the scene as done, come last.
        for name, crop in sorted(crops, key=lambda pair: pair[0], reverse=True):
            write_atomically(out / name, jpeg(crop))
        print(f"reid: {done + count} of {people} people", flush=True)


def group_crops(
    rng: np.random.Generator, studio: Studio, numbers: range, first_id: int, style: Style
) -> Iterator[tuple[str, U8]]:
    """File name and crop (h, w, 3), at most three a person and camera."""
    for number_of_camera in range(1, CAMERAS_PER_GROUP + 1):
        place = list(studio.scene.places.values())[int(rng.integers(3))]
        place = replace(place, light=random_light(rng))
        camera = style.camera(rng, place, number_of_camera)
        scenery = backdrop(rng) if style.backdrops and rng.random() < style.backdrops else None
        taken: dict[int, int] = defaultdict(int)
        for _ in range(MAX_CROPS_PER_CAMERA + 1):
            shot = studio.shoot(rng, camera, place, rng.permutation(list(numbers)).tolist(), scenery)
            for view in shot.people:
                crop = jittered_crop(rng, shot.image_bgr, view)
                if usable(view, style.least_visible) and taken[view.identity_id] < MAX_CROPS_PER_CAMERA and crop.size:
                    taken[view.identity_id] += 1
                    person = first_id + view.identity_id - 1
                    yield f"{person:05d}_c{number_of_camera}_{taken[view.identity_id]}.jpg", crop


def usable(view: PersonView, least_visible: float) -> bool:
    """Whether a tracker would want to embed this view."""
    return view.visibility >= least_visible and view.inside >= 0.85 and view.box_xywh[3] >= MIN_CROP_HEIGHT


def jittered_crop(rng: np.random.Generator, image_bgr: U8, view: PersonView) -> U8:
    """(h, w, 3) around the box, each edge moved by about 3 % and at most 8 % of the box."""
    x, y, w, h = view.box_xywh
    moves = np.clip(rng.normal(0, 0.03, 4), -0.08, 0.08) * (w, h, w, h)
    edges = np.array([x, y, x + w, y + h]) + moves
    left, top, right, bottom = np.clip(edges.round(), 0, [*SIZE_WH, *SIZE_WH]).astype(int)
    return image_bgr[top:bottom, left:right]


def jpeg(image_bgr: U8) -> bytes:
    """The file's bytes at quality 90."""
    return bytes(cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def write_atomically(path: Path, content: bytes) -> None:
    """A reader sees the whole file or none."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("detector", "reid"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--people", type=int, default=480)
    parser.add_argument("--first-id", type=int, default=10001)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--street", action="store_true")
    options = parser.parse_args()
    if options.seed < 1000:
        parser.error("seeds below 1000 belong to the demo and the tests; use 1000 or more")
    style = STREET if options.street else PLAZA
    if options.kind == "detector":
        detector_frames(options.out, options.split, options.images, options.seed, style)
    else:
        reid_crops(options.out, options.people, options.seed, options.first_id, style)


if __name__ == "__main__":
    main()
