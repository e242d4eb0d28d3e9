"""Engines of a bundle for CPUs: prepared on any machine, checked here as far as this CPU computes
what they are for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from samedge.bundle import Bundle, ParityRow
from samedge.errors import NotSupportedError
from samedge.files.whole import output_error
from samedge.machine.cpu import physical_cores
from samedge.machine.memory import release_memory
from samedge.progress import Progress, Step, silent
from samedge.runtime.engines.building import BuildResult, EngineRow, gate, installed, work_folder
from samedge.runtime.engines.keys import OpenVinoGraphsKey
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.engine_file import engine_bytes
from samedge.runtime.openvino.prepared import key_for, prepare
from samedge.runtime.precision import runnable

BOTH = "both"  # graphs are in one engine


def build_engines(
    bundle: Bundle,
    precisions: tuple[str, ...] = (),
    folder: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> BuildResult:
    """Prepare one engine for each precision, check them on this CPU, and store them.

    Args:
        bundle: open.
        precisions: default: those that this CPU computes natively and that bring something, and the
            bundle has.
        folder: default: `engines` in the bundle's folder, or the user's cache for a zipped bundle.
        force: prepare also where an engine that fits is there.
        progress: told which engine is being made.

    Raises:
        NotSupportedError: OpenVINO does not run here, or the bundle lacks graphs; with the remedy.
        DeviceError: OpenVINO failed.
        OutputError: the folder cannot be written.
    """
    reason = OPENVINO.unavailable()
    if reason is not None:
        raise NotSupportedError(f"the backend 'openvino' does not run here: {reason}")
    wanted = precisions or _usual(bundle)
    keys = [key_for(bundle, precision, OPENVINO.graphs) for precision in wanted]
    target = folder or EngineStore.of_bundle(bundle).folders[0]
    native = [precision for precision in wanted if precision in OPENVINO.precisions()]
    with work_folder(target) as place:
        work = place.path
        present = EngineStore(() if force else (target,))
        rows = []
        for done, key in enumerate(keys):
            progress(Step(f"{key.stem}.engine", done, len(keys)))
            rows.append(_built(bundle, key, work, present))
        parity: tuple[ParityRow, ...] = ()
        if native:
            folders = (work, target)
            parity = gate(bundle, OPENVINO.name, tuple(native), 0, folders, physical_cores())
        kept = tuple(installed(row, parity, work, target) for row in rows)
    return BuildResult(target, kept, parity, _unchecked(wanted, native))


def _usual(bundle: Bundle) -> tuple[str, ...]:
    slower = OPENVINO.slower_than_float32()
    found = tuple(p for p in runnable(bundle, OPENVINO) if p not in slower)
    if not found:
        key_for(bundle, "fp32", OPENVINO.graphs)  # says which graph is missing
    return found


def _unchecked(wanted: Sequence[str], native: Sequence[str]) -> str | None:
    missing = [precision for precision in wanted if precision not in native]
    if not missing:
        return None
    return f"this CPU does not compute {' and '.join(missing)} natively"


def _built(bundle: Bundle, key: OpenVinoGraphsKey, work: Path, present: EngineStore) -> EngineRow:
    """Prepare an engine in `work`, unless one that fits is there."""
    found = present.find(key)
    if isinstance(found, StoredEngine):
        name, size = found.path.name, found.record.size
        return EngineRow(name, BOTH, (key.precision,), 0, size, 0.0, None, "kept")
    start = time.monotonic()
    models = prepare(bundle, key.precision, OPENVINO.graphs)
    try:
        data = engine_bytes(models, work)
    except OSError as error:
        raise output_error(error, work) from error
    del models
    release_memory()
    kept = EngineStore((work,), bundle=bundle.path.name).save(key, memoryview(data))
    seconds = time.monotonic() - start
    size = kept.record.size
    return EngineRow(kept.path.name, BOTH, (key.precision,), 0, size, seconds, None, "built")
