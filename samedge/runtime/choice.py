"""Which backends there are, and the choice between them.

`auto` takes the first backend that works on this machine and says which and why; a backend that was
asked for by name and is not there is an error with the remedy, never a fallback to something
slower.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module

from samedge._wording import did_you_mean, option
from samedge.errors import NotSupportedError
from samedge.runtime.backend import Backend

# Name -> where the backend stands, "module:object", in the order in which `auto` tries them.
BACKENDS: dict[str, str] = {
    "tensorrt": "samedge.runtime.tensorrt.backend:TENSORRT",
    "tensorrt_rtx": "samedge.runtime.tensorrt.backend:TENSORRT_RTX",
    "triton": "samedge.runtime.triton.backend:TRITON",
    "openvino": "samedge.runtime.openvino.backend:OPENVINO",
    "openvino_gpu": "samedge.runtime.openvino.backend:OPENVINO_GPU",
    "emulation": "samedge.export.half.emulation_backend:EMULATION",
}
# Only by name: `auto` never takes these.
ON_REQUEST = frozenset({"openvino_gpu", "emulation"})
# Names that users know from the documentation, and what this version can say about them.
LATER = ("torch",)


def backend_name(name: str) -> str:
    """A backend's name as this table has it: dashes are underscores."""
    return name.replace("-", "_")


def named_backend(name: str) -> Backend:
    """The backend called `name`, checked to run on this machine.

    Raises:
        NotSupportedError: unknown, not in this version, or not usable here; with the remedy.
    """
    name = backend_name(name)
    if name in LATER:
        raise NotSupportedError(
            f"the backend '{name}' is not in this version of samedge; "
            f"use {option('backend', 'openvino')} (any CPU), or a later version of samedge"
        )
    if name not in BACKENDS:
        raise NotSupportedError(
            f"there is no backend '{name}'; expected one of: auto, {', '.join(BACKENDS)}"
            f"{did_you_mean(name, ('auto', *BACKENDS))}"
        )
    backend = _imported(name)
    reason = backend.unavailable()
    if reason is not None:
        raise NotSupportedError(f"the backend '{name}' does not run here: {reason}")
    return backend


def _takes(_backend: Backend) -> None:
    """Nothing is known against it."""


def choose_backend(
    name: str, unready: Callable[[Backend], str | None] = _takes
) -> tuple[Backend, str]:
    """The backend to use for `name` ("auto" or a backend's name), and why it was taken.

    Args:
        name: of a backend, or "auto".
        unready: why a backend that works here does not take the bundle at hand; None if it does.
            Only "auto" asks.

    Raises:
        NotSupportedError: none works here; every reason and its remedy is listed.
    """
    if name != "auto":
        return named_backend(name), "asked for"
    refused: dict[str, str] = {}
    for backend in _by_itself(refused, unready):
        why = "first backend that works here"
        return backend, f"{why} ({_shortly(refused)})" if refused else why
    reasons = "\n  ".join(f"{name}: {text}" for name, text in refused.items())
    raise NotSupportedError(f"no backend works on this machine:\n  {reasons}")


def usable_backends() -> tuple[list[Backend], dict[str, str]]:
    """All that "auto" may take here, best first; and the others with the reasons."""
    refused: dict[str, str] = {}
    return list(_by_itself(refused)), refused


def _by_itself(
    refused: dict[str, str], unready: Callable[[Backend], str | None] = _takes
) -> Iterator[Backend]:
    """The backends that "auto" may take, in its order; why not goes into `refused`."""
    for name in BACKENDS:
        if name in ON_REQUEST:
            continue
        backend = _imported(name)
        reason = backend.unavailable() or unready(backend)
        if reason is None:
            yield backend
        else:
            refused[name] = reason


def _shortly(refused: dict[str, str]) -> str:
    """What is wrong, without what to do about it: there is another that works."""
    names: dict[str, list[str]] = {}
    for name, text in refused.items():
        names.setdefault(re.split(r"[;.] ", text)[0], []).append(name)
    return "; ".join(f"{', '.join(those)}: {text}" for text, those in names.items())


def _imported(name: str) -> Backend:
    """A backend of the table.

    Raises:
        MissingDependencyError: a package that the module itself needs is not installed.
    """
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)
    return backend
