"""How large a network is: parameters, multiply-adds, and the shapes that flow through it."""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mspf.network import FEATURE, MSPF, GlobalBranch, cut, tile


def count_parameters(module: nn.Module) -> int:
    """Learnt numbers, each counted once however often it is used."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def count_macs(module: nn.Module, images: Tensor) -> int:
    """Multiply-adds of convolutions and linear layers for this batch, every call counted.

    One per multiply-add, and one per output value where there is a bias. The module is left in eval mode.
    """
    total = 0

    def add(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        total += output.numel() * (prod(layer.weight.shape[1:]) + (layer.bias is not None))

    hooks = [m.register_forward_hook(add) for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    try:
        module.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
    return total


class Row(NamedTuple):
    """One tensor of the network: its name in the paper and its shape without the batch."""

    name: str
    shape: tuple[int, ...]


@torch.no_grad()
def trace_rows(network: MSPF, images: Tensor) -> list[Row]:
    """Every tensor that the network names, from the stem to the descriptor, in order. Left in eval mode.

    Raises:
        ValueError: a network without the paper's global branch.
    """
    network.eval()
    whole, config = network.whole, network.config
    if not isinstance(whole, GlobalBranch):
        raise ValueError(f"whole: {config.whole} has none of the paper's tensors; trace one with whole: osfa")
    x2 = whole.body.conv2(whole.body.stem(images))
    x3 = whole.body.conv3(whole.attend2(x2))
    x5 = whole.body.conv5(whole.body.conv4(whole.attend3(x3)))
    tensors = {"conv2": x2, "conv3": x3, "conv3 attended": whole.attend3(x3), "conv5": x5}
    for number, (smooth, x) in enumerate(zip(whole.smooth, (x2, x3, x5), strict=False), 2):
        tensors[f"smooth {number}"] = smooth(x)
    for number, (grid, body) in enumerate(zip(config.grids, network.level_bodies(), strict=True), 1):
        tensors[f"P{number} patches"] = cut(images, grid)
        tensors[f"P{number} maps"] = tile(body(cut(images, grid)), grid)
    features = network.features(images)
    tensors |= {"f_G": features.fused[:, :FEATURE], "f_L": features.local, "f_M": features.fused[:, FEATURE:]}
    tensors |= {"g": features.fused, "descriptor": network.describe(images), "embedding": network(images)}
    return [Row(name, tuple(tensor.shape[1:])) for name, tensor in tensors.items()]
