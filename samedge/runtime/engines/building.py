"""What a build of engines gives, and the parity gate that decides which of them stay.

Engines are built into a work folder. Where the GPU is here, every precision is run on the bundle's
self-test frames and compared with the float32 reference; only then do the engines get their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from samedge.bundle import Bundle, ParityRow
from samedge.files.whole import output_error
from samedge.files.work_folder import WorkFolder
from samedge.runtime.backend import LoadOptions
from samedge.runtime.choice import named_backend
from samedge.runtime.engines.store import add_parity, move_engine, remove_engine
from samedge.runtime.gpu.driver import Gpu, problem
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.session import Session


@dataclass(frozen=True)
class EngineRow:
    """One engine of a build.

    Attributes:
        file: its name.
        graph: "encoder" or "decoder"; "both" of an engine that holds the two.
        precisions: that it serves.
        compute_capability: of the GPU it is for, 86 for 8.6; 0 of one that is for any CPU.
        bytes: size of the file.
        seconds: that its build took; 0 if it was there already.
        kernels: that it is made of; None if the library does not say.
        state: "built", "kept" (it was there, and fits), or "refused" by the parity gate.
        notes: what a user should know.
    """

    file: str
    graph: str
    precisions: tuple[str, ...]
    compute_capability: int
    bytes: int
    seconds: float
    kernels: int | None
    state: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    """What a build gave.

    Attributes:
        folder: where the engines are.
        engines: one row each.
        parity: rows of the gate, as `samedge verify` gives them; empty if it could not run.
        unchecked: why the gate did not run; None if it did.
    """

    folder: Path
    engines: tuple[EngineRow, ...]
    parity: tuple[ParityRow, ...] = ()
    unchecked: str | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """Precisions that did not pass the gate."""
        return failed(self.parity)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [asdict(row) for row in self.engines]
        gate = [row.to_json() for row in self.parity]
        return {"engines": rows, "parity": gate, "unchecked": self.unchecked}


@dataclass(frozen=True)
class NoGpu:
    """This machine has no GPU to run engines on."""

    reason: str


def gpu_here(
    index: int, library_cuda: int | None = None, title: str = "the library"
) -> Gpu | NoGpu:
    """The GPU that engines can run on here.

    Args:
        index: its number.
        library_cuda, title: see `samedge.runtime.gpu.driver.problem`.
    """
    reason = problem(library_cuda, title)
    if reason is not None:
        return NoGpu(reason.partition(";")[0])
    return Gpu(index)


def work_folder(target: Path) -> WorkFolder:
    """A folder inside of `target`, which is made, to build into.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        # Sessions refuse engines where others may write, and many systems' umask lets groups.
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        return WorkFolder(target)
    except OSError as error:
        raise output_error(error, target) from error


def unchecked(rows: Sequence[EngineRow], gpu: Gpu | NoGpu) -> str | None:
    """Why the engines cannot be run here; None if they can."""
    if isinstance(gpu, NoGpu):
        return gpu.reason
    if gpu.compute_capability not in {row.compute_capability for row in rows}:
        return f"the GPU here ({gpu.name}) has sm_{gpu.compute_capability}"
    return None


def gate(
    bundle: Bundle,
    backend: str,
    precisions: tuple[str, ...],
    device: int,
    folders: tuple[Path, ...],
    threads: int = 1,
) -> tuple[ParityRow, ...]:
    """Run the self-test with the new engines."""
    rows = []
    for precision in precisions:
        options = LoadOptions(precision, threads, device, engines=folders)
        with Session(bundle, named_backend(backend), options, "") as session:
            rows.append(verify_session(session, bundle.selftest()))
    return tuple(rows)


def installed(row: EngineRow, parity: Sequence[ParityRow], work: Path, target: Path) -> EngineRow:
    """Give an engine its name, if one of its precisions passed, and note what the gate said."""
    if set(row.precisions) <= set(failed(parity)):
        remove_engine(target / row.file)  # one that was there is no better
        return replace(row, state="refused")
    engine = (work if row.state == "built" else target) / row.file
    add_parity(engine, [said.to_json() for said in parity if said.precision in row.precisions])
    if row.state == "built":
        move_engine(engine, target)
    return row


def failed(parity: Sequence[ParityRow]) -> tuple[str, ...]:
    """Precisions that did not pass the gate."""
    return tuple(row.precision for row in parity if not row.passed)
