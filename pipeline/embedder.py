"""Crops to unit embeddings through a re-ID network of any back end."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engines
from engines import cuda, cuda_crops
from engines.cache import network_sha256
from engines.cuda import DeviceArray
from engines.loading import BACKENDS
from pipeline.config import ReidConfig
from pipeline.datatypes import F32, U8
from pipeline.errors import ConfigError, EngineFailure
from pipeline.pictures import resized
from pipeline.vectors import unit_rows

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED_REID = {
    name: WEIGHTS / f"{name}.onnx"
    for name in ("mspf_x0_25", "mspf_x0_25_rendered", "mspf_x0_5", "mspf_x0_5_rendered", "mspf_x1_0")
}
DEFAULT_REID = SHIPPED_REID["mspf_x0_5"]


def resolve_reid(model: str) -> Path:
    """The file of a shipped network, by its name or as "default"; else the file that `model` names.

    Raises:
        ConfigError: neither a shipped network nor any file's name.
    """
    path = SHIPPED_REID.get(model, DEFAULT_REID if model == "default" else Path(model))
    if path.suffix.lower() in (".pt", ".safetensors"):
        raise ConfigError(
            f"reid.model: {model!r} holds weights, no network to run; scripts/export.py makes an .onnx of it"
        )
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"reid.model: {model!r} is neither default, {', '.join(SHIPPED_REID)} nor an .onnx file")
    return path


def reid_digest(model: str) -> str:
    """Digest of the file that `model` names: descriptors of files with another one cannot be compared."""
    return network_sha256(resolve_reid(model))


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A box of a frame; the picture is shared, not copied.

    Attributes:
        box_xyxy: (4,) float32 pixels, may reach over the edge.
    """

    image_bgr: U8
    box_xyxy: F32

    @classmethod
    def whole(cls, image_bgr: U8) -> "Crop":
        """All of a picture."""
        height, width = image_bgr.shape[:2]
        return cls(image_bgr, np.array([0, 0, width, height], np.float32))

    def corners(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 of what lies inside the frame, at least one pixel."""
        height, width = self.image_bgr.shape[:2]
        x1, y1 = np.floor(np.clip(self.box_xyxy[:2], 0, (width - 1, height - 1))).astype(int)
        x2, y2 = np.ceil(np.clip(self.box_xyxy[2:], (x1 + 1, y1 + 1), (width, height))).astype(int)
        return x1, y1, x2, y2

    def pixels(self) -> U8:
        """(h, w, 3) view of what lies inside the frame."""
        x1, y1, x2, y2 = self.corners()
        return self.image_bgr[y1:y2, x1:x2]


class Embedder:
    """A re-ID network: RGB crops 0..255 in, unit rows out; normalisation lies inside the file's graph.

    Args:
        engine: loaded from a file whose metadata say kind=reid.

    Raises:
        EngineFailure: the file is no re-ID network, or its batch size is fixed.
    """

    def __init__(self, engine: engines.Engine, source: str) -> None:
        shape = engine.inputs[0].shape
        *_, dimension = (None, *engine.outputs[0].shape)
        if engine.metadata.get("kind") != "reid" or len(shape) != 4 or not (shape[2] and shape[3] and dimension):
            raise EngineFailure(
                f"{source}: not a re-ID network (metadata kind={engine.metadata.get('kind')!r}, input {shape}, "
                f"output {engine.outputs[0].shape}); "
                "give an .onnx exported by this project as reid.model"
            )
        if shape[0]:
            raise EngineFailure(
                f"{source}: takes {shape[0]} crops in a call and no other number; export it with an open batch, as "
                "scripts/export.py does"
            )
        self.engine = engine
        self.dimension = dimension
        self._size_wh = (int(shape[3]), int(shape[2]))
        row = BACKENDS.get(engine.backend)
        self._cutter = gpu_cutter(self._size_wh) if row and row.on_gpu else None

    @classmethod
    def load(cls, config: ReidConfig, *, threads: int = 0) -> "Embedder":
        """The network that the settings name.

        Args:
            threads: CPU threads for one call; 0 = one for each core.

        Raises:
            ConfigError: `model` names no network.
            EngineFailure: missing, of the wrong kind, or not runnable here.
        """
        path = resolve_reid(config.model)
        try:
            engine = engines.load(path, config.backend, config.precision, threads, largest=config.max_batch)
            return cls(engine, str(path))
        except engines.EngineError as error:
            raise EngineFailure(f"reid.model: {error}") from error

    def embed(self, crops: Sequence[Crop]) -> F32:
        """(N, D) unit rows, (0, D) for no crops.

        Raises:
            EngineFailure: the network cannot run.
        """
        if not crops:
            return np.zeros((0, self.dimension), np.float32)
        try:
            batch = cut_on_gpu(crops, self._cutter) if self._cutter else cut_on_cpu(crops, self._size_wh)
            (embeddings,) = self.engine(batch)  # type: ignore[arg-type]
        except engines.EngineError as error:
            raise EngineFailure(str(error)) from error
        return unit_rows(embeddings)


def cut_on_cpu(crops: Sequence[Crop], size_wh: tuple[int, int]) -> F32:
    """(N, 3, h, w) RGB 0..255."""
    width, height = size_wh
    batch = np.empty((len(crops), height, width, 3), np.uint8)
    for row, crop in enumerate(crops):
        batch[row] = resized(crop.pixels(), size_wh)
    return np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2), np.float32)


def cut_on_gpu(crops: Sequence[Crop], cutter: cuda_crops.CropCutter) -> DeviceArray:
    """The same on the GPU, to one grey level; each frame is uploaded once."""
    frames = {id(crop.image_bgr): crop.image_bgr for crop in crops}
    boxes: dict[int, list[tuple[int, ...]]] = {frame: [] for frame in frames}
    for place, crop in enumerate(crops):
        boxes[id(crop.image_bgr)].append((*crop.corners(), place))
    return cutter(list(frames.values()), [np.array(each, np.int32) for each in boxes.values()])


def gpu_cutter(size_wh: tuple[int, int]) -> cuda_crops.CropCutter | None:
    """Cuts where the network runs; None, with a warning, where that cannot be, or does not cut as the CPU does."""
    frame = np.random.default_rng(0).integers(0, 256, (720, 360, 3), np.uint8)
    boxes = np.array([[-5, 2.5, 31, 80], [60, 10, 160, 90], [100, 50, 101, 51], [0, 0, 360, 720]], np.float32)
    crops = [Crop(frame, box) for box in boxes]
    try:
        cutter = cuda_crops.CropCutter(size_wh[::-1], cuda.gpu())
        found = cuda.on_host(cut_on_gpu(crops, cutter))
    except engines.EngineError as error:
        log.warning("crops are cut on the CPU: %s", error)
        return None
    apart = float(np.abs(found - cut_on_cpu(crops, size_wh)).max())
    if not apart <= 1:
        log.warning("crops are cut on the CPU: the GPU's are off by %.0f grey levels (at most 1 wanted)", apart)
        return None
    return cutter
