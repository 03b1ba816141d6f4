"""The loop of a process that hangs: it never reports."""

import threading

from pipeline.job import Job


def run(job: Job) -> None:
    """Waits for ever."""
    threading.Event().wait()
