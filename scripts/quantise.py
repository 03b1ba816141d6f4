"""Write a copy of an exported network that multiplies in int8 (or float16), calibrated on pictures it may see.

python scripts/quantise.py mspf.onnx mspf_int8.onnx --calibrate CROPS_DIR --calibrate MORE_DIR
python scripts/quantise.py person_detector.onnx person_detector_int8.onnx --calibrate PICTURES_DIR
python scripts/quantise.py person_detector.onnx person_detector_u8.onnx --calibrate PICTURES_DIR --asymmetric
python scripts/quantise.py mspf.onnx mspf_f16.onnx --float16

Calibrate on training or simulated pictures, never on a test set. int8 is for OpenVINO and TensorRT; --asymmetric loses
less, but TensorRT does not take it.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import engines
from engines.precision import to_float16, to_int8
from pipeline.pictures import detector_input, resized

SUFFIXES = {".jpg", ".jpeg", ".png"}


def drawn_pictures(folders: list[Path], count: int) -> list[Path]:
    """`count` picture files of each folder and what is under it, or all of a smaller one, by a fixed seed."""
    rng = np.random.default_rng(0)
    chosen: list[Path] = []
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise SystemExit(f"{folder}: no .jpg or .png in it; give a folder of pictures with --calibrate")
        chosen += [paths[row] for row in rng.permutation(len(paths))[:count]]
    return chosen


def batches(network: Path, paths: list[Path]) -> Iterator[engines.Array]:
    """One picture after the other as the network takes it: a crop resized, or a frame letterboxed for a detector."""
    engine = engines.load(network, "onnxruntime", proven=False)
    height, width = engine.inputs[0].shape[2:]
    for path in paths:
        image = cv2.imread(str(path))
        if image is None:
            raise SystemExit(f"{path}: not a picture that OpenCV reads; take it out of the folder")
        if engine.metadata.get("kind") == "reid":
            crop = resized(np.asarray(image, np.uint8), (width or 0, height or 0))
            yield np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        else:
            yield detector_input([image], engine.inputs[0], engine.metadata)[0]


def quantise(options: argparse.Namespace) -> str:
    """Draw the pictures, write the copy, say in a clause what it is.

    Raises:
        EngineError: there is no such file, or it is not a network in float32.
    """
    if options.float16:
        to_float16(options.network, options.out)
        return "float16"
    paths = drawn_pictures(options.calibrate, options.pictures)
    examples = batches(options.network, paths)
    count = to_int8(options.network, options.out, examples, options.keep_float, symmetric=not options.asymmetric)
    return f"{count} convolutions in int8, calibrated on {len(paths)} pictures"


def main() -> None:
    """Read the arguments, write the copy, say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("out", type=Path)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--calibrate", type=Path, action="append", metavar="DIR", help="pictures; may be given again")
    kind.add_argument("--float16", action="store_true")
    parser.add_argument("--asymmetric", action="store_true", help="for CPUs alone")
    parser.add_argument("--pictures", type=int, default=64, help="drawn from each folder")
    parser.add_argument(
        "--keep-float", action="append", default=[], metavar="NODE", help="and all whose names begin so"
    )
    options = parser.parse_args()

    try:
        print(f"{options.out}: {quantise(options)}")
    except engines.EngineError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
