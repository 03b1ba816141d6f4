"""Entry point of `mspf-pipeline`: a stop is one line, also while the libraries are still being loaded."""

import signal
import sys


def main() -> None:
    """Runs the command line; exit status 130 when stopped by Ctrl-C or a service manager."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from pipeline.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
