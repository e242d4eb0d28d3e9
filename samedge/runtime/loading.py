"""`samedge.load`: which backend, which precision, and the session."""

from __future__ import annotations

import os
from pathlib import Path

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.runtime.backend import Backend, LoadOptions, choose_backend
from samedge.runtime.cpu import physical_cores
from samedge.runtime.session import Session

LATER_PRECISIONS = ("fp16", "int8")


def load(
    path: str | os.PathLike[str] | Bundle,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    device: int = 0,
    cache: bool = True,
) -> Session:
    """Open a bundle for inference.

    Args:
        path: bundle folder or zip, or an open Bundle.
        backend: "auto" (the first that works here) or a name: "openvino".
        precision: "auto", "fp32" or "bf16". "auto" is bf16 where the CPU computes it natively and
            the bundle's parity table shows that it passed; fp32 otherwise. `describe()["why"]`
            tells which and why.
        threads: CPU threads; default: the physical cores this process may use.
        device: number of the device, for machines with several.
        cache: keep the compiled engine on disk (`$SAMEDGE_CACHE` or the user's cache folder), so
            that the next start is quick.

    Raises:
        BundleError: the bundle is missing, damaged or changed.
        NotSupportedError: backend, precision or device are not available here; with the remedy.
        DeviceError: the engine failed.
    """
    count = _threads(threads)
    bundle = Bundle.open(Path(path)) if isinstance(path, (str, os.PathLike)) else path
    cls, why_backend = choose_backend(backend)
    chosen, why_precision = choose_precision(bundle, cls, precision)
    options = LoadOptions(chosen, count, device, cache)
    why = f"{cls.name}: {why_backend}; {chosen}: {why_precision}"
    return Session(bundle, cls, options, why)


def choose_precision(bundle: Bundle, backend: type[Backend], precision: str) -> tuple[str, str]:
    """The precision to run, and why.

    Raises:
        NotSupportedError: it was asked for and does not run here.
    """
    native = backend.precisions()
    parity = _parity(bundle, backend.name, "bf16")
    if precision == "auto":
        if "bf16" not in native:
            return "fp32", "this CPU has no native bf16"
        if parity is None:
            return "fp32", "the bundle's parity table has no bf16 row for this backend"
        if not parity:
            return "fp32", "bf16 did not pass the bundle's parity gate"
        return "bf16", "native on this CPU and passed the bundle's parity gate"
    if precision in native:
        unproven = precision == "bf16" and not parity
        return precision, "asked for" + (
            ", but not in the bundle's parity table: run `samedge verify`" if unproven else ""
        )
    later = " is not in this version of samedge" if precision in LATER_PRECISIONS else ""
    raise NotSupportedError(
        f"the precision '{precision}'{later or ' does not run here'} with the {backend.name} "
        f"backend; use one of: auto, {', '.join(native)}"
    )


def _parity(bundle: Bundle, backend: str, precision: str) -> bool | None:
    """Whether the bundle passed with this backend and precision; None if it was not tried."""
    for row in bundle.manifest.get("parity", []):
        if row.get("backend") == backend and row.get("precision") == precision:
            return bool(row.get("passed"))
    return None


def _threads(threads: int | None) -> int:
    if threads is None:
        return physical_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise NotSupportedError(f"threads={threads!r} came; expected a whole number from 1 up")
    return threads
