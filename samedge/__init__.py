"""samedge: from a fine-tuned SAM checkpoint to a live mask on an ultrasound cart.

    checkpoint -> model -> fold -> bundle (ONNX) -> engine -> session -> masks

Importing this package imports neither torch nor an inference engine; the five functions and four
classes below load what they need when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from samedge._version import __version__
from samedge.errors import (
    BundleError,
    Cancelled,
    CheckpointError,
    DeviceError,
    FrameError,
    MissingDependencyError,
    ModelError,
    NonFiniteError,
    NotSupportedError,
    OutputError,
    ParityError,
    PromptError,
    SamEdgeError,
    SessionError,
    SourceError,
    TrainingError,
)

if TYPE_CHECKING:
    from samedge.checkpoint import open_checkpoint
    from samedge.export import export
    from samedge.fold import fold
    from samedge.runtime import Result, Session, VolumeResult, load
    from samedge.stream.job import segment
    from samedge.stream.live.stream import LiveStream

__all__ = [
    "BundleError",
    "Cancelled",
    "CheckpointError",
    "DeviceError",
    "FrameError",
    "LiveStream",
    "MissingDependencyError",
    "ModelError",
    "NonFiniteError",
    "NotSupportedError",
    "OutputError",
    "ParityError",
    "PromptError",
    "Result",
    "SamEdgeError",
    "Session",
    "SessionError",
    "SourceError",
    "TrainingError",
    "VolumeResult",
    "__version__",
    "export",
    "fold",
    "load",
    "open_checkpoint",
    "segment",
]

_LAZY = {
    "LiveStream": "samedge.stream.live.stream",
    "Result": "samedge.runtime",
    "Session": "samedge.runtime",
    "VolumeResult": "samedge.runtime",
    "load": "samedge.runtime",
    "open_checkpoint": "samedge.checkpoint",
    "segment": "samedge.stream.job",
}
# `samedge.fold` and `samedge.export` are packages as well as functions: the package modules are
# callable, so that both meanings hold whichever import comes first (see samedge/_callable.py).
_CALLABLE = ("export", "fold")


# Hidden from type checkers, which would otherwise take any name for one of type Any: they have the
# imports above, and find a mistyped name before the program runs.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(import_module(_LAZY[name]), name)
        if name in _CALLABLE:
            return import_module(f"samedge.{name}")
        raise AttributeError(f"module 'samedge' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
