"""A text file that only grows: through full disks and crashes, and when it is moved away."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import StoreError

log = logging.getLogger(__name__)

_PENDING_LIMIT = 64 * 2**20


class AppendFile:
    """Lines, in order; what cannot be written now is kept and written later.

    Where the file was moved away or deleted, a new one begins, with a whole line.

    Args:
        fresh: start empty instead of after what is there, whose last line is cut off when a crash left half of it.
        pending_limit: bytes kept for a full disk; the newest lines beyond them are lost, and that is told.

    Attributes:
        lost_bytes: how many so far.
    """

    def __init__(self, path: Path, *, fresh: bool, pending_limit: int = _PENDING_LIMIT) -> None:
        self.lost_bytes = 0
        self._path = path
        self._fresh = fresh
        self._pending_limit = pending_limit
        self._pending = bytearray()
        self._begun = 0  # bytes of the first pending line that are in the file already
        self._failing = False
        self._file = -1  # until it is opened

    def write(self, text: str) -> None:
        """Appends whole lines now, or as soon as the disk takes them again."""
        self._pending += text.encode()
        self.flush()

    def flush(self) -> None:
        """Tries to write what is pending."""
        try:
            while self._pending:
                self._follow()
                self._write_some()
            if self._failing:
                missing = f"{self.lost_bytes} bytes are" if self.lost_bytes else "nothing is"
                log.warning("%s: writing again, %s missing", self._path, missing)
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error("%s: cannot write: %s; lines are kept until there is space", self._path, error.strerror)
            self._failing = True
            if len(self._pending) > self._pending_limit:
                first = self._pending.find(b"\n") + 1  # half of it may be in the file already
                self._lose(max(first, self._pending.rfind(b"\n", 0, self._pending_limit) + 1))

    def _write_some(self) -> None:
        with memoryview(self._pending) as pending, pending[self._begun :] as rest:
            self._begun += os.write(self._file, rest)
        whole = self._pending.rfind(b"\n", 0, self._begun) + 1
        del self._pending[:whole]
        self._begun -= whole

    def _follow(self) -> None:
        """Goes on in a new file where this one was deleted, or moved without its folder; half a line is cut off it."""
        now = os.fstat(self._file)
        with suppress(FileNotFoundError):
            if os.path.samestat(now, self._path.stat()):
                return
        if now.st_nlink and not self._path.parent.is_dir():
            return
        gone, self._file = self._file, self._create()
        half, self._begun = self._begun, 0
        log.info("%s: was moved away, a new one begins", self._path)
        if half:
            os.truncate(gone, now.st_size - half)
        os.close(gone)

    def _create(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def _lose(self, start: int) -> None:
        if not self.lost_bytes:
            log.error("%s: more cannot be kept; from here on lines are lost", self._path)
        self.lost_bytes += len(self._pending) - start
        del self._pending[start:]

    def __enter__(self) -> Self:
        try:
            self._file = self._create()
            os.truncate(self._file, 0 if self._fresh else _whole_length(self._file))
        except OSError as error:
            raise StoreError(f"{self._path}: cannot write: {error.strerror}; give another --out") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.flush()
        self.lost_bytes += len(self._pending) - self._begun
        if self.lost_bytes:
            log.error("%s: %d bytes could not be written and are lost", self._path, self.lost_bytes)
        os.close(self._file)


def _whole_length(file: int) -> int:
    """Length of a file up to its last newline, which lies in its last 64 KiB."""
    size = os.fstat(file).st_size
    tail = os.pread(file, 2**16, max(0, size - 2**16))
    return size - len(tail) + tail.rfind(b"\n") + 1
