"""NVIDIA's two inference libraries, TensorRT and TensorRT-RTX: one interface, two modules.

Their Python modules have the same names for nearly everything; what differs stands here. The
modules are imported when they are first needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from typing import Any

from samedge.errors import DeviceError, MissingDependencyError, NotSupportedError
from samedge.machine.jetson import UPDATE, how_to_install, jetpack

_SEVERITIES = ("internal error", "error", "warning")  # of a log message, most severe first
_KEPT = 50  # log messages
# What the builder tells about a finished engine, in its own words.
_REPORTS = ("Total Activation Memory", "Total Weights Memory", "Layers:\n")


@dataclass(frozen=True)
class NvidiaLibrary:
    """One of the libraries.

    Attributes:
        name: the backend's name, which is the Python module's as well.
        title: as NVIDIA writes it.
        extra: of samedge, that brings it.
        minimum: oldest version that has every call made here.
        ahead_of_time: builds on a machine without a GPU, for GPUs named by compute capability.
    """

    name: str
    title: str
    extra: str
    minimum: tuple[int, int]
    ahead_of_time: bool

    @property
    def module(self) -> Any:
        """The Python module.

        Raises:
            MissingDependencyError: it is not installed.
            NotSupportedError: it cannot be imported, or is too old.
        """
        return _imported(self)

    @property
    def version(self) -> str:
        """Version of the installed library, "10.3.0"."""
        return str(self.module.__version__)

    def cuda_major(self) -> int | None:
        """Major version of CUDA that the installed packages are made for; None if they do not say
        (JetPack's, which fit its driver)."""
        found = [major for major in (13, 12, 11) if _installed(f"{self.name}_cu{major}")]
        return found[0] if len(found) == 1 else None

    def missing(self) -> str | None:
        """Why the module cannot be used, with the remedy; None if it can."""
        try:
            return None if self.module else ""
        except NotSupportedError as error:
            return str(error)


NVIDIA_LIBRARIES: dict[str, NvidiaLibrary] = {
    library.name: library
    for library in (
        NvidiaLibrary("tensorrt", "TensorRT", "tensorrt", (10, 3), ahead_of_time=False),
        NvidiaLibrary("tensorrt_rtx", "TensorRT-RTX", "rtx", (1, 4), ahead_of_time=True),
    )
}


def make_log(library: NvidiaLibrary) -> Any:
    """A logger for the library that keeps what a user or an error message may need.

    Returns:
        an `ILogger` with the attributes `problems` (warnings and worse, as text) and `report` (what
        the builder tells about the engine's layers and memory when it has finished, as text).
    """
    return _log_class(library)()


def device_error(library: NvidiaLibrary, what: str, log: Any) -> DeviceError:
    """`what` failed, with what the library had to say about it."""
    said = "; ".join(log.problems[-3:]) or "it gives no reason"
    return DeviceError(f"{library.title} {library.version} {what}: {said}")


@cache
def _imported(library: NvidiaLibrary) -> Any:
    try:
        module = import_module(library.name)
    except ModuleNotFoundError as error:
        if (error.name or library.name).partition(".")[0] != library.name:
            raise NotSupportedError(f"{library.title} cannot be imported ({error})") from error
        if (number := jetpack()) is not None:
            raise NotSupportedError(
                f"{library.title} is not installed for this Python: "
                f"{how_to_install(library.name, number)}"
            ) from error
        raise MissingDependencyError(library.name, library.extra, library.title) from error
    except (ImportError, OSError) as error:  # one of its libraries is missing, or of another CUDA
        raise NotSupportedError(
            f"{library.title} cannot be imported ({error}): {_anew(library, '--force-reinstall')}"
        ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", str(module.__version__))[:2])
    if version < library.minimum:
        needed = ".".join(map(str, library.minimum))
        raise NotSupportedError(
            f"{library.title} {module.__version__} is too old, {needed} or newer is needed: "
            f"{_anew(library, '--upgrade')}"
        )
    return module


def _anew(library: NvidiaLibrary, option: str) -> str:
    """How to install the library another time."""
    if (number := jetpack()) is not None:
        return UPDATE if option == "--upgrade" else how_to_install(library.name, number)
    return f"install it anew with: pip install {option} {library.name.replace('_', '-')}"


@cache
def _log_class(library: NvidiaLibrary) -> Any:
    trt = library.module

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.problems: list[str] = []
            self.report = ""

        def log(self, severity: Any, message: str) -> None:
            """Called by the library, from any of its threads."""
            if int(severity) < len(_SEVERITIES):
                self.problems = [*self.problems[1 - _KEPT :], " ".join(message.split())]
            elif message.startswith(_REPORTS):
                self.report += message + "\n"

    return Log


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
