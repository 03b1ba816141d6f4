"""The processes of one run: alone, or as many as torchrun started, one a GPU; and how they are stopped."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from mspf.errors import RunError
from mspf.photographs import Share
from mspf.run import Place


class Interrupts:
    """The first SIGINT or SIGTERM asks to stop after the step at hand; the second stops at once."""

    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _: object) -> None:
        self.received = number
        signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received != 0


@contextmanager
def joined_processes(device: str = "auto") -> Iterator[Place]:
    """Where this process computes; while it lasts, it is joined with the others that torchrun started.

    Args:
        device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises:
        RunError: CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError("device: cuda is not there; install a CUDA build of torch, or give --device cpu")
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    world = int(os.environ.get("WORLD_SIZE", "1"))
    here = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(here)
    if world == 1:
        yield Place(here)
        return
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Place(here, Share(distributed.get_rank(), world))
    finally:
        distributed.destroy_process_group()
