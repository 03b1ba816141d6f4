"""Everything that can go wrong in a way a user can mend.

PipelineError
├── ConfigError      cams.yaml or an option: which key, which value, what is allowed
├── SourceError      a camera or video: unreachable, silent, corrupt
├── EngineFailure    a network file: missing, of the wrong kind, not runnable here
├── WireError        a message that is truncated or of another schema version
└── StoreError       the run directory or the identity store cannot be written or read
    └── DiskError    for now: the disk is full, or fails

Every message says what, where, which value and what to do, in one line.
"""


class PipelineError(Exception):
    """A failure the user can act on; the command line prints it as one line, without a traceback."""


class ConfigError(PipelineError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class SourceError(PipelineError):
    """A camera or video cannot be opened or read on."""


class EngineFailure(PipelineError):  # noqa: N818  engines.EngineError is the library's; this is the pipeline's
    """A network cannot be loaded or run."""


class WireError(PipelineError):
    """A message cannot be understood."""


class StoreError(PipelineError):
    """The run directory or the identity store cannot be written or read."""


class DiskError(StoreError):
    """The disk is full or fails, which may pass: trying again can help."""
