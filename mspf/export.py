"""One ONNX file that goes from pixels to unit rows, and says in its metadata what it is and what it wants."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mspf.network import MSPF
from mspf.training import MEAN, STD
from mspf.weights import LARGE, weights_sha256

OPSET = 17


class RunTimeNetwork(nn.Module):
    """MSPF with its normalisation inside: RGB (B, 3, H, W) float32 in 0..255 -> unit rows (B, length)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: MSPF) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        rows: Tensor = self.network(images * self.scale + self.shift)
        return rows


def metadata(network: MSPF, size_hw: tuple[int, int], training_data: str) -> dict[str, str]:
    """What a user of the file has to know, as the strings that ONNX stores."""
    config = network.config
    return {
        "kind": "reid",
        "architecture": "MSPF",
        "input_height": str(size_hw[0]),
        "input_width": str(size_hw[1]),
        "layout": "NCHW",
        "channel_order": "RGB",
        "value_range": "0..255",
        "mean": " ".join(map(str, MEAN)),
        "std": " ".join(map(str, STD)),
        "normalisation": "inside the graph: (images / 255 - mean) / std",
        "descriptor_length": str(config.compact or config.fused_length + config.local_length),
        "width": str(config.width),
        "config": msgspec.json.encode(config).decode(),
        "training_data": training_data,
        "weights_sha256": weights_sha256(network),
    }


def export_onnx(network: MSPF, path: Path, size_hw: tuple[int, int], facts: Mapping[str, str]) -> None:
    """Write the network with a dynamic batch: `images` (N, 3, H, W) float32 -> `embeddings` (N, length)."""
    example = torch.zeros(2, 3, *size_hw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no further package
        torch.onnx.export(
            RunTimeNetwork(network).eval(),
            (example,),
            str(path),
            input_names=["images"],
            output_names=["embeddings"],
            dynamic_axes={"images": {0: "batch"}, "embeddings": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    pool_globally(model.graph)
    name_patch_batches(model)
    halve_large_weights(model.graph)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = int(facts["descriptor_length"])
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def pool_globally(graph: onnx.GraphProto) -> None:
    """Say GlobalAveragePool for a mean over height and width: ONNX Runtime keeps its blocked layout through it."""
    for node in graph.node:
        facts = {fact.name: onnx.helper.get_attribute_value(fact) for fact in node.attribute}
        if node.op_type == "ReduceMean" and facts.get("axes") in ([2, 3], [-1, -2]) and facts.get("keepdims", 1):
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]


def name_patch_batches(model: onnx.ModelProto) -> None:
    """Name the number of patches of each level, so that ONNX Runtime knows that maps to be added are of one size.

    Without a name it keeps 12 ReLUs and 36 reshapes that it otherwise fuses away.
    """
    convolved = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    cut = {node.output[0] for node in model.graph.node if node.op_type == "Reshape"} & convolved
    for value in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info:
        if value.name in cut:
            value.type.tensor_type.shape.dim[0].dim_param = f"patches of {value.name}"
            model.graph.value_info.append(value)


def halve_large_weights(graph: onnx.GraphProto, larger_than: int = LARGE) -> None:
    """Store large weights as float16, cast back where they are used: half the file, the same float32 network."""
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim > 1 and values.size > larger_than:
            name = weight.name
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            cast = onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
            graph.node.insert(0, cast)
