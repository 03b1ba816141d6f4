"""Write the reference that a network is held to before it serves: python scripts/make_golden.py NETWORK.onnx ...

Rendered people of the demo clips go through the run's own preprocessing; what ONNX Runtime makes of them in f32, one at
a time, is stored as NETWORK.golden.npz beside the file. The exporting scripts call this with the outputs of the network
that they exported, so that a file which lost something on its way out is never written down as right.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import engines
from engines.gate import golden_path, prove, read_golden, write_golden
from engines.reference import comparison, computed
from pipeline.config import load_site
from pipeline.datatypes import U8
from pipeline.detector import Detector
from pipeline.embedder import Crop, Embedder
from pipeline.errors import PipelineError
from pipeline.sources import read_video

SITE = Path(__file__).parents[1] / "configs" / "demo.yaml"
FRAME = 100  # of each clip: a moment when people are in view
MIN_HEIGHT_PX = 60
CROPS = 6
LARGEST = 16  # batch up to which the new reference is tried at once


class Recorder:
    """Stands before an engine and remembers the last batch that it was given."""

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine
        self.batch = np.zeros(0, np.float32)

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def __call__(self, *batch: engines.Array) -> tuple[engines.Array, ...]:
        """See `engines.Engine`."""
        self.batch = batch[0]
        return self._engine(*batch)


def make_golden(path: Path, reference: Callable[[engines.Array], engines.Array] | None = None) -> str:
    """Write the reference beside the network and hold the file to it; the worst agreement, as a clause.

    Args:
        reference: maps the network's input (N, 3, H, W) to what is right; default: ONNX Runtime on the file itself.

    Raises:
        EngineError: there is no such file, or it is no network, or does not compute what `reference` does.
        EngineFailure: it is neither a detector nor a re-ID network.
    """
    engine = engines.load(path, "onnxruntime", "f32", proven=False)
    recorder = Recorder(engine)
    if engine.metadata.get("kind") == "reid":
        Embedder(recorder, str(path)).embed(rendered_crops())
        divisor = 1.0
    else:
        Detector(recorder, str(path)).detect(rendered_frames()[:2])
        divisor = 255.0
    pictures = np.rint(recorder.batch * divisor).astype(np.uint8)
    inputs = pictures.astype(np.float32) / np.float32(divisor)
    outputs = computed(path, inputs).outputs if reference is None else reference(inputs)
    write_golden(golden_path(path), pictures, divisor, outputs, comparison(engine.metadata, outputs.shape))
    return prove(engine, read_golden(golden_path(path)), LARGEST)


def rendered_frames() -> list[U8]:
    """One BGR picture of each demo clip."""
    cameras = load_site(SITE).cameras
    return [next(islice(read_video(camera), FRAME, None)).picture.bgr() for camera in cameras]


def rendered_crops() -> list[Crop]:
    """People of the demo clips, cut out along their true boxes; the largest of each camera, in turn."""
    crops: list[tuple[int, Crop]] = []
    for camera, image in zip(load_site(SITE).cameras, rendered_frames(), strict=True):
        boxes = true_boxes(SITE.parent / "demo" / "truth" / f"{camera.id}.txt", FRAME + 1)
        people = sorted(boxes, key=lambda box: box[1] - box[3])
        crops += [(rank, Crop(image, box)) for rank, box in enumerate(people) if box[3] - box[1] >= MIN_HEIGHT_PX]
    return [crop for _, crop in sorted(crops, key=lambda pair: pair[0])[:CROPS]]


def true_boxes(path: Path, frame: int) -> NDArray[np.float32]:
    """(P, 4) x1, y1, x2, y2 of a MOT file's frame, counted from 1."""
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    rows = rows[rows[:, 0] == frame]
    return np.hstack([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, write the references, say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    for path in parser.parse_args(arguments).networks:
        try:
            said = make_golden(path)
        except (engines.EngineError, PipelineError) as error:
            sys.exit(str(error))
        golden = golden_path(path)
        print(f"{golden}: {golden.stat().st_size / 1e3:.0f} kB, {said}")


if __name__ == "__main__":
    main()
