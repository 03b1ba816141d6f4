"""Ctrl-C and a service manager's word, noted for the loop at hand instead of thrown into whatever it just does."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_S = 15.0  # stopping takes no longer, unless something hangs


class Stop:
    """Whether somebody asked to stop; `with` listens, in the main thread.

    Who asks again at once changes nothing: results are being written. Who asks again after a while stops at once.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """True once the loop should end."""
        return self._asked_at is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._hear) for one in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > _PATIENCE_S:
            raise KeyboardInterrupt
