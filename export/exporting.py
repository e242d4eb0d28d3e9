"""`samedge.export`: FoldedModel, or a bundle -> bundle, behind a parity gate."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge._wording import spoken
from samedge.bundle import Bundle, BundleWriter, Manifest, ParityRow
from samedge.errors import NotSupportedError, ParityError
from samedge.export.deriving import (
    Frames,
    half_graphs,
    half_parity,
    int8_graph,
    write_graph,
)
from samedge.export.int8.calibration_data import CalibrationData, choose_frames
from samedge.export.int8.refusal import refusal
from samedge.export.origin_bundle import FromBundle, Origin
from samedge.machine.needs import GATE
from samedge.progress import Progress, Step, silent
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.parity.verify import verify
from samedge.runtime.precision import SELF_TEST

if TYPE_CHECKING:
    from samedge.fold.model import FoldedModel

# Frames to calibrate with, checked or not.
Calibration = CalibrationData | Iterable[NDArray[np.uint8]]

PROBED = 8  # calibration frames that the overflow probe looks at
PRECISIONS = ("fp32", "fp16", "int8")
REPORT = "int8-report.html"


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: finished, open.
        precisions: of its graphs: those that were asked for and passed, and half precision where it
            stands in for INT8.
        refused: precision -> why it is not in the bundle: it was asked for and failed its gate.
    """

    bundle: Bundle
    precisions: tuple[str, ...]
    refused: Mapping[str, str]


def export(
    source: FoldedModel | Bundle,
    path: str | os.PathLike[str],
    precisions: Sequence[str] = ("fp32",),
    *,
    calibration: Calibration | None = None,
    overwrite: bool = False,
    zip: bool = False,  # noqa: A002 (the word that users know)
    half_weights: bool = False,
    consume: bool = False,
    check_memory: bool = True,
    progress: Progress = silent,
) -> ExportResult:
    """Write a bundle: graphs, self-test frames, manifest; all of it or nothing.

    Before the bundle gets its name it is run on this machine and compared with the unfolded
    float32 model (the parity gate), in every precision that the CPU has natively; half precision is
    emulated. The float32 and the half-precision result must pass. INT8 that does not is left out,
    half precision takes its place, and the result says why. What the CPU's own bf16 reaches is
    recorded, and `precision="auto"` only takes one that passed.

    Args:
        source: from `samedge.fold`; or a bundle with float32 graphs, to which other precisions are
            added. The latter needs no torch.
        path: of the new bundle, by custom `NAME.samedge`.
        precisions: of the graphs: "fp32", "fp16", "int8". With "int8" goes the decoder in half
            precision, which is never quantised.
        calibration: frames, uint8 `[H, W]` or `[H, W, 3]`, such as the model will see: INT8 takes
            its ranges from them, and half precision looks for too large values on them. Default:
            the bundle's self-test frames, which are few and artificial.
        overwrite: replace a bundle of that name.
        zip: write one file instead of a folder.
        half_weights: store weights as 16-bit floats: half the file, computed in float32 all the
            same. Rounds those of `source`, after which the rounded model is the reference; the fold
            report has what that changes. A bundle's weights stay as they are stored.
        consume: free the weights of a FoldedModel once they are written: it cannot compute any more
            after that, and the parity gate has their memory.
        check_memory: refuse the work where this machine has not enough memory for it.
        progress: told each step, and how much is done of those that have parts.

    Returns:
        The finished bundle, its precisions, and which ones were refused.

    Raises:
        NotSupportedError: a precision that this version does not write, or too little memory.
        ModelError: `source` is neither; or a value of the model is not finite, or a weight too
            large for half precision.
        BundleError: the source bundle has no float32 graphs to start from.
        FrameError: a calibration frame is none, or makes the network compute NaN.
        ParityError: float32 or half precision is too far from the reference, or 16-bit weights
            change the model too much; nothing is written.
        OutputError: the disk is full, or has no room for the bundle, or something is in the way.
    """
    wanted = _checked((precisions,) if isinstance(precisions, str) else precisions)
    origin = _origin(source, wanted, half_weights, consume)
    origin.check(check_memory)
    refused: dict[str, str] = {}
    with BundleWriter(path, overwrite=overwrite, zip=zip, size=origin.size()) as writer:
        manifest = origin.write(writer, progress)
        progress(Step(GATE))
        draft = writer.draft(manifest)
        manifest = replace(manifest, parity=tuple(gate(draft)))
        if wanted != ("fp32",):
            manifest, refused = _derive(writer, draft, manifest, wanted, calibration, progress)
        progress(Step("hashing and moving into place"))
        bundle = writer.commit(manifest)
    made = bundle.manifest.graphs["encoder"]
    return ExportResult(bundle, tuple(p for p in PRECISIONS if p in made), refused)


def _origin(
    source: FoldedModel | Bundle, wanted: Sequence[str], half_weights: bool, consume: bool
) -> Origin:
    if isinstance(source, Bundle):
        return FromBundle(source, wanted)
    require("torch", extra="export", what="exporting a model")
    from samedge.export.origin_folded import FromFolded

    return FromFolded(source, wanted, half_weights, consume)


def _derive(
    writer: BundleWriter,
    draft: Bundle,
    manifest: Manifest,
    wanted: Sequence[str],
    calibration: Calibration | None,
    progress: Progress,
) -> tuple[Manifest, dict[str, str]]:
    """Add the graphs of other precisions to the draft, and take out what was not asked for.

    Returns:
        The manifest with them, and what was refused, with the reasons.
    """
    data = _calibration(calibration, draft)
    more = [] if calibration is None else data.frames[:PROBED]
    manifest, keep = _with_half(writer, draft, manifest, more, progress)
    row = half_parity(writer.draft(manifest), progress)
    manifest = replace(manifest, parity=(*manifest.parity, row))
    refused: dict[str, str] = {}
    if "int8" in wanted:
        manifest, reason = _with_int8(writer, draft, manifest, data, keep, progress)
        if reason is not None:
            refused["int8"] = reason
    kept = {*wanted, "fp16"} if refused else {*wanted}
    for graph, precision, entry in tuple(manifest.entries()):
        # INT8 has a decoder in half precision.
        if precision not in kept and (graph, precision) != ("decoder", "fp16"):
            manifest = manifest.without_graph(graph, precision)
            writer.drop_file(entry.file)
            writer.drop_file(f"{entry.file}.data")
    return manifest, refused


def _with_half(
    writer: BundleWriter,
    draft: Bundle,
    manifest: Manifest,
    frames: Frames,
    progress: Progress,
) -> tuple[Manifest, frozenset[str]]:
    """Add the graphs in half precision; and the encoder's nodes that it is too short for."""
    half = half_graphs(draft, frames, writer.scratch(), progress)
    for name, graph in half.graphs.items():
        entry = write_graph(writer, graph, name, "fp16")
        manifest = manifest.with_graph(name, "fp16", entry)
    return replace(manifest, overflow=half.record), half.kept


def _with_int8(
    writer: BundleWriter,
    draft: Bundle,
    manifest: Manifest,
    data: CalibrationData,
    keep: Collection[str],
    progress: Progress,
) -> tuple[Manifest, str | None]:
    """Add the INT8 encoder, if it passes its gate; else what it measured, and the reason."""
    made = int8_graph(draft, data, keep, progress)
    manifest = replace(manifest, calibration=made.record)
    writer.add_bytes(REPORT, made.page.encode())
    entry = write_graph(writer, made.graph, "encoder", "int8")
    candidate = manifest.with_graph("encoder", "int8", entry)
    row = None
    if "int8" in OPENVINO.precisions():
        progress(Step("parity gate: INT8"))
        row = verify(writer.draft(candidate), "openvino", "int8", cache=False)[0]
        candidate = replace(candidate, parity=(*candidate.parity, row))
    if made.passed and (row is None or row.passed):
        return candidate, None
    writer.drop_file(entry.file)
    return manifest, refusal(made.record, row, made.worst(), REPORT)


def _calibration(given: Calibration | None, draft: Bundle) -> CalibrationData:
    if isinstance(given, CalibrationData):
        return given
    if given is None:
        return choose_frames((t.frame for t in draft.selftest()), draft.family, SELF_TEST)
    return choose_frames(given, draft.family)


def _checked(precisions: Sequence[str]) -> tuple[str, ...]:
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        how = spoken("samedge.load(path, precision='bf16')", "--precision bf16")
        raise NotSupportedError(
            f"this version writes graphs in {', '.join(PRECISIONS)}; got "
            f"{', '.join(unknown) or 'none'}. bf16 needs no graph of its own: choose it when the "
            f"bundle is loaded, {how}"
        )
    return tuple(p for p in PRECISIONS if p in precisions)


def gate(bundle: Bundle) -> list[ParityRow]:
    """Verify every native precision; float32 has to pass.

    Raises:
        ParityError: it does not.
    """
    rows = verify(bundle, backend="openvino", cache=False)
    for row in rows:
        if row.precision == "fp32" and not row.passed:
            raise ParityError(
                f"parity failed: in OpenVINO fp32 the logits differ by {row.max_logit_error:.2e}"
                f" and the scores by {row.score_error:.2e} (limit {row.limit:.2e}), and "
                f"{row.flipped:.2%} of the mask pixels flip (limit {row.flipped_limit:.2%}, "
                f"{row.flipped_far} of them far from the threshold); nothing was written. "
                "Please report this with the output of `samedge doctor`"
            )
    return rows
