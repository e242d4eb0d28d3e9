"""Engines that the user named, built ahead of time: which backend takes them.

They are all that a session then runs: what does not fit is refused, and nothing is built in its
place or looked for elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError, SourceError
from samedge.files.paths import kind_at, shown
from samedge.runtime.backend import Backend
from samedge.runtime.choice import choose_backend, usable_backends
from samedge.runtime.engines.records import ENDING

BUILD = (
    "samedge build BUNDLE --target tensorrt -o FOLDER (or --target tensorrt-rtx, triton, openvino)"
)


def engine_folders(engines: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """The folder as `LoadOptions.engines` has it; empty for None.

    Raises:
        SourceError: there is no such folder, or no engine in it.
    """
    if engines is None:
        return ()
    folder = Path(engines)
    if kind_at(folder, SourceError) != "folder":
        raise SourceError(f"there is no folder '{shown(folder)}' with engines; make it: {BUILD}")
    try:
        found = any(path.name.endswith(ENDING) for path in folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"the folder '{shown(folder)}' cannot be read: {error.strerror or error}"
        ) from error
    if not found:
        raise SourceError(
            f"the folder '{shown(folder)}' holds no engine (*{ENDING}); make one: {BUILD}"
        )
    return (folder,)


def backend_for(
    bundle: Bundle, name: str, engines: Sequence[Path] = (), device: int = 0
) -> tuple[Backend, str]:
    """As `choose_backend`; with engines "auto" is the first backend that takes them.

    Args:
        bundle: that they were built from.
        name: "auto" or a backend's name.
        engines: folders of ready engines; empty: none were named.
        device: number of the GPU.

    Raises:
        NotSupportedError: no backend works here, or none takes these engines; with the reasons.
    """
    if name != "auto" or not engines:
        backend, why = choose_backend(name, lambda found: found.unready(bundle, device))
        if engines:
            backend.ready(bundle, engines, device)
        return backend, why
    working, refused = usable_backends()
    for backend in working:
        try:
            backend.ready(bundle, engines, device)
        except NotSupportedError as error:
            refused[backend.name] = str(error)
            continue
        return backend, "first backend that takes these engines"
    reasons = "\n  ".join(f"{name}: {text}" for name, text in refused.items())
    raise NotSupportedError(
        f"no backend takes the engines in {shown(engines[0])} here:\n  {reasons}"
    )
