"""ONNX files on the CPU by OpenVINO: the fastest there, in bf16 where the CPU multiplies bf16."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import openvino as ov
from openvino import frontend

from engines.engine import Array, EngineError, TensorSpec, check_batch, empty_outputs

READ_ERRORS = (
    RuntimeError, frontend.GeneralFailure, frontend.InitializationFailure, frontend.NotImplementedFailure,
    frontend.OpConversionFailure, frontend.OpValidationFailure,
)  # fmt: skip

KEEP = "DisablePrecisionConversion_0"
PRECISE = """<?xml version="1.0"?><net name="precise" version="11"><layers>
<layer id="0" name="in" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<rt_info><attribute name="DisablePrecisionConversion" version="0" value="dynamic:f16"/></rt_info>
<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="1" name="out" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim></port></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""


class OpenVinoEngine:
    """See `engines.Engine`. One inference request, so concurrent calls take turns: each already uses all threads.

    Shapes are left dynamic: a network compiled for one batch size takes 7 to 30 % less core time, but memory and time
    for each of them, its bf16 rounds otherwise, and the gate would have to prove every one (docs/engines.md, "Shapes").

    Args:
        overrides: properties of OpenVINO in place of those that `settings` chooses, for measuring them.
    """

    backend = "openvino"

    def __init__(
        self, path: Path, precision: str, threads: int, overrides: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        core = ov.Core()
        model = read(path)
        self.name = path.name
        self.inputs = tuple(tensor_spec(port) for port in model.inputs)
        self.outputs = tuple(tensor_spec(port) for port in model.outputs)
        self.metadata = metadata(model)
        keep_first_convolution_in_f32(model)
        try:
            compiled = core.compile_model(model, "CPU", {**settings(core, precision, threads), **overrides})
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO cannot run it: {last_line(error)}; try onnxruntime") from error
        rest = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.precision = "int8" if self.metadata.get("precision") == "int8" else rest
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        """Outputs for one batch, copied out of the request's own buffers."""
        check_batch(self.name, self.inputs, batch)
        if len(batch[0]) == 0:
            return empty_outputs(self.outputs)
        arrays = [np.ascontiguousarray(array) for array in batch]
        with self._lock:
            try:
                self._request.infer(arrays, share_inputs=True)
            except RuntimeError as error:
                raise EngineError(f"{self.name}: OpenVINO failed on {arrays[0].shape}: {last_line(error)}") from error
            return tuple(np.array(tensor.data) for tensor in self._request.output_tensors)


def load(path: Path, precision: str, threads: int) -> OpenVinoEngine:
    """The ONNX file as an engine; see `engines.load`."""
    return OpenVinoEngine(path, precision, threads)


def read(path: Path) -> Any:
    """The file as an OpenVINO model, through the ONNX reader alone (`Core.read_model` tries every format it knows)."""
    reader = frontend.FrontEndManager().load_by_framework("onnx")
    try:
        model = reader.convert(reader.load(str(path)))
    except READ_ERRORS as error:
        raise EngineError(f"{path}: not a whole ONNX network: {last_line(error)}; export it again") from error
    if not model.inputs or not model.outputs:
        raise EngineError(f"{path}: an empty network ({path.stat().st_size} bytes); export it again")
    return model


def keep_first_convolution_in_f32(model: Any) -> None:
    """Let the convolution that reads the pixels compute in f32 when the others compute in bf16, if it is the only one.

    bf16 has 8 bits of mantissa and rounds pixels in 0..1 to steps of up to 1/256: measured in docs/engines.md. OpenVINO
    keeps a node in its precision by an attribute that Python cannot make: it is read from a network that has one. A
    version that does not know it computes in bf16 throughout, and the parity gate judges that.
    """
    marked = ov.Core().read_model(PRECISE.encode(), ov.Tensor(np.zeros(0, np.uint8))).inputs[0].get_node()
    attributes = dict(marked.get_rt_info().items())
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    pixels = [node for node in convolutions if node.input(1).get_partial_shape()[1] == model.inputs[0].partial_shape[1]]
    if len(pixels) == 1 and KEEP in attributes:
        pixels[0].set_rt_info(attributes[KEEP], KEEP)


def settings(core: Any, precision: str, threads: int) -> dict[str, str]:
    """Properties for `compile_model`: one stream over all threads, as a step waits for its one batch.

    Threads are not bound to cores: a bound one waits for its core while others, of other processes, are free.

    Raises:
        EngineError: this CPU does not multiply in the precision asked for.
    """
    chosen = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "ENABLE_CPU_PINNING": "NO"}
    if threads:
        chosen["INFERENCE_NUM_THREADS"] = str(threads)
    if precision != "auto":
        available = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        capability = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}[precision]
        if capability not in available:
            raise EngineError(
                f"this CPU has no {precision} arithmetic (it has {', '.join(available)}); set precision auto"
            )
        chosen["INFERENCE_PRECISION_HINT"] = precision
    return chosen


def tensor_spec(port: Any) -> TensorSpec:
    """One input or output of an OpenVINO model."""
    shape = tuple(None if n.is_dynamic else n.get_length() for n in port.partial_shape)
    return TensorSpec(port.any_name, shape, np.dtype(port.element_type.to_dtype()))


def metadata(model: Any) -> dict[str, str]:
    """The ONNX file's own key-value pairs; OpenVINO keeps them as run-time facts of the framework."""
    if not model.has_rt_info("framework"):
        return {}
    return {key: str(value) for key, value in model.get_rt_info("framework").value.items()}


def last_line(error: Exception) -> str:
    """What OpenVINO says of the cause, without its stack of source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
