"""libsamedge as a contender: the C library, called through its Python binding.

What the binding does around a call (arrays for the answer, ctypes) counts against the library; its
own stages do not have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from samedge.bench.contenders.entry import Entry
from samedge.bench.contenders.sessions import Variant
from samedge.bench.frames import Footage
from samedge.bench.report.values import Row
from samedge.capi import structs
from samedge.capi.library import Library, library_path
from samedge.capi.session import NativeModel, NativeSession
from samedge.errors import NotSupportedError, ParityError
from samedge.progress import Progress, Step, silent

NAME = "libsamedge"
OWN = "library"  # the stage of what no other one has, between the library's beginning and end
_STAGES = ("copy_in", "preprocess", "encode", "prompt", "decode", "copy_out")


class NativeContender:
    """Frames through a session of libsamedge.

    Args:
        name: of its row.
        session: open.
        variant: that it is of.
        clip: where the frames are from.
    """

    counted = ""

    def __init__(self, name: str, session: NativeSession, variant: Variant, clip: Footage) -> None:
        self.name, self.session, self._clip = name, session, clip
        self._family = variant.bundle.family

    def frame(self, index: int) -> Mapping[str, float]:
        """As `samedge.bench.schedule.Contender.frame`."""
        family, clip = self._family, self._clip
        pixels, prompts = clip.pixels(index, family), clip.prompts(family)
        if family.slices == 1:
            self.session.segment(pixels, **prompts, crop=clip.crop)
        else:
            self.session.segment_slices(pixels, [prompts] * family.slices, crop=clip.crop)
        timing = self.session.timing()
        stages = {stage: getattr(timing, stage) for stage in _STAGES}
        return {**stages, OWN: timing.total - sum(stages.values())}


def native_entries(
    found: Sequence[Variant], clip: Footage, progress: Progress = silent
) -> Iterator[Entry]:
    """An entry of each variant that the library has a backend for.

    Raises:
        NotSupportedError: libsamedge is not built or cannot be loaded, or has none of the backends.
        SamEdgeError: whatever opening a bundle raises.
    """
    if library_path() is None:
        raise NotSupportedError(
            "libsamedge is to be measured, and there is none on this machine: build it with `make "
            "capi` (docs/embedding.md), and name the file in SAMEDGE_LIBRARY"
        )
    usable = [variant for variant in found if variant.backend in structs.BACKENDS]
    if not usable:
        raise NotSupportedError(
            f"libsamedge has none of these backends: {', '.join(v.backend for v in found)}; "
            f"expected one of: {', '.join(list(structs.BACKENDS)[1:])}"
        )
    library = Library()
    for number, variant in enumerate(usable):
        progress(Step("loading and verifying libsamedge", number, len(usable), variant.name))
        yield _entry(library, variant, clip)


def _entry(library: Library, variant: Variant, clip: Footage) -> Entry:
    name = replace(variant, label=f"{variant.label} {NAME}").name
    row = Row(name, about={**variant.about, "engine": NAME})
    model = NativeModel(
        library,
        variant.bundle.path,
        variant.backend,
        variant.precision,
        variant.threads,
        engines=variant.engines,
    )
    try:
        told = model.self_test()
        session = model.session()
    except ParityError as error:
        model.close()
        return Entry(replace(row, refused=str(error)))
    except BaseException:
        model.close()
        raise
    values = ("max_logit_error", "dice", "flipped", "score_error", "margin")
    parity = {"passed": True, **{value: getattr(told, value) for value in values}}

    def close() -> None:
        session.close()
        model.close()

    contender = NativeContender(name, session, variant, clip)
    return Entry(replace(row, parity=parity), contender, close)
