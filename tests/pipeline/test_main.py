"""The program as a process: how it ends when it is stopped."""

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_the_libraries_are_loaded_shows_no_traceback(sign, tmp_path):
    script = (
        "import sys, os, signal\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'pipeline.cli': os.kill(os.getpid(), {int(sign)})\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from pipeline.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
