"""Pictures as a detector takes them, letterboxed, and examples for networks that have no reference."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from engines import TensorSpec, reference
from engines.gate import read_golden
from engines.tensorrt_builder import long_side
from pipeline.datatypes import F32, U8

PADDING = 114  # grey around a letterboxed picture, as in training
STRIDE = 32  # network height and width are multiples of it
MIN_SIDE = 64  # a smaller side has fewer anchors than the head returns rows
RENDERED = Path(__file__).parent / "weights" / "person_detector.golden.npz"  # people, 16:9, grey below


def detector_input(images_bgr: Sequence[U8], spec: TensorSpec, metadata: Mapping[str, str]) -> tuple[F32, list[float]]:
    """The pictures as a detector takes them, RGB in 0..1, (N, 3, H, W); and by how much each was scaled.

    Args:
        images_bgr: (H, W, 3) each, at least one; sizes may differ.
        spec: the network's input. A side that it leaves open is the least that holds every picture, when their longer
            sides are those that the metadata name (`imgsz`).
    """
    hw = np.array([image.shape[:2] for image in images_bgr], np.float64)
    hw *= long_side(metadata) / hw.max(1, keepdims=True)
    least = np.maximum(np.ceil(hw.max(0).round() / STRIDE) * STRIDE, MIN_SIDE).astype(int)
    _, _, height, width = spec.shape
    boxed, scales = letterbox(images_bgr, (height or int(least[0]), width or int(least[1])))
    return np.ascontiguousarray(boxed[..., ::-1].transpose(0, 3, 1, 2), np.float32) / np.float32(255), scales


def letterbox(images_bgr: Sequence[U8], size_hw: tuple[int, int]) -> tuple[U8, list[float]]:
    """Every picture scaled to fit, at the top left of grey: (N, H, W, 3), and the scales."""
    height, width = size_hw
    boxed = np.full((len(images_bgr), height, width, 3), PADDING, np.uint8)
    scales = [min(height / image.shape[0], width / image.shape[1]) for image in images_bgr]
    for row, (image, scale) in enumerate(zip(images_bgr, scales, strict=True)):
        h, w = (min(max(round(n * scale), 1), limit) for n, limit in zip(image.shape[:2], size_hw, strict=True))
        boxed[row, :h, :w] = resized(image, (w, h))
    return boxed, scales


def resized(image: U8, size_wh: tuple[int, int]) -> U8:
    """A picture (H, W, 3) scaled to (h, w, 3): halved, by means of four pixels, as often as that fits, then bilinear.

    At once to less than half, bilinear passes over pixels: edges and patterns turn to noise, and small people break up.
    """
    width, height = size_wh
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        h, w = image.shape[0] // 2, image.shape[1] // 2
        image = np.asarray(cv2.resize(image[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def example_pictures(inputs: Sequence[TensorSpec], metadata: Mapping[str, str]) -> F32 | None:
    """What a network without a reference is compared and timed on; None if it does not take pictures.

    A detector gets frames with rendered people, at the size at which a run gives it those of a camera (16:9); a re-ID
    network, which has a size of its own, coarse patches.
    """
    if metadata.get("kind") == "reid":
        return reference.generated(inputs, metadata)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3 or inputs[0].dtype != np.float32:
        return None
    rendered = read_golden(RENDERED).inputs
    frames = rendered[:, ::-1, : rendered.shape[3] * 9 // 16]  # without the grey
    return detector_input(list(np.rint(frames * 255).astype(np.uint8).transpose(0, 2, 3, 1)), inputs[0], metadata)[0]
