"""Errors a user can meet. Each says what came, what was expected and what to do.

The command line turns them into exit codes; nothing else in samedge calls `sys.exit`.

| code | meaning |
|---|---|
| 0 | done |
| 2 | usage (click) |
| 3 | bad input: a file, a frame, a prompt |
| 4 | not supported here, with the remedy |
| 5 | parity failed |
| 6 | the device, the disk or the engine failed |
| 7 | slower than before (`samedge bench compare`, which raises nothing) |
| 130 | cancelled by the user (Ctrl-C) |
"""

from __future__ import annotations

from samedge._install import install_command
from samedge._wording import printable


class SamEdgeError(Exception):
    """Base of all errors that samedge raises on purpose. `exit_code` is what the CLI returns."""

    exit_code: int = 3

    def __init__(self, *arguments: object) -> None:
        """The message may hold names from foreign files: see `printable`."""
        super().__init__(*(printable(a) if isinstance(a, str) else a for a in arguments))


class CheckpointError(SamEdgeError):
    """A checkpoint file cannot be read, is not safe to read, or does not fit its family."""


class ModelError(SamEdgeError):
    """A model or FoldedModel was built or called with something that does not fit it."""


class FrameError(SamEdgeError):
    """A frame has the wrong type, shape, size or values."""


class PromptError(SamEdgeError):
    """A point, box, label or mask prompt does not fit the frame or the family."""


class SourceError(SamEdgeError):
    """A file, folder, video or DICOM source cannot be read."""


class BundleError(SamEdgeError):
    """A bundle is missing, damaged, changed, or of another schema."""


class NotSupportedError(SamEdgeError):
    """samedge or this machine cannot do that; the message names the remedy."""

    exit_code = 4


class MissingDependencyError(NotSupportedError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(
            f"{what} needs the package '{package}', which is not installed. "
            f"Install it with: {install_command(extra)}"
        )
        self.package, self.extra, self._what = package, extra, what

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str, str]]:
        """Out of a worker process it comes as what it was, by its own arguments."""
        return type(self), (self.package, self.extra, self._what)


class ParityError(SamEdgeError):
    """An engine's results are farther from the float32 reference than its precision allows."""

    exit_code = 5


class DeviceError(SamEdgeError):
    """The device or the inference engine failed."""

    exit_code = 6


class NonFiniteError(DeviceError):
    """The network gave NaN or infinity for a frame: there is no mask of it."""


class OutputError(SamEdgeError):
    """A result could not be written: disk full, no permission, folder in the way."""

    exit_code = 6


class Cancelled(SamEdgeError):
    """The user stopped the work (Ctrl-C); nothing half-written is left."""

    exit_code = 130


class SessionError(SamEdgeError):
    """A session was used out of order, after `close()`, or by two threads at once."""


class TrainingError(SamEdgeError):
    """Training cannot go on, or cannot begin: the loss is no number, a setting does not fit."""


def public_words(error: BaseException) -> str:
    """What of an error may be shown to others and recorded: messages of samedge's own are written
    for users; of others, which may quote anything, the kind alone."""
    return str(error) if isinstance(error, SamEdgeError) else type(error).__name__
