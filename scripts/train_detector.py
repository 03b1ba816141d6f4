r"""Train the person detector: a one-class YOLO26-n, by the trainer of ultralytics (AGPL-3.0), on the CPU.

    python scripts/train_detector.py person-det --out runs/detector/real --hours 0.6
    python scripts/train_detector.py person-det simulated --weights runs/detector/real/weights/last.pt \
        --size 416 --lr 0.001 --out runs/detector/both --hours 1
    python scripts/train_detector.py --out runs/detector/both --resume
    python scripts/train_detector.py mine --weights pipeline/weights/person_detector.onnx --size 480 --out runs/mine

Each folder is in YOLO format: images/{train,val} and labels/{train,val}, class 0 = person. Only `train` is learnt from;
the `val` folders give the curve in results.csv. The weights to ship are last.pt, so nothing is selected on `val`.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")

import cv2
import detector_weights
import numpy as np
import torch
import yaml
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.models.yolo.detect import DetectionTrainer

from engines import TensorSpec
from pipeline.pictures import detector_input

NETWORK = {"model": "yolo26n.yaml"}
AUGMENTATION = {"mosaic": 1.0, "scale": 0.6, "translate": 0.15, "hsv_h": 0.03, "hsv_v": 0.5, "degrees": 3.0}
OPTIMISER = {"optimizer": "AdamW", "momentum": 0.9, "batch": 16, "nbs": 16, "cos_lr": True, "lrf": 0.02,
             "warmup_epochs": 2.0, "warmup_bias_lr": 0.0, "weight_decay": 5e-4}  # fmt: skip
CPU = {"device": "cpu", "amp": False, "cache": "ram", "workers": 0, "plots": False}


class Float32Loss:
    """A loss computed in float32 on the predictions of a bf16 forward pass (bf16 box corners would be 2 px wrong)."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.update = loss.update

    def __call__(self, predictions: Any, batch: dict[str, Any]) -> Any:
        """What the wrapped loss returns."""
        return self.loss(as_float32(predictions), batch)


def as_float32(tree: Any) -> Any:
    """The same dicts and lists with every tensor in float32."""
    if isinstance(tree, dict):
        return {key: as_float32(value) for key, value in tree.items()}
    return [as_float32(value) for value in tree] if isinstance(tree, list | tuple) else tree.float()


class CpuTrainer(DetectionTrainer):
    """The stock trainer with a bf16, channels-last forward pass: twice the images a second of float32 on one core.

    Args:
        threads: of torch; the stock trainer takes one less than there are cores.
        exported: an ONNX file whose weights training starts from.
    """

    def __init__(self, threads: int, exported: Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._threads = threads
        self._exported = exported

    def get_model(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """The network, its weights stored channels last."""
        network = super().get_model(*args, **kwargs)
        if self._exported:
            pictures = some_pictures(self.data["train"], self.args.imgsz)
            try:
                detector_weights.restore(network, self._exported, pictures)
            except ValueError as error:
                sys.exit(str(error))
        return network.to(memory_format=torch.channels_last)

    def _setup_train(self) -> None:
        super()._setup_train()
        torch.set_num_threads(self._threads)
        self.model.criterion = Float32Loss(self.model.init_criterion())

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with `img` (B, 3, H, W) in 0..1, stored channels last.

        Also switches autocast on: the trainer calls this first thing inside its own autocast block, which ends it,
        and which cannot be asked for bf16 on a CPU.
        """
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        torch.set_autocast_dtype("cpu", torch.bfloat16)
        torch.set_autocast_enabled("cpu", True)
        return batch


def some_pictures(folders: list[str], side: int, count: int = 64) -> torch.Tensor:
    """(N, 3, side, side) float32 RGB in 0..1, letterboxed: up to `count`, evenly from all that the folders hold."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*.*"))
    names = [str(path) for path in paths if path.suffix[1:].lower() in IMG_FORMATS]
    chosen = np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)
    read = [image for image in (cv2.imread(names[index]) for index in chosen) if image is not None]
    if not read:
        sys.exit(f"{', '.join(folders)}: no picture could be read; give folders in YOLO format")
    square = TensorSpec("images", (None, 3, side, side), np.dtype(np.float32))
    return torch.from_numpy(detector_input(read, square, {"imgsz": f"[{side}, {side}]"})[0])


def write_dataset(folders: list[Path], out: Path) -> Path:
    """The dataset YAML that ultralytics reads, naming all folders."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "data.yaml"
    splits = {split: [str(folder.resolve() / "images" / split) for folder in folders] for split in ("train", "val")}
    path.write_text(yaml.safe_dump({**splits, "names": {0: "person"}}))
    return path


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="YOLO-format folders to train on")
    parser.add_argument("--out", type=Path, required=True, help="run folder; checkpoints in OUT/weights")
    parser.add_argument(
        "--weights", type=Path, help="start from these (.pt, or an exported .onnx); default: from scratch"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/weights/last.pt, at --size, till --hours")
    parser.add_argument("--size", type=int, default=320, help="side of the square training images (default 320)")
    parser.add_argument(
        "--hours",
        type=float,
        default=0.75,
        help="time to train in all, a resumed run included; epochs follow (default 0.75)",
    )
    parser.add_argument("--lr", type=float, default=0.002, help="peak learning rate (default 0.002)")
    parser.add_argument("--close-mosaic", type=int, default=5, help="last epochs without mosaic (default 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    if arguments.resume:
        last = str(out / "weights/last.pt")
        overrides = {"resume": last, "time": arguments.hours, "imgsz": arguments.size}
        CpuTrainer(arguments.threads, overrides=overrides).train()
        return
    if not arguments.folders:
        parser.error("name at least one folder to train on")
    overrides = {
        **NETWORK, **AUGMENTATION, **OPTIMISER, **CPU,
        "data": str(write_dataset(arguments.folders, out)),
        "project": str(out.parent), "name": out.name, "exist_ok": True,
        "imgsz": arguments.size, "time": arguments.hours, "lr0": arguments.lr, "close_mosaic": arguments.close_mosaic,
    }  # fmt: skip
    if arguments.weights and not arguments.weights.is_file():
        parser.error(f"--weights {arguments.weights}: no such file")
    exported = arguments.weights and arguments.weights.suffix == ".onnx"
    if arguments.weights and not exported:
        overrides["model"] = str(arguments.weights)
    CpuTrainer(arguments.threads, arguments.weights if exported else None, overrides=overrides).train()


if __name__ == "__main__":
    main()
