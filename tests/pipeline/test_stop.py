"""Asking a loop to stop."""

import signal
import subprocess
import sys

import pytest

from pipeline import stop
from pipeline.stop import Stop
from tests.fakes import ask_to_stop


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_noted_and_asking_again_at_once_changes_nothing(sign):
    before = signal.getsignal(sign)
    with Stop() as asked:
        assert not asked.asked
        for _ in range(3):
            ask_to_stop(sign)
        assert asked.asked
    assert signal.getsignal(sign) is before


def test_who_asks_again_after_a_while_stops_at_once(monkeypatch):
    monkeypatch.setattr(stop, "_PATIENCE_S", 0.0)
    with pytest.raises(KeyboardInterrupt), Stop():
        ask_to_stop()
        ask_to_stop()


def test_real_signals_are_heard():
    script = (
        "import signal\n"
        "from pipeline.stop import Stop\n"
        "with Stop() as stop:\n"
        "    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGINT): signal.raise_signal(sign)\n"
        "    print(stop.asked)\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('as before')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\nas before\n", "")
