"""Draw the cast of a seed from the front, the side and the back: one picture for docs/simulator.md.

python scripts/simulator_contact_sheet.py docs/img/simulator_cast.jpg --people 12 --seed 7
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from pipeline.simulator.camera import Camera, Look
from pipeline.simulator.cast import random_cast
from pipeline.simulator.mesh import build_mesh
from pipeline.simulator.renderer import Renderer
from pipeline.simulator.scene import PlaceName, build_scene
from pipeline.simulator.skeleton import pose

TILE_WH = (120, 240)
SPOT = np.array([-2.0, -2.0])
FACING = (-1.57, -0.4, 1.3)  # radians from +x; the camera looks along +y


def main() -> None:
    """Write the sheet: a column a person, a row a direction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    scene, cast = build_scene(options.seed), random_cast(options.people, options.seed)
    meshes = [build_mesh(person.build, person.outfit) for person in cast]
    place = scene.places[PlaceName.PLAZA]
    x, y = SPOT
    camera = Camera("cam1", place.name, (x, y - 6.0, 1.7), (x, y, 0.93), 11.5, TILE_WH, Look(exposure=0.65))
    rows = []
    with Renderer(scene, list(zip(cast, meshes, strict=True)), TILE_WH, supersampling=3) as renderer:
        for turn, heading in enumerate(FACING):
            tiles = []
            for number, person in enumerate(cast, start=1):
                joints = meshes[number - 1].joints
                phase = (0.1 + 0.23 * number + 0.3 * turn) % 1
                poses = {number: pose(joints, person.gait, phase, 1.0, ground_xy=SPOT, heading=heading)}
                renderer.light_place(place, poses)
                tiles.append(renderer.draw(camera, place, poses).image_bgr)
            rows.append(np.hstack(tiles))
    cv2.imwrite(str(options.out), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
