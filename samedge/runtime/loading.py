"""`samedge.load`: which backend, which precision, and the session."""

from __future__ import annotations

import os
from pathlib import Path

from samedge._wording import option
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.machine.cpu import physical_cores
from samedge.runtime.backend import HINTS, LoadOptions
from samedge.runtime.precision import choose_precision
from samedge.runtime.ready_engines import backend_for, engine_folders
from samedge.runtime.session import Session


def load(
    path: str | os.PathLike[str] | Bundle,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    device: int = 0,
    cache: bool = True,
    hint: str = "latency",
    engines: str | os.PathLike[str] | None = None,
) -> Session:
    """Open a bundle for inference.

    Args:
        path: bundle folder or zip, or an open Bundle.
        backend: "auto" (the first that works here) or a name: "tensorrt" or "tensorrt_rtx" (an
            NVIDIA GPU; engines are built when they are first needed, see `samedge build`), "triton"
            (an NVIDIA GPU, with engines of samedge's own), "openvino" (the CPU), "openvino_gpu" (an
            Intel GPU, which "auto" never takes).
        precision: "auto", "fp32", "bf16", "fp16" or "int8". "auto" is the fastest that this device
            computes natively, the bundle has a graph for, and the bundle's parity table shows to
            have passed. `describe()["why"]` tells which and why.
        threads: CPU threads; default: the physical cores this process may use.
        device: number of the device, for machines with several.
        cache: keep the compiled engine on disk (`$SAMEDGE_CACHE` or the user's cache folder), so
            that the next start is quick.
        hint: "latency" (one frame as soon as possible, the default) or "throughput" (for several
            sessions of one bundle, each in a thread of its own: they share one engine, which then
            computes several frames side by side, each of them later than it could be alone).
        engines: folder of engines from `samedge build -o FOLDER`. Those alone are taken:
            none is built, and one that does not fit bundle, library and GPU is refused. An engine
            is code: name only folders that you trust.

    Raises:
        SourceError: `engines` is no folder, or holds no engine.
        BundleError: the bundle is missing, damaged or changed.
        NotSupportedError: backend, precision or device are not available here; with the remedy.
        DeviceError: the engine failed.
    """
    count = _threads(threads)
    bundle = Bundle.open(Path(path)) if isinstance(path, (str, os.PathLike)) else path
    folders = engine_folders(engines)
    taken, why_backend = backend_for(bundle, backend, folders, device)
    chosen, why_precision = choose_precision(bundle, taken, precision, device, folders)
    options = LoadOptions(chosen, count, device, cache, hint=_hint(hint), engines=folders)
    why = f"{taken.name}: {why_backend}; {chosen}: {why_precision}"
    return Session(bundle, taken, options, why)


def _threads(threads: int | None) -> int:
    if threads is None:
        return physical_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise NotSupportedError(
            f"{option('threads', threads)} came; expected a whole number from 1 up"
        )
    return threads


def _hint(hint: str) -> str:
    if hint not in HINTS:
        raise NotSupportedError(f"hint={hint!r} came; expected one of: {', '.join(HINTS)}")
    return hint
