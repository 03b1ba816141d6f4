"""The process table: `process_table` is every process of a live run, `main` the body of each.

Each loop is imported in its own process only, so that the matcher loads no network and the supervisor nothing.
"""

import importlib
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from logging.handlers import WatchedFileHandler
from pathlib import Path

from pipeline.errors import PipelineError, StoreError
from pipeline.job import Job

log = logging.getLogger(__name__)

FAILED = 2  # exit status of a process that cannot work however often it is restarted


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One line of the process table; `loop` names the module whose `run(job)` it executes.

    Attributes:
        optional: the run goes on without it when it cannot work.
    """

    name: str
    loop: str
    job: Job
    optional: bool = False


def process_table(job: Job) -> list[ProcessSpec]:
    """Every process of a run, in the order of their start."""
    table = [ProcessSpec("matcher", "pipeline.live_matcher", job)]
    if job.video:
        table.append(ProcessSpec("mosaic", "pipeline.live_mosaic", job, optional=True))
    size = job.site.cameras_per_worker
    for number, start in enumerate(range(0, len(job.cameras), size)):
        part = replace(job, cameras=job.cameras[start : start + size], number=number)
        table.append(ProcessSpec(f"worker-{number}", "pipeline.live_worker", part))
    return table


def main(spec: ProcessSpec) -> None:
    """Body of a child process: logs, signals, and one line for a failure that a restart cannot mend."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    log_to(spec.job.out / "pipeline.log", spec.name)
    log.info("started as process %d", os.getpid())
    try:
        importlib.import_module(spec.loop).run(spec.job)
    except PipelineError as error:
        log.error("%s", error)
        sys.exit(FAILED)
    except Exception:
        log.exception("%s: unexpected failure", spec.name)
        sys.exit(1)


class RunLog(WatchedFileHandler):
    """The log file of a run, begun anew where it was moved away; one that cannot be written leaves no traceback.

    Lines that do not fit on a full disk wait in its buffer.
    """

    def reopenIfNeeded(self) -> None:  # noqa: N802  logging's name
        """Begins a new file where this one is gone, also when that still has lines which no disk takes."""
        with suppress(OSError):
            super().reopenIfNeeded()
            return
        if self.stream:
            with suppress(OSError):
                self.stream.close()
            self.stream = None

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        with suppress(OSError):  # no new file can be made
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Nothing: those who write the results tell that the disk is full."""


def log_to(path: Path, name: str) -> None:
    """Warnings to the terminal, changes of state to the run's log.

    Raises:
        StoreError: the log cannot be opened.
    """
    screen = logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("%(message)s"))
    try:
        file = RunLog(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write: {error.strerror}; give another --out") from error
    file.setFormatter(logging.Formatter(f"%(asctime)s {name} %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[screen, file], force=True)
