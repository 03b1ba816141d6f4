"""What all tests share: fewer, undated random examples, since the machines are shared and may stall."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("suite")

# A shell that starts the tests in the background ignores Ctrl-C for them, and for every process that they stop by it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where this run of the tests keeps plans and passed gates: never in the home directory."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSPF_PIPELINE_CACHE", str(folder))
        yield folder
