"""Trained networks as files: training checkpoints (.pt) and safetensors, with what they were trained on."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mspf.checkpoint import read_checkpoint
from mspf.errors import CheckpointError
from mspf.network import MSPF, MSPFConfig

NEXT_SET = re.compile(r"(?<=\)), ")  # between "market1501 (751 people, 12936 images)" and the next
LARGE = 1_000  # numbers; larger matrices and kernels are stored as float16: half the file, computed in float32
UNKNOWN = dict.fromkeys(("seed", "training_data", "held_out_ids"), "unknown")
UNKNOWN |= {"input_height": "256", "input_width": "128"}


class _Source(msgspec.Struct, frozen=True):
    name: str
    training_people: int = 0
    training_images: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.training_people} people, {self.training_images} images)"


class _Run(msgspec.Struct, frozen=True):
    """What matters later of the run.json beside a checkpoint."""

    data: tuple[_Source, ...]
    initial_data: str = ""
    initial_held_out_ids: str = ""


class _Recipe(msgspec.Struct, frozen=True):
    """What matters later of the recipe in a checkpoint."""

    network: MSPFConfig
    seed: int
    sources: tuple[_Source, ...] = ()
    size_hw: tuple[int, int] = (256, 128)
    validation_ids: int = 0


def file_sha256(path: Path) -> str:
    """Digest of a file, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(network: nn.Module) -> str:
    """Digest of every tensor of the state, by sorted name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_weights(path: Path) -> MSPF:
    """The network of a safetensors file, or the averaged one of a checkpoint, float32, in eval mode.

    Raises:
        CheckpointError: not such a file, or its tensors are not those of its configuration.
    """
    facts = read_facts(path)
    network = MSPF(msgspec.json.decode(facts["config"], type=MSPFConfig)).eval().requires_grad_(False)
    try:
        network.load_state_dict(read_checkpoint(path)["averaged"])  # copies: float16 becomes float32
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}; train or export it again") from error
    return network


def read_facts(path: Path) -> dict[str, str]:
    """What such a file says of itself; always with `config` and the keys of `UNKNOWN`.

    `held_out_ids`: so many people at the end of each data set were never trained on.

    Raises:
        CheckpointError: not such a file.
    """
    try:
        return _safetensors_facts(path) if path.suffix == ".safetensors" else _checkpoint_facts(path)
    except (OSError, SafetensorError, msgspec.DecodeError, KeyError) as error:
        raise CheckpointError(f"{path}: not a network of this project ({error}); export or train it again") from error


def _safetensors_facts(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as opened:
        facts = dict(opened.metadata() or {})
    return UNKNOWN | {"config": facts["config"]} | facts


def _checkpoint_facts(path: Path) -> dict[str, str]:
    """Of its recipe, and of the run.json beside it, which knows how many people there were."""
    recipe = msgspec.json.decode(read_checkpoint(path)["config"], type=_Recipe)
    run = path.with_name("run.json")
    known = msgspec.json.decode(run.read_bytes(), type=_Run) if run.exists() else _Run(())
    names = [str(source) for source in known.data] or [source.name for source in recipe.sources]
    names += [name for name in NEXT_SET.split(known.initial_data) if name and name not in names]
    return {
        "config": msgspec.json.encode(recipe.network).decode(),
        "seed": str(recipe.seed),
        "training_data": ", ".join(names) or UNKNOWN["training_data"],
        "held_out_ids": fewer(str(recipe.validation_ids), known.initial_held_out_ids or str(recipe.validation_ids)),
        "input_height": str(recipe.size_hw[0]),
        "input_width": str(recipe.size_hw[1]),
    }


class Origin(NamedTuple):
    """What weights to start from were trained on, data set after data set, and the people held out, as facts say."""

    data: str
    held_out_ids: str


def origin(path: Path) -> Origin:
    """Of weights that are none of ours (torchreid's) nothing is known."""
    try:
        facts = read_facts(path)
    except CheckpointError:
        return Origin(f"(that of {path.name})", UNKNOWN["held_out_ids"])
    return Origin(facts["training_data"], facts["held_out_ids"])


def fewer(first: str, second: str) -> str:
    """The smaller of two `held_out_ids`; unknown if one is."""
    return str(min(int(first), int(second))) if first.isdecimal() and second.isdecimal() else UNKNOWN["held_out_ids"]


def save_weights(network: MSPF, path: Path, facts: Mapping[str, str], half: bool = True) -> None:
    """Write a safetensors file that `load_weights` reads back, with these facts as its metadata.

    Args:
        half: store large weights as float16, as the ONNX file does.
    """
    state = {name: _stored(tensor, half) for name, tensor in network.state_dict().items()}
    config = msgspec.json.encode(network.config).decode()
    path.write_bytes(save(state, metadata={**facts, "config": config}))


def _stored(tensor: Tensor, half: bool) -> Tensor:
    smaller = half and tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() > LARGE
    return (tensor.half() if smaller else tensor).contiguous()
