"""The program as a process: how it ends when it is stopped."""

import os
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


@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_products_of_numpy_stay_in_one_thread_unless_told_otherwise(given, expected):
    script = (
        "import sys, os\n"
        "class Ask:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pipeline.cli':\n"
        "            sys.exit(f\"{os.environ['OPENBLAS_NUM_THREADS']} {'numpy' in sys.modules}\")\n"
        "sys.meta_path.insert(0, Ask())\n"
        "from pipeline.__main__ import main\n"
        "main()"
    )
    rest = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=rest | given)
    assert done.stderr == f"{expected} False\n"
