"""Entry point of `mspf-pipeline`: a stop shows no traceback, also while the libraries are still being loaded."""

import os
import signal
import sys


def main() -> None:
    """Runs the command line; exit status 130 when stopped by Ctrl-C or a service manager."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # numpy reads it when it is loaded, here and in every process of a run. Its threads wait for each other: beside
    # other work on the cores a small product took 188 ms, and 0.04 ms in one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from pipeline.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
