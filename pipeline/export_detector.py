"""Detectors that a user names: the shipped one, an .onnx file, or an ultralytics .pt, exported once and cached.

The only module that imports ultralytics (AGPL-3.0), and only for a .pt.
"""

import logging
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import engines
from engines import EngineError, cache
from engines.gate import golden_path, write_golden
from engines.reference import comparison
from pipeline.datatypes import F32
from pipeline.errors import ConfigError
from pipeline.pictures import example_pictures

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
        ConfigError: there is no such file, or ultralytics is not installed or cannot export it.
    """
    if not weights.is_file():
        raise ConfigError(f"{weights}: no such file; give an ultralytics .pt")
    onnx_path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=onnx_path.parent) as scratch:
        copy = Path(scratch) / weights.name  # ultralytics writes beside the .pt
        copy.write_bytes(weights.read_bytes())
        size = {"imgsz": long_side} if long_side else {}
        with _loaded(copy) as model:
            exported = Path(model.export(**SETTINGS, **size, verbose=False))
        if facts is not None:
            _finish(exported, {**facts, "weights_sha256": cache.sha256(weights)})
        exported.replace(onnx_path)


def torch_outputs(weights: Path, pictures: F32) -> F32:
    """What the network of an ultralytics .pt itself makes of pictures (N, 3, H, W): its head's (N, ...).

    Raises:
        ConfigError: as for `export`.
    """
    with _loaded(weights) as model:
        network = model.model.float().eval().requires_grad_(False)
        network.end2end = not SETTINGS["nms"]  # the NMS-free head, if there is one, as in the export
        output = network(next(network.parameters()).new_tensor(pictures))
        while isinstance(output, tuple | list):  # what is decoded stands before what it was decoded from
            output = output[0]
        return np.asarray(output)


@contextmanager
def _loaded(weights: Path) -> Iterator[Any]:
    """An ultralytics model; whatever goes wrong with it is a ConfigError."""
    _require_ultralytics(weights)
    from ultralytics.models import YOLO

    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, about the exporter that ultralytics chose
            yield YOLO(str(weights), task="detect")
    except EXPORT_ERRORS as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"detector.model: ultralytics cannot export {weights.name}: {why}; give another") from error


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
    """The cached export of a .pt with its reference, made if they are not there."""
    key = cache.digest({"weights": cache.sha256(weights), **SETTINGS})
    onnx_path = cache.cache_dir() / f"{weights.stem}-{key}.onnx"
    if not onnx_path.is_file() or not golden_path(onnx_path).is_file():
        logger.info("%s: exporting to %s, once", weights.name, onnx_path)
        export(weights, onnx_path)
        _write_reference(onnx_path, weights)
    return onnx_path


def _write_reference(onnx_path: Path, weights: Path) -> None:
    """Beside an export what torch makes of rendered people, so that an export that went wrong does not serve."""
    engine = engines.load(onnx_path, "onnxruntime", proven=False)
    inputs = example_pictures(engine.inputs, engine.metadata)
    if inputs is not None:
        pictures, outputs = np.rint(inputs * 255).astype(np.uint8), torch_outputs(weights, inputs)
        write_golden(golden_path(onnx_path), pictures, 255.0, outputs, comparison(engine.metadata, outputs.shape))


def _finish(path: Path, facts: Mapping[str, str]) -> None:
    """Store the weights as float16 followed by a Cast, which back ends fold away, and add metadata."""
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
