r"""Export trained detector weights as the ONNX file that ships.

python scripts/export_detector.py runs/detector/both/weights/last.pt pipeline/weights/person_detector.onnx \
    --size 448 --training "person-det (train), simulated frames (train)"
"""

import argparse
from pathlib import Path

from make_golden import make_golden

from pipeline.export_detector import export


def main() -> None:
    """Read the arguments and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="ultralytics .pt with one class, person")
    parser.add_argument("onnx", type=Path, help="file to write")
    parser.add_argument("--size", type=int, required=True, help="longer side of the network's input, pixels")
    parser.add_argument("--training", required=True, help="the data it was trained on, by public names")
    arguments = parser.parse_args()
    facts = {
        "kind": "detector",
        "description": "person detector: YOLO26-n, one class, trained with ultralytics",
        "names": "{0: 'person'}",
        "input_size": str(arguments.size),
        "channel_order": "RGB",
        "value_range": "0..1",
        "classes": "person",
        "training_data": arguments.training,
    }
    export(arguments.weights, arguments.onnx, arguments.size, facts)
    print(f"{arguments.onnx}: {make_golden(arguments.onnx)}")


if __name__ == "__main__":
    main()
