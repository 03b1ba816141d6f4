"""Built TensorRT plans on disk: a plan is found only by everything it was built from and for, and is whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engines import cache
from engines.cuda import Gpu

RECIPE = 1  # grows when the same facts are built differently
SMALL = 8  # batches up to it get kernels of their own


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes that share tuned kernels, the best among them."""

    smallest: int
    best: int
    largest: int


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything that a plan depends on; see the module.

    Attributes:
        network: sha256 of the ONNX file.
        flavour, version: of TensorRT.
        max_batch: the largest of the profiles, which follow from it and the file.
    """

    network: str
    flavour: str
    version: str
    precision: str
    gpu: Gpu
    max_batch: int
    recipe: int = RECIPE


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan file, and what was written down when it was built.

    Attributes:
        seconds, size: that the build took, in bytes.
        metadata: of the ONNX file, which a plan does not keep.
    """

    path: Path
    key: PlanKey
    sha256: str
    layers: int
    seconds: float
    size: int
    metadata: Mapping[str, str]


def profiles(max_batch: int) -> tuple[Profile, ...]:
    """Ranges that cover 1..max_batch: a few at once as in a quiet scene, and many."""
    if max_batch <= SMALL:
        return (Profile(1, max_batch, max_batch),)
    return Profile(1, SMALL // 2, SMALL), Profile(SMALL + 1, max(SMALL + 1, max_batch // 2), max_batch)


def profile_for(ranges: tuple[Profile, ...], batch: int) -> int:
    """Index of the range that holds a batch size; the last for one that is larger, as a file may fix it."""
    return next((index for index, one in enumerate(ranges) if batch <= one.largest), len(ranges) - 1)


def plan_path(name: str, key: PlanKey, folder: Path) -> Path:
    """Where the plan of a network of this name and key belongs."""
    return folder / "plans" / f"{name}-{cache.digest(asdict(key))}.plan"


def find(name: str, key: PlanKey, folder: Path) -> Plan | None:
    """The plan of exactly this key; None if there is none to trust."""
    plan = read(plan_path(name, key, folder))
    return plan if plan and plan.key == key and is_whole(plan) else None


def find_any_batch(name: str, key: PlanKey, folder: Path) -> Plan | None:
    """The plan of this key, else of those that differ from it in their largest batch alone the one with the largest."""
    if exact := find(name, key, folder):
        return exact
    others = (read(path) for path in (folder / "plans").glob(f"{name}-*.plan"))
    same = [plan for plan in others if plan and replace(plan.key, max_batch=key.max_batch) == key and is_whole(plan)]
    return max(same, key=lambda plan: plan.key.max_batch, default=None)


def read(path: Path) -> Plan | None:
    """The plan at this place, by its facts alone; None if they are missing or of another make."""
    try:
        facts: dict[str, Any] = json.loads(facts_path(path).read_text())
        key = PlanKey(**{**facts["key"], "gpu": Gpu(**facts["key"]["gpu"])})
        return Plan(path, key, facts["sha256"], facts["layers"], facts["seconds"], facts["size"], facts["metadata"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(plan: Plan) -> bool:
    """Whether the plan's file is there, and is what was built."""
    return plan.path.is_file() and cache.sha256(plan.path) == plan.sha256


def write(plan: Plan, content: bytes) -> None:
    """Keep a plan: its content first, so that facts never speak of a plan that is not there.

    Raises:
        EngineError: the folder cannot be written.
    """
    cache.write_atomically(plan.path, content)
    facts = {**asdict(plan), "metadata": dict(plan.metadata)}
    del facts["path"]
    cache.write_atomically(facts_path(plan.path), json.dumps(facts, indent=1).encode())


def facts_path(path: Path) -> Path:
    """Where the facts of a plan stand."""
    return path.with_suffix(".json")
