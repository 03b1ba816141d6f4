r"""Export trained detector weights as the ONNX file that ships.

python scripts/export_detector.py runs/detector/both/weights/last.pt pipeline/weights/person_detector.onnx \
    --size 448 --training "person-det (train), simulated frames (train)"
"""

import argparse
import sys
from pathlib import Path

from make_golden import make_golden

from engines import EngineError
from pipeline.errors import PipelineError
from pipeline.export_detector import export, torch_outputs


def main() -> None:
    """Read the arguments, export, say how near the file is to torch, or what is wrong."""
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
    try:
        export(arguments.weights, arguments.onnx, arguments.size, facts)
        agreement = make_golden(arguments.onnx, lambda pictures: torch_outputs(arguments.weights, pictures))
    except (PipelineError, EngineError) as error:
        sys.exit(str(error))
    print(f"{arguments.onnx}, against torch: {agreement}")


if __name__ == "__main__":
    main()
