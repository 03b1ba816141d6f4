"""Entry point of `mspf-pipeline`: a stop is one line, also while the libraries are still being loaded."""

import os
import signal
import sys
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Runs the command line; exit status 130 when stopped by Ctrl-C or a service manager."""
    for one in _STOPS:
        signal.signal(one, _stop)
    # numpy reads it when it is loaded, here and in every process of a run. Its threads wait for each other: beside
    # other work on the cores a small product took 188 ms, and 0.04 ms in one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from pipeline.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _stop(number: int, frame: FrameType | None) -> None:
    """Stops once: who asks again must not keep the results from being written."""
    for one in _STOPS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
