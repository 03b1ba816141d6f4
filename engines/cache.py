"""What is kept between starts: built plans and passed gates, each under a key of everything it depends on."""

import fcntl
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from engines.engine import EngineError

VARIABLE = "MSPF_PIPELINE_CACHE"
# A tensor's `external_data` (field 13) as protobuf writes it: "location", and a file name of so many bytes.
ELSEWHERE = re.compile(rb"\x6a[\x0d-\x7f]\n\x08location\x12([\x01-\x73])", re.DOTALL)


def cache_dir() -> Path:
    """The folder that $MSPF_PIPELINE_CACHE names, else ~/.cache/mspf-pipeline (under $XDG_CACHE_HOME if set).

    Raises:
        EngineError: there is no home directory.
    """
    if given := os.environ.get(VARIABLE):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mspf-pipeline"
    except RuntimeError as error:
        raise EngineError(f"no home directory for ~/.cache: {error}; set {VARIABLE} to a folder") from error


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def network_sha256(path: Path) -> str:
    """Hex digest of an ONNX file and of the files beside it (names of up to 115 bytes) that hold its weights.

    Raises:
        EngineError: one of these is missing.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    for name in sorted({content[match.end() : match.end() + match[1][0]] for match in ELSEWHERE.finditer(content)}):
        weights = path.parent / os.fsdecode(name)
        try:
            digest.update(weights.read_bytes())
        except OSError as error:
            raise EngineError(f"{path}: its weights in {weights}: {error.strerror}; put that file there") from error
    return digest.hexdigest()


def sha256_of(content: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def digest(facts: Mapping[str, object]) -> str:
    """Sixteen characters that change whenever one of the facts does; their order does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_atomically(path: Path, content: bytes) -> None:
    """Put the file there whole or not at all, whoever else writes it at the same time.

    Raises:
        EngineError: the folder cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise EngineError(f"{path}: cannot write it: {error.strerror}; set {VARIABLE} to another folder") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process is inside with this path; a process that dies leaves no lock behind.

    Raises:
        EngineError: the folder cannot be written.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise EngineError(f"{lock}: cannot write it: {error.strerror}; set {VARIABLE} to another folder") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
