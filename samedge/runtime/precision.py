"""Which precisions a bundle can run in, which of its graphs each one takes, and the choice.

Some precisions are in a graph (`samedge export --precision`), others in how an engine computes:
OpenVINO turns the float32 graph into bf16 or fp16 by itself, TensorRT's engines are strongly typed
and compute what the graph says. `int8` is the encoder's alone: the decoder is never quantised.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samedge._wording import did_you_mean
from samedge.bundle import Bundle, Manifest
from samedge.errors import NotSupportedError
from samedge.runtime.backend import STRONGLY_TYPED, Backend, GraphKeys

# What a calibration record calls the bundle's own frames.
SELF_TEST = "self-test"
# All that samedge knows, fastest first: the order in which `auto` tries them.
PRECISIONS = ("int8", "bf16", "fp16", "fp32")
# Who exports on a processor without bf16 has no row for it, and is not to be slow everywhere.
_NEW_ROW = (
    ", for it was exported where bf16 is not native (samedge export BUNDLE -o NEW here adds it)"
)


def graph_key(
    manifest: Manifest,
    backend: str,
    graph: str,
    precision: str,
    graphs: GraphKeys = STRONGLY_TYPED,
) -> str:
    """The key under `manifest.graphs[graph]` of the file that `backend` takes for `precision`.

    Args:
        manifest: of a bundle.
        backend: a backend's name, for messages.
        graph: "encoder" or "decoder".
        precision: "fp32", "bf16", "fp16" or "int8".
        graphs: the backend's `graphs`.

    Raises:
        NotSupportedError: the backend has no such precision, or the bundle no graph for it.
    """
    if precision not in graphs:
        raise NotSupportedError(
            f"the {backend} backend has no precision '{precision}'; "
            f"use one of: {', '.join(sorted(graphs, key=PRECISIONS.index))}"
        )
    wanted = graphs[precision][graph]
    there = manifest.graphs[graph]
    for key in wanted:
        if key in there:
            return key
    has = ", ".join(f"{name} {key}" for name in manifest.graphs for key in _keys(manifest, name))
    raise NotSupportedError(
        f"{precision} with the {backend} backend needs the bundle's {wanted[0]} {graph} graph, and "
        f"it has only: {has}; make a bundle that has it: "
        f"samedge export BUNDLE -o NEW --precision {','.join(_to_export(manifest, wanted[0]))}"
    )


def runnable(bundle: Bundle, backend: Backend) -> tuple[str, ...]:
    """Precisions that the device computes natively and the bundle has graphs for, in the
    backend's own order."""
    found = []
    for precision in backend.precisions():
        if all(missing_graph(bundle, backend, graph, precision) is None for graph in
               bundle.manifest.graphs):  # fmt: skip
            found.append(precision)
    return tuple(found)


def missing_graph(
    bundle: Bundle, backend: Backend, graph: str, precision: str
) -> NotSupportedError | None:
    """The error that loading `graph` in `precision` would give for want of a file, if any."""
    try:
        graph_key(bundle.manifest, backend.name, graph, precision, backend.graphs)
    except NotSupportedError as error:
        return error
    return None


def choose_precision(
    bundle: Bundle,
    backend: Backend,
    precision: str,
    device: int = 0,
    engines: Sequence[Path] = (),
) -> tuple[str, str]:
    """The precision to run on a device, and why.

    "auto" is the fastest that the device computes natively, the bundle has graphs for, and whose
    row in the bundle's parity table passed with this backend; fp32 needs no row. It takes INT8 only
    if that was calibrated and gated with frames of the user's own: on others than those its masks
    may be worse than the gate says. A precision that was asked for by name is taken even if it was
    never tried here. Of `engines` (see `LoadOptions`) only what they serve is taken.

    Raises:
        NotSupportedError: it was asked for and does not run here.
    """
    if precision == "auto":
        return _fastest(bundle, backend, device, engines)
    native = backend.precisions()
    if precision not in native:
        usable = [name for name in PRECISIONS if name in runnable(bundle, backend)]
        meant = "" if precision in PRECISIONS else did_you_mean(precision, ("auto", *PRECISIONS))
        what = "does not run here" if precision in PRECISIONS else "is none that samedge knows"
        raise NotSupportedError(
            f"the precision '{precision}' {what} with the {backend.name} backend; "
            f"use one of: {', '.join(('auto', *usable))}{meant}"
        )
    for graph in bundle.manifest.graphs:
        error = missing_graph(bundle, backend, graph, precision)
        if error is not None:
            raise error
    passed = proven(bundle, backend, precision, device, engines)
    if (reason := backend.doubtful().get(precision)) is not None:
        return precision, f"asked for, though {reason}"
    if passed or precision == "fp32":
        return precision, "asked for"
    if passed is None:
        return precision, "asked for, but not in the bundle's parity table: run `samedge verify`"
    return precision, "asked for, though it did not pass the bundle's parity gate"


def _fastest(
    bundle: Bundle, backend: Backend, device: int, engines: Sequence[Path]
) -> tuple[str, str]:
    usable, native = runnable(bundle, backend), backend.precisions()
    if engines:
        usable = native = backend.ready(bundle, engines, device)
    refused = []
    slower, doubtful = backend.slower_than_float32(), backend.doubtful()
    for name in PRECISIONS:
        if name in slower:
            continue
        if name not in usable:
            if name in native:
                refused.append(f"the bundle has no {name} graph")
            continue
        if name == "int8" and not calibrated_with_own_frames(bundle):
            refused.append(
                "int8 was not calibrated with frames of your own: do so (samedge export BUNDLE -o "
                "NEW --precision int8 --calibration FRAMES), or ask for it by name"
            )
            continue
        if name in doubtful:
            refused.append(f"{name} is left out: {doubtful[name]}")
            continue
        passed = proven(bundle, backend, name, device, engines)
        if passed:
            why = "fastest that is native here and passed the bundle's parity gate"
            return name, "; ".join((why, *refused))
        if name == "fp32":
            break
        refused.append(
            f"{name} did not pass the bundle's parity gate"
            if passed is False
            else f"the bundle's parity table has no {name} row for this backend"
            + (_NEW_ROW if name == "bf16" else "")
        )
    if "fp32" in usable:
        return "fp32", "; ".join(refused) or "no faster precision is native here"
    # A bundle of typed graphs without float32: say what there is instead of guessing.
    raise NotSupportedError(
        f"no precision of the bundle is proven with the {backend.name} backend "
        f"({'; '.join(refused) or 'it has no graph for it'}); run `samedge verify`, then ask for "
        f"one by name: {', '.join(usable) or 'none'}"
    )


def proven(
    bundle: Bundle,
    backend: Backend,
    precision: str,
    device: int = 0,
    engines: Sequence[Path] = (),
) -> bool | None:
    """Whether a precision passed the parity gate: when the bundle was exported, or when its engines
    were built for a GPU like number `device`; None if it was not tried."""
    passed = parity(bundle, backend.name, precision)
    return backend.proven(bundle, precision, device, engines) if passed is None else passed


def calibrated_with_own_frames(bundle: Bundle) -> bool:
    """Whether INT8 took its ranges from, and was gated on, other frames than the self-test's."""
    record = bundle.manifest.calibration
    return record is not None and record.get("source") not in (None, SELF_TEST)


def parity(bundle: Bundle, backend: str, precision: str) -> bool | None:
    """Whether the bundle passed with this backend and precision; None if it was not tried."""
    for row in bundle.manifest.parity:
        if row.backend == backend and row.precision == precision:
            return row.passed
    return None


def _keys(manifest: Manifest, graph: str) -> list[str]:
    return [key for key in reversed(PRECISIONS) if key in manifest.graphs[graph]]


def _to_export(manifest: Manifest, extra: str) -> list[str]:
    """What the new bundle should hold: what this one has, and the graph that is missing."""
    keys = {*manifest.graphs["encoder"], extra}
    return [key for key in reversed(PRECISIONS) if key in keys]
