"""Detectors that a user names: the shipped one, an .onnx file, or an ultralytics .pt, exported once and cached.

The only module that imports ultralytics (AGPL-3.0), and only for a .pt.
"""

import logging
import os
import pickle
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

from engines import EngineError, cache
from pipeline.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_DETECTOR = Path(__file__).parent / "weights" / "person_detector.onnx"
SETTINGS = {"format": "onnx", "opset": 17, "dynamic": True, "nms": False, "device": "cpu"}  # nms False: NMS-free head

EXPORT_ERRORS = (  # what a file that is no ultralytics network makes of the unpickler, torch and ultralytics
    AttributeError, EOFError, ImportError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError,
)  # fmt: skip


def resolve_detector(model: str) -> Path:
    """The network file to run for a `detector.model`.

    Downloads and exports stay in `engines.cache.cache_dir()`, exports under the digest of the .pt and of the settings.

    Args:
        model: "default", an .onnx path, or an ultralytics .pt: a path, or a name that ultralytics downloads.

    Raises:
        ConfigError: neither of these, ultralytics is not installed, or the .pt cannot be had or exported.
    """
    if model == "default":
        return DEFAULT_DETECTOR
    path = Path(model)
    if path.suffix == ".pt":
        try:
            return _exported(_found(path))
        except OSError as error:
            raise ConfigError(
                f"detector.model: cannot export {model}: {error}; set {cache.VARIABLE} to another folder"
            ) from error
        except EngineError as error:
            raise ConfigError(f"detector.model: {error}") from error
    if path.suffix != ".onnx":
        raise ConfigError(f"detector.model: {model!r} is neither 'default', an .onnx file nor an ultralytics .pt")
    return path


def export(
    weights: Path, onnx_path: Path, long_side: int | None = None, facts: Mapping[str, str] | None = None
) -> None:
    """Write an ultralytics .pt as ONNX with dynamic batch, height and width, NMS-free where it has such a head.

    Args:
        weights: the .pt.
        onnx_path: written whole or not at all.
        long_side: pictures are shrunk to it; default: the size the network was trained at.
        facts: metadata besides ultralytics' own; with them the weights are stored as float16, which halves the file.

    Raises:
        ConfigError: ultralytics is not installed, or cannot export the file.
    """
    _require_ultralytics(weights)
    from ultralytics.models import YOLO

    onnx_path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=onnx_path.parent) as scratch:
        copy = Path(scratch) / weights.name  # ultralytics writes beside the .pt
        copy.write_bytes(weights.read_bytes())
        size = {"imgsz": long_side} if long_side else {}
        try:
            with warnings.catch_warnings(action="ignore"):  # torch's, about the exporter that ultralytics chose
                exported = Path(YOLO(str(copy), task="detect").export(**SETTINGS, **size, verbose=False))
        except EXPORT_ERRORS as error:
            raise ConfigError(f"detector.model: ultralytics cannot export {weights}: {error}; give another") from error
        if facts is not None:
            _finish(exported, {**facts, "weights_sha256": cache.sha256(weights)})
        exported.replace(onnx_path)


def _found(path: Path) -> Path:
    """The .pt itself, downloaded by ultralytics if it is a name that it knows."""
    if path.is_file():
        return path
    if path.name != str(path):
        raise ConfigError(f"detector.model: {path} does not exist; check the path")
    cached = cache.cache_dir() / path.name
    if cached.is_file():
        return cached
    _require_ultralytics(path)
    from ultralytics.utils.downloads import attempt_download_asset

    cached.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = Path(attempt_download_asset(str(cached)))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"detector.model: cannot download {path} ({reason}); copy it to {cached}") from error
    if not found.is_file():
        raise ConfigError(f"detector.model: cannot download {path}: no network, or no such model; copy it to {cached}")
    return found


def _require_ultralytics(weights: Path) -> None:
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # it would pip install what it misses
    try:
        import ultralytics  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"detector.model: {weights.name} needs ultralytics ({error}); "
            'pip install "mspf-pipeline[ultralytics]", or give an .onnx'
        ) from error


def _exported(weights: Path) -> Path:
    """The cached export of a .pt, made if it is not there."""
    key = cache.digest({"weights": cache.sha256(weights), **SETTINGS})
    onnx_path = cache.cache_dir() / f"{weights.stem}-{key}.onnx"
    if not onnx_path.is_file():
        logger.info("%s: exporting to %s, once", weights.name, onnx_path)
        export(weights, onnx_path)
    return onnx_path


def _finish(path: Path, facts: Mapping[str, str]) -> None:
    """Store the weights as float16 followed by a Cast, which back ends fold away, and add metadata."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= 256:
            casts.append(helper.make_node("Cast", [f"{tensor.name}_f16"], [tensor.name], to=onnx.TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_f16"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    known = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**known, **facts})
    onnx.checker.check_model(model)
    onnx.save(model, path)
