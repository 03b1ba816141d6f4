"""ONNX files on the CPU by ONNX Runtime, in float32 or as the file is quantised: on any machine, any ONNX operator."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from engines.engine import Array, EngineError, TensorSpec, check_batch, empty_outputs

ERRORS = (
    ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf,
    ort_errors.NoModel, ort_errors.NotImplemented, ort_errors.RuntimeException,
)  # fmt: skip
SETTINGS = {"session.intra_op.allow_spinning": "0"}  # a thread that waits leaves the core to others
DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}


class OnnxRuntimeEngine:
    """See `engines.Engine`. A session may be called from several threads; its outputs are fresh arrays.

    Args:
        overrides: entries of the session's configuration in place of ours, for measuring them.
    """

    backend = "onnxruntime"

    def __init__(self, path: Path, threads: int, overrides: Mapping[str, str] = MappingProxyType({})) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        for key, value in {**SETTINGS, **overrides}.items():
            options.add_session_config_entry(key, value)
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except ERRORS as error:
            raise EngineError(f"{path}: ONNX Runtime cannot run it: {error}; export it again") from error
        self.name = path.name
        self.inputs = tuple(tensor_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(tensor_spec(node) for node in self._session.get_outputs())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.precision = self.metadata.get("precision", "f32")

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        """Outputs for one batch."""
        check_batch(self.name, self.inputs, batch)
        if len(batch[0]) == 0:
            return empty_outputs(self.outputs)
        try:
            outputs = self._session.run(
                None, {spec.name: array for spec, array in zip(self.inputs, batch, strict=True)}
            )
        except ERRORS as error:
            raise EngineError(f"{self.name}: ONNX Runtime failed on {batch[0].shape}: {error}") from error
        return tuple(outputs)


def load(path: Path, precision: str, threads: int) -> OnnxRuntimeEngine:
    """The ONNX file as an engine; see `engines.load`."""
    if precision not in ("auto", "f32"):
        raise EngineError(f"{path}: ONNX Runtime computes in f32 on a CPU, not {precision}; set backend openvino")
    return OnnxRuntimeEngine(path, threads)


def tensor_spec(node: Any) -> TensorSpec:
    """One input or output of a session; named axes are dynamic."""
    element = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(n if isinstance(n, int) else None for n in node.shape)
    return TensorSpec(node.name, shape, np.dtype(DTYPES.get(element, element)))
