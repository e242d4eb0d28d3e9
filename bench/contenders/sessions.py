"""Sessions of `samedge.load` as contenders: bundles x backends x precisions x threads.

All sessions of a run live in one process, as those of an application would, and share what their
library shares there. Each has answered its bundle's self-test before it may be timed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samedge.bench.contenders.entry import Entry
from samedge.bench.frames import Footage, send
from samedge.bench.report.values import Row
from samedge.bundle import Bundle, ParityRow
from samedge.errors import NotSupportedError
from samedge.machine.cpu import physical_cores
from samedge.progress import Progress, Step, silent
from samedge.runtime import load
from samedge.runtime.backend import Backend
from samedge.runtime.choice import BACKENDS, named_backend
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.precision import choose_precision, runnable
from samedge.runtime.ready_engines import backend_for, engine_folders
from samedge.runtime.session import Session
from samedge.stream.live.record import bundle_of

ALL = "all"
# Computes what another device would, many times slower: nothing to measure.
_NOT_TIMED = frozenset({"emulation"})
_ENDINGS = (".zip", ".samedge")


@dataclass(frozen=True)
class Variant:
    """One way to run a bundle.

    Attributes:
        bundle: open.
        label: what the report calls it.
        backend, precision: names, none of them "auto".
        threads: of the CPU.
        engines: folder of engines that alone are taken, or None.
        why: it was chosen.
    """

    bundle: Bundle
    label: str
    backend: str
    precision: str
    threads: int
    engines: Path | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """Of its row: the same in every run, so that two runs can be compared."""
        return f"{self.label} {self.backend} {self.precision} {threads_text(self.threads)}"

    @property
    def about(self) -> dict[str, Any]:
        """For `Row.about`."""
        manifest = self.bundle.manifest
        return {
            "bundle": self.label,
            "sha256": bundle_of(self.bundle)["manifest_sha256"],
            "title": manifest.title,
            "family": self.bundle.family.name,
            "backend": self.backend,
            "precision": self.precision,
            "threads": self.threads,
            "why": self.why,
        }


@dataclass
class Variants:
    """What there is to measure.

    Attributes:
        found: no two of one name.
        left_out: sentences on what was asked for in general and does not run here.
    """

    found: list[Variant] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, variant: Variant) -> None:
        """Take one, unless it is there: "auto" may mean what was named as well."""
        if all(variant.name != other.name for other in self.found):
            self.found.append(variant)


def threads_text(count: int) -> str:
    """ "1 thread", "2 threads"."""
    return f"{count} thread{'s' * (count != 1)}"


def labels(bundles: Sequence[Bundle]) -> list[str]:
    """File names without their endings; a number behind those that come twice."""
    made: list[str] = []
    for bundle in bundles:
        stem = bundle.path.name
        for ending in _ENDINGS:
            stem = stem.removesuffix(ending)
        same = sum(one == stem or one.startswith(f"{stem} (") for one in made)
        made.append(f"{stem} ({same + 1})" if same else stem)
    return made


def variants(
    bundles: Sequence[Bundle],
    backends: Sequence[str] = ("auto",),
    precisions: Sequence[str] = ("auto",),
    threads: Sequence[int | None] = (None,),
    engines: str | os.PathLike[str] | None = None,
) -> Variants:
    """Every combination that runs here.

    Args:
        bundles: open ones.
        backends: names, "auto" (what `samedge.load` takes) or "all" (every one that runs here).
        precisions: likewise.
        threads: of the CPU; None for the physical cores.
        engines: as for `samedge.load`.

    Raises:
        NotSupportedError: a backend that was named does not run here, or a precision that was named
            does so with no bundle.
    """
    folders = engine_folders(engines)
    found = Variants()
    refused: dict[str, NotSupportedError] = {}
    worked: set[str] = set()
    for bundle, label in zip(bundles, labels(bundles), strict=True):
        for backend, why in _backends(bundle, backends, folders, found.left_out):
            for asked, precision, reason in _precisions(
                bundle, backend, precisions, folders, refused, found.left_out, label
            ):
                worked.add(asked)
                for count in threads:
                    number = physical_cores() if count is None else count
                    folder = folders[0] if folders else None
                    words = f"{backend.name}: {why}; {precision}: {reason}"
                    found.add(
                        Variant(bundle, label, backend.name, precision, number, folder, words)
                    )
    for name, error in refused.items():
        if name not in worked:
            raise error
    return found


def _backends(
    bundle: Bundle, names: Sequence[str], folders: Sequence[Path], left_out: list[str]
) -> Iterator[tuple[Backend, str]]:
    for name in names:
        if name != ALL:
            yield backend_for(bundle, name, folders)
            continue
        for other in BACKENDS:
            if other in _NOT_TIMED:
                continue
            try:
                backend = named_backend(other)
                if folders:
                    backend.ready(bundle, folders)
            except NotSupportedError as error:
                left_out.append(f"{other} was left out: {error}")
                continue
            if reason := backend.unready(bundle):
                left_out.append(f"{other} was left out: {reason}")
            else:
                yield backend, "all were asked for"


def _precisions(
    bundle: Bundle,
    backend: Backend,
    names: Sequence[str],
    folders: Sequence[Path],
    refused: dict[str, NotSupportedError],
    left_out: list[str],
    label: str,
) -> Iterator[tuple[str, str, str]]:
    """(what was asked for, precision, why)."""
    for name in names:
        if name == ALL:
            usable = backend.ready(bundle, folders) if folders else runnable(bundle, backend)
            yield from ((name, one, "all were asked for") for one in usable)
            continue
        try:
            yield name, *choose_precision(bundle, backend, name, 0, folders)
        except NotSupportedError as error:
            refused.setdefault(name, error)
            left_out.append(f"{label} {backend.name} {name} was left out: {error}")


class SessionContender:
    """Frames through a session, each with one object to find.

    Args:
        name: of its row.
        session: open.
        clip: where the frames are from.
    """

    counted = ""

    def __init__(self, name: str, session: Session, clip: Footage) -> None:
        self.name, self.session, self._clip = name, session, clip

    def frame(self, index: int) -> Mapping[str, float]:
        """As `samedge.bench.schedule.Contender.frame`."""
        stages = send(self.session, self._clip, index)
        del stages["total"]  # what the schedule takes by itself, from outside
        return stages


def session_entries(
    found: Sequence[Variant], clip: Footage, progress: Progress = silent
) -> Iterator[Entry]:
    """An entry of each variant; one that fails its bundle's self-test is refused.

    Raises:
        SamEdgeError: whatever `samedge.load` raises.
    """
    for number, variant in enumerate(found):
        progress(Step("loading and verifying", number, len(found), variant.name))
        yield _entry(variant, clip)


def _entry(variant: Variant, clip: Footage) -> Entry:
    session = load(
        variant.bundle,
        variant.backend,
        variant.precision,
        variant.threads,
        engines=variant.engines,
    )
    try:
        parity = verify_session(session, variant.bundle.selftest())
        told = session.describe()
    except BaseException:
        session.close()
        raise
    row = Row(
        variant.name,
        about={**variant.about, "device": told["device"]},
        parity=parity.to_json(),
        refused="" if parity.passed else failed_text(parity),
        notes=tuple(told["notes"]),
    )
    if row.refused:
        session.close()
        return Entry(row)
    return Entry(row, SessionContender(variant.name, session, clip), session.close)


def failed_text(parity: ParityRow) -> str:
    """Why a session is not timed."""
    return (
        f"it fails the bundle's self-test (largest logit error {parity.max_logit_error:.3g}, limit "
        f"{parity.limit:.3g}; {parity.flipped:.2%} of the pixels flipped); see samedge verify"
    )
