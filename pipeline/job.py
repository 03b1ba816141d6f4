"""What a process of a live run is told, and whether it should go on."""

import multiprocessing
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import psutil

from pipeline.config import CameraConfig, Site
from pipeline.datatypes import Position

REPORT_S = 1.0
IDLE_S = 0.1
HIGH_WATER = 64  # messages a link holds; about 4 MB a camera at worst


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the sockets of one run are."""

    tracklets: str
    identities: str
    telemetry: str
    views: str


@dataclass(frozen=True, slots=True)
class Job:
    """What a process of a live run needs to know.

    Attributes:
        cameras: those that a worker serves; all of them for the others.
        number: of the worker.
        epoch: of the tracks that a worker numbers; grows from start to start.
        utc: UTC seconds at the zero of this machine's monotonic clock, measured once a run: one clock for all cameras
            and restarts, whatever is done to the machine's.
        network: digest of the network that describes people.
        positions: where each camera goes on, by id; one that is not there begins with frame 0.
    """

    site: Site
    out: Path
    addresses: Addresses
    cameras: tuple[CameraConfig, ...]
    number: int = 0
    video: bool = False
    pictures: bool = False
    tracklets: bool = False
    epoch: int = 0
    utc: float = 0.0
    network: str = ""
    positions: Mapping[str, Position] = field(default_factory=dict)


class Life:
    """Whether to go on: not after SIGTERM, and not without the supervisor that started this process."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._parent = multiprocessing.parent_process()
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ended.set()

    @property
    def goes_on(self) -> bool:
        """False once the process should finish its work and return."""
        return not self._ended.is_set() and (self._parent is None or self._parent.is_alive())


def start_deaf(process: BaseProcess) -> None:
    """Starts a spawned process that Ctrl-C does not reach, from its first moment on: this one hears it for both."""
    resource_tracker.ensure_running()  # its start would unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the new process inherits it
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def rss_mb() -> float:
    """Resident memory of this process in MiB."""
    return round(psutil.Process().memory_info().rss / 2**20, 1)
