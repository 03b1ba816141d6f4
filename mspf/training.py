"""Training step by step: network, averaged network, losses and optimisers of one run, and all of its state."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mspf.datasets import I64
from mspf.errors import RunError
from mspf.losses import MSPFLoss
from mspf.network import MSPF, Features
from mspf.normalisation import MEAN, STD, normalise
from mspf.photographs import ALONE, Batch, Share
from mspf.recipe import SourceConfig, TrainConfig, learning_rate

__all__ = ["MEAN", "STD", "Objective", "SourceConfig", "TrainConfig", "Trainer", "learning_rate", "normalise"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

log = logging.getLogger(__name__)


class Objective(nn.Module):
    """What is minimised, as one module: images and labels in, the loss out; processes share its gradients."""

    def __init__(self, network: MSPF, losses: MSPFLoss, config: TrainConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.losses = network, losses
        self._dtype = dtype
        self._features = torch.compile(network.features) if config.compile else network.features

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """(B, 3, H, W), (B,) -> scalar; the losses are in float32."""
        with torch.autocast(images.device.type, self._dtype, enabled=self._dtype != torch.float32):
            features: Features = self._features(images)
        loss: Tensor = self.losses(self.network, features, labels)
        return loss


def activations(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What a step computes in: the recipe's precision, but float32 where a CPU has no bfloat16.

    Such a CPU (no AVX-512) was measured at 5 images/s in bfloat16 and at 125 in float32.
    """
    if config.precision == "bfloat16" and device.type == "cpu" and not _cpu_has_bfloat16():
        log.warning("precision: this CPU has no bfloat16; training in float32")
        return torch.float32
    return DTYPES[config.precision]


def _cpu_has_bfloat16() -> bool:
    return torch._C._has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Trainer:
    """Everything of a run that changes with its steps. Two trainers of one state take the same next step.

    Attributes:
        alike: who looks like whom in every pool, where people are drawn by that; it stays what it is at first.
    """

    def __init__(self, config: TrainConfig, classes: int, device: torch.device, share: Share = ALONE) -> None:
        """
        Raises:
            RunError: a precision that the device does not have.
        """
        if config.precision == "float16" and device.type != "cuda":
            raise RunError(f"precision: float16 trains on CUDA alone, this is {device.type}; set bfloat16 or float32")
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.network = _built(config, device)
        self.losses = MSPFLoss(self.network, classes, config.losses).to(device)
        self.averaged = _built(config, device)
        self.averaged.eval().requires_grad_(False)
        self.optimiser = _optimiser(config, self.network, self.losses)
        centres = [head.centre.centres for head in self.losses.heads]
        self.centre_optimiser = torch.optim.SGD(centres, config.losses.centre_lr)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.objective: nn.Module = Objective(self.network, self.losses, config, activations(config, device))
        self._to_capture = config.cuda_graphs and device.type == "cuda" and share.world == 1 and not config.compile
        if share.world > 1:
            self.objective = DistributedDataParallel(self.objective)
        self.steps = 0
        self.alike: list[I64] = []
        self.loss_sum = torch.zeros((), device=device)
        self.part_sums: dict[str, Tensor] = {}
        self.losses_summed = 0
        self._averaged_tensors, self._network_tensors = _floating(self.averaged), _floating(self.network)
        self.restart_average()

    def restart_average(self) -> None:
        """The averaged weights are the present ones."""
        self.averaged.load_state_dict(self.network.state_dict())

    def step(self, batch: Batch, epoch: float) -> Tensor:
        """One step of network, classifiers and centres; the loss, on the device."""
        rate = learning_rate(self.config, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.network.train()
        self.losses.train()
        if self._to_capture:
            self._to_capture = False
            capture(self.objective, batch)
        loss: Tensor = self.objective(batch.images, batch.labels)
        optimisers = [self.optimiser, self.centre_optimiser] if self.config.losses.centre else [self.optimiser]
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        for optimiser in optimisers:
            self.scaler.unscale_(optimiser)
        self.losses.unweigh_centres()
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        for optimiser in optimisers:
            self.scaler.step(optimiser)
        self.scaler.update()
        self.steps += 1
        self._average()
        self.loss_sum += loss.detach()
        if self.part_sums or not self.losses_summed:  # a checkpoint of before has none of its part of an epoch
            self.part_sums = {name: self.part_sums.get(name, 0) + part for name, part in self.losses.parts.items()}
        self.losses_summed += 1
        return loss.detach().clone()  # a replayed step's loss lies where the next one's will

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights a step; young averages forget faster."""
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._averaged_tensors, self._network_tensors, 1 - decay)

    def take_mean_loss(self) -> tuple[float, dict[str, float]]:
        """The mean loss since the last call, and those of its parts; see `check`."""
        self.check()
        count = max(self.losses_summed, 1)
        mean, parts = float(self.loss_sum) / count, {name: float(x) / count for name, x in self.part_sums.items()}
        self.loss_sum.zero_()
        self.part_sums = {}
        self.losses_summed = 0
        return mean, parts

    def check(self) -> None:
        """
        Raises:
            RunError: a loss since the last mean was no number, or a weight is none.
        """
        advice = "lower lr, or set precision: float32"
        if not self.loss_sum.isfinite():
            raise RunError(f"step {self.steps}: the loss is {float(self.loss_sum)}; {advice}")
        if not all(tensor.isfinite().all() for tensor in (*self._network_tensors, *_floating(self.losses))):
            raise RunError(f"step {self.steps}: a gradient left weights that are no numbers; {advice}")

    def state(self) -> dict[str, Any]:
        """Everything that going on needs; the data are a function of the step and of who looks like whom."""
        modules = ("network", "averaged", "losses", "optimiser", "centre_optimiser", "scaler")
        return {name: getattr(self, name).state_dict() for name in modules} | {
            "steps": self.steps,
            "loss_sum": self.loss_sum,
            "part_sums": self.part_sums,
            "losses_summed": self.losses_summed,
            "alike": [torch.from_numpy(near) for near in self.alike],
            "config": msgspec.json.encode(self.config).decode(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for name in ("network", "averaged", "losses", "optimiser", "centre_optimiser", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.steps, self.losses_summed = state["steps"], state["losses_summed"]
        self.alike = [near.numpy() for near in state.get("alike", [])]
        self.loss_sum = state["loss_sum"].to(self.device)
        self.part_sums = {name: x.to(self.device) for name, x in state.get("part_sums", {}).items()}


def _floating(module: nn.Module) -> list[Tensor]:
    """Weights and statistics in the order of their names' appearance; they change in place, so this is asked once."""
    return [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]


def _built(config: TrainConfig, device: torch.device) -> MSPF:
    return MSPF(config.network).to(device).to(memory_format=torch.channels_last)


def _optimiser(config: TrainConfig, network: MSPF, losses: MSPFLoss) -> torch.optim.Optimizer:
    """The recipe's, in groups: matrices, vectors (norms, biases) and classifiers, each with its share of the rate."""
    trained = [p for p in network.parameters() if p.requires_grad]
    vector_decay = config.weight_decay if config.decay_vectors else 0.0
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "share": 1.0},
        {"params": [p for p in trained if p.ndim <= 1], "share": 1.0, "weight_decay": vector_decay},
        {"params": [head.classifier.weight for head in losses.heads], "share": config.classifier_lr},
    ]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, config.lr, config.momentum, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, config.lr, weight_decay=config.weight_decay, fused=True)


def capture(objective: nn.Module, batch: Batch) -> None:
    """From now on forward and backward of batches of this shape are one launch each (CUDA graphs).

    The network is thousands of small kernels, which a GPU finishes faster than Python starts them. Weights and
    statistics stay as they are.

    Raises:
        RunError: CUDA cannot record it, or has no memory for it.
    """
    gc.collect()  # what was captured before holds itself in a circle, with all its memory on the GPU
    before = [buffer.clone() for buffer in objective.buffers()]
    autograd = torch.autograd.graph
    if hasattr(autograd, "set_warn_on_accumulate_grad_stream_mismatch"):  # gradients come from the graph's own stream
        autograd.set_warn_on_accumulate_grad_stream_mismatch(False)
    try:
        torch.cuda.make_graphed_callables(objective, tuple(batch), allow_unused_input=True)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RunError(
            f"a step was not recorded as a CUDA graph ({reason}); fewer people, or cuda_graphs: false"
        ) from error
    with torch.no_grad():
        for buffer, value in zip(objective.buffers(), before, strict=True):
            buffer.copy_(value)  # without those of the trial steps of the capture


@contextmanager
def kernels(config: TrainConfig) -> Iterator[None]:
    """On CUDA, while this lasts: the same kernels in the same order where the recipe asks for it, else the fastest."""
    deterministic, search = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(config.deterministic or deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not (config.deterministic or deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = search
