"""Weights on disk: written so that a crash leaves the last ones, read with a clear word when they do not fit."""

import io
import logging
import os
import pickle
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mspf.errors import CheckpointError, RunError
from mspf.network import MSPF, GlobalBranch, NoBranch, PlainBranch

log = logging.getLogger(__name__)

UNREADABLE = (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError)

# What torchreid's own checkpoints hold beside tensors: a rank-1 as a number of numpy.
SCALAR = np.float64(0).__reduce__()[0]  # what builds one
NUMBERS: list[Any] = [
    (SCALAR, "numpy.core.multiarray.scalar"), (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType,
]  # fmt: skip

# torchreid's names (Zhou's OSNet code) -> ours, by the longest matching beginning; blocks first, then what is around.
BLOCK = {
    "conv1.conv": "reduce.0.0", "conv1.bn": "reduce.0.1", "conv3.conv": "expand.0", "conv3.bn": "expand.1",
    "downsample.conv": "shortcut.0", "downsample.bn": "shortcut.1", "gate.fc1": "gate.squeeze",
    "gate.fc2": "gate.excite", "IN": "norm",
}  # fmt: skip
AROUND = {
    "conv1.conv": "stem.0.0", "conv1.bn": "stem.0.1", "conv2.2.0.conv": "conv2.2.0", "conv2.2.0.bn": "conv2.2.1",
    "conv3.2.0.conv": "conv3.2.0", "conv3.2.0.bn": "conv3.2.1", "conv5.conv": "conv5.0.0", "conv5.bn": "conv5.0.1",
    "fc.0": "head.0", "fc.1": "head.1",
}  # fmt: skip
LITE = {"conv1": "0", "conv2": "1", "bn": "2"}
STREAM = re.compile(r"conv2([a-d])\.(?:(\d)\.)?(conv1|conv2|bn)")


def write_checkpoint(path: Path, parts: Mapping[str, Any]) -> None:
    """Replace a checkpoint at once; one that cannot be written leaves the last one.

    Raises:
        RunError: no room, no permission.
    """
    buffer = io.BytesIO()
    torch.save(dict(parts), buffer)
    partial = path.with_suffix(".part")
    try:
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        size = len(buffer.getbuffer()) / 1e6
        raise RunError(f"{path}: {error.strerror}; it takes {size:.0f} MB, free them and run the same again") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, of a safetensors file its weights as `averaged`; only tensors and numbers are unpickled.

    Raises:
        CheckpointError: missing, damaged, or no checkpoint.
    """
    if path.suffix == ".safetensors":
        return {"averaged": _read_safetensors(path)}
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path}: an exported network is no weights any more; give the .safetensors beside it")
    try:
        with torch.serialization.safe_globals(NUMBERS):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        hint = "if you trust it, save its state_dict alone and take that"
        raise CheckpointError(
            f"{path}: no checkpoint, or one with more in it than tensors and numbers; {hint}"
        ) from error
    except UNREADABLE as error:
        reason = (str(error) or "it is empty").splitlines()[0][:120]
        raise CheckpointError(f"{path}: damaged ({reason}); delete it to start again") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    for name in ("averaged", "state_dict"):
        if not isinstance(held := state.get(name, {}), Mapping):
            raise CheckpointError(f"{path}: its {name} is a {type(held).__name__}, no weights")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: no whole safetensors file ({error}); export it again") from error


def torchreid_to_body(name: str) -> str | None:
    """Our name, in `Body` or `head.`, of a tensor of torchreid's OSNet; None for what we do not have (classifier)."""
    if block := re.match(r"(conv[234]\.[01])\.(.+)", name):
        return f"{block[1]}.{inner}" if (inner := _in_block(block[2])) else None
    return _renamed(name, AROUND)


def _in_block(name: str) -> str | None:
    if stream := STREAM.match(name):
        place = f"streams.{'abcd'.index(stream[1])}.{stream[2] or 0}.{LITE[stream[3]]}"
        return place + name[stream.end() :]
    return _renamed(name, BLOCK)


def _renamed(name: str, names: Mapping[str, str]) -> str | None:
    theirs = max((known for known in names if name.startswith(f"{known}.")), key=len, default=None)
    return None if theirs is None else names[theirs] + name[len(theirs) :]


def load_torchreid(network: MSPF, state: Mapping[str, Tensor]) -> None:
    """Copy an OSNet of torchreid into the body of the whole image and into every patch body; says what matched.

    Raises:
        CheckpointError: nothing matched, or another width.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    renamed = {ours: tensor for name, tensor in plain.items() if (ours := torchreid_to_body(name))}
    body = {name: tensor for name, tensor in renamed.items() if not name.startswith("head.")}
    if isinstance(network.whole, PlainBranch):
        _load_all("OSNet's head", network.whole.head, {n[5:]: t for n, t in renamed.items() if n.startswith("head.")})
    bodies: list[tuple[str, nn.Module]] = [(f"patch body {n}", b) for n, b in enumerate(network.patch_bodies, 1)]
    if not isinstance(network.whole, NoBranch):
        bodies.insert(0, ("body of the whole image", network.whole.body))
    for title, module in bodies:
        _load_all(title, module, body)
    unused = sorted(name for name in plain if (ours := torchreid_to_body(name)) is None or ours not in body)
    log.info("not taken from the checkpoint: %s", ", ".join(unused) or "nothing")


def _load_all(title: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    missing = [name for name in own if name not in state]
    if shapes:
        name = shapes[0]
        wanted, given = tuple(own[name].shape), tuple(state[name].shape)
        raise CheckpointError(f"{title}: {name} is {given}, wanted {wanted}; set network.width to the checkpoint's")
    if len(missing) == len(own):
        raise CheckpointError(f"{title}: none of {len(own)} tensors is in the checkpoint; is it an OSNet of torchreid?")
    module.load_state_dict({name: state[name] for name in own if name in state}, strict=False)
    log.info("%s: %d of %d tensors match; missing: %s", title, len(own) - len(missing), len(own), by_module(missing))


def load_overlap(module: nn.Module, state: Mapping[str, Tensor], bodies: tuple[str, ...] = ()) -> list[str]:
    """Copy what a checkpoint has; of necks and classifiers that grew (new people, new levels) the leading block.

    Args:
        bodies: what the names begin with of tensors that must have the shape they have in the checkpoint.

    Returns: the names that the checkpoint does not have.

    Raises:
        CheckpointError: nothing matched, or `bodies` are of another width.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    resized = [name for name in own if name in state and own[name].shape != state[name].shape]
    unused = [name for name in state if name not in own]
    if len(missing) == len(own):
        raise CheckpointError(f"checkpoint does not fit: missing {missing[:3]} ...; it has {unused[:3]} ...")
    if wider := [name for name in resized if name.startswith(bodies)]:
        name = wider[0]
        wanted, given = tuple(own[name].shape), tuple(state[name].shape)
        raise CheckpointError(
            f"{name} is {given}, wanted {wanted}; set network.width (or what else differs) to the checkpoint's"
        )
    for name, tensor in own.items():
        if name in state:
            block = tuple(slice(min(sides)) for sides in zip(tensor.shape, state[name].shape, strict=True))
            tensor[block] = state[name][block]
    matched = len(own) - len(missing) - len(resized)
    told = {"resized": resized, "missing": missing, "unused": unused}
    log.info("%d tensors match; %s", matched, ", ".join(f"{what}: {by_module(names)}" for what, names in told.items()))
    return missing


def by_module(names: Iterable[str]) -> str:
    """["a.b.c", "a.b.d", "e.f"] -> "a.b (2), e (1)"; "none" of none."""
    counts = Counter(".".join(name.split(".")[:-1][:2]) or name for name in names)
    return ", ".join(f"{module} ({count})" for module, count in counts.items()) or "none"


def initialise(network: MSPF, losses: nn.Module, path: Path, reseed_patches: bool = False) -> None:
    """Start from a run of ours (its averaged weights and classifiers), a safetensors file, or an OSNet of torchreid.

    Patch levels that the checkpoint does not have start as copies of the global body.

    Raises:
        CheckpointError: unreadable, or nothing of it fits.
    """
    state = read_checkpoint(path)
    if "averaged" in state:
        missing = load_overlap(network, state["averaged"], ("whole.", "patch_bodies."))
        if reseed_patches or any(name.startswith("patch_bodies") for name in missing):
            network.seed_patch_bodies()
        if "losses" in state:
            load_overlap(losses, state["losses"])
    else:
        load_torchreid(network, state.get("state_dict", state))
        if isinstance(network.whole, GlobalBranch):
            log.info("f_G's linear, attention and stripes start at random")
