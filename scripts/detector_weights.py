"""Weights of an exported YOLO26 detector back into a network that can be trained on.

An export has each BatchNorm folded into the convolution before it, and only the head that finds each person once.
"""

from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import nn


def restore(network: nn.Module, onnx_path: Path, images: torch.Tensor) -> None:
    """Make `network` compute what the export does; in training mode, too, on images like these.

    Args:
        network: ultralytics' DetectionModel of the same architecture and classes; its weights are replaced.
        onnx_path: written by `scripts/export_detector.py`, or by ultralytics.
        images: (N, 3, H, W) float32 RGB in 0..1, letterboxed. The folded BatchNorms take their statistics from them.

    Raises:
        ValueError: the file is no export, or one of another architecture.
    """
    unfold(network, folded_weights(onnx_path), str(onnx_path))
    measure(network, images)


def folded_weights(onnx_path: Path) -> dict[str, torch.Tensor]:
    """The file's tensors by name, in float32 whatever they are stored as."""
    try:
        stored = onnx.load(onnx_path).graph.initializer
    except DecodeError as error:
        raise ValueError(f"{onnx_path}: no ONNX file: {error}; give an exported detector") from error
    arrays = {tensor.name.removesuffix("_f16"): numpy_helper.to_array(tensor) for tensor in stored}
    return {name: torch.tensor(array).float() for name, array in arrays.items()}


def unfold(network: nn.Module, weights: dict[str, torch.Tensor], origin: str) -> None:
    """Convolutions as they are in the file, with BatchNorms behind them that only add the bias.

    The head that finds a person several times, which the file has not, takes the weights of the other one.
    """
    modules = dict(network.named_modules())
    for name, module in modules.items():
        if not isinstance(module, nn.Conv2d):
            continue
        source = name if f"{name}.weight" in weights else name.replace(".cv", ".one2one_cv", 1)
        weight, bias = weights.get(f"{source}.weight"), weights.get(f"{source}.bias")
        if weight is None or bias is None or weight.shape != module.weight.shape:
            raise ValueError(
                f"{origin}: no {tuple(module.weight.shape)} weights for {name}; give a YOLO26-n of one class"
            )
        module.weight.data.copy_(weight)
        if module.bias is not None:
            module.bias.data.copy_(bias)
            continue
        norm = modules[name.removesuffix("conv") + "bn"]
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.data.fill_(1)
        norm.bias.data.copy_(bias)


@torch.no_grad()
def measure(network: nn.Module, images: torch.Tensor) -> None:
    """Give every BatchNorm the mean and variance of what comes in, and the scale and shift that undo them."""
    moments: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]] = {}

    def note(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        moments[norm] = (inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3)))

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    network.eval()(images)
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in moments.items():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.add_(mean)
    network.train()
