"""`samedge inspect`: what is this file?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.checkpoint_options import checkpoint_options
from samedge.cli.filetype import BUNDLE, CHECKPOINT, ENGINE, kind_of, one_line, size_text
from samedge.cli.inspect_engine import inspect_engine
from samedge.cli.terminal.printing import Printer, common_options
from samedge.errors import SourceError

if TYPE_CHECKING:
    from samedge.bundle import Manifest, ParityRow
    from samedge.families import Family

_FRAMES = "frames: samedge segment BUNDLE {path} --point X,Y -o DIR"
_SLICES = "slices: samedge segment BUNDLE {path} --window LOW,HIGH -o DIR"
# What to do with a file that is neither a checkpoint nor a bundle, where "frames" would not do.
_ADVICE = {
    "image": "a frame: samedge segment BUNDLE {path} --point X,Y -o DIR",
    "NIfTI": _SLICES,
    "numpy": _SLICES,
    "folder with": "a folder of images, or of the slices of one DICOM series, can be a source: "
    "samedge segment BUNDLE {path} -o DIR",
    "ONNX": "samedge runs bundles, which hold two ONNX graphs and a manifest; "
    "export one from the checkpoint: samedge export CKPT -o OUT",
}


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@checkpoint_options
@click.option("--layers", is_flag=True, help="Of an engine: list every kernel.")
@common_options
def command(
    path: Path,
    more: tuple[Path, ...],
    layers: bool,
    quiet: bool,
    as_json: bool,
    **says: Any,
) -> None:
    """Tell what PATH is: a checkpoint, a bundle, an engine, something else.

    A checkpoint is recognised by its tensors' names and shapes; code in it is never run. Give the
    files of a checkpoint that comes in several together; of SAMed's LoRA file alone it tells which
    SAM checkpoint is missing. A bundle's files are checked against their hashes. Of an engine that
    `samedge build` made it tells the kernels: what is fused, in what precision and memory.
    """
    printer = Printer(quiet, as_json)
    kind = kind_of(path)
    if kind == CHECKPOINT or more:
        _checkpoint(printer, path, more, says)
    elif kind == BUNDLE:
        _bundle(printer, path)
    elif kind == ENGINE:
        inspect_engine(printer, path, layers)
    else:
        advice = _advice(kind)
        if advice is None:
            raise SourceError(
                f"'{path}' is {kind}; expected a checkpoint (.pth, .pt, .safetensors), a bundle "
                "(.samedge), an engine, or frames (PNG, JPEG, video, DICOM, NIfTI, numpy)"
            )
        printer.json({"kind": kind, "advice": advice.format(path=path)})
        printer.line(f"{path} is {kind}\n  {advice.format(path=path)}")


def _advice(kind: str) -> str | None:
    """What to do with a file of this kind, with "{path}" in it; None: nothing."""
    from samedge.sources.sniff import SOURCE_KINDS

    usual = _FRAMES if kind in SOURCE_KINDS.values() else None
    return next((text for key, text in _ADVICE.items() if key in kind), usual)


def _checkpoint(printer: Printer, path: Path, more: tuple[Path, ...], says: dict[str, Any]) -> None:
    from samedge.checkpoint import examine

    found = examine(path, *more, **says)
    printer.json(found.summary())
    printer.line(found.describe())


def _bundle(printer: Printer, path: Path) -> None:
    from samedge.bundle import Bundle
    from samedge.bundle.graphs.check import check_graph

    bundle = Bundle.open(path)
    for name in bundle.manifest.files:
        bundle.verify_file(name)
    manifest = bundle.manifest
    for graph, key, entry in manifest.entries():
        check_graph(bundle.graph(graph, key), entry)
    printer.json({"kind": BUNDLE, **manifest.as_mapping()})
    printer.table(f"{manifest.title}: a samedge bundle", ("", ""), _about(manifest))
    printer.table("Graphs", ("graph", "input / output", "type", "shape"), _ports(manifest))
    if manifest.parity:
        print_parity(printer, "Parity with the float32 reference", manifest.parity)
    files = [
        (name, size_text(file.bytes), file.sha256[:16])
        for name, file in sorted(manifest.files.items())
    ]
    printer.table("Files, all as their hashes say", ("file", "size", "sha256 (begins)"), files)
    printer.line(manifest.intended_use)


def _about(manifest: Manifest) -> list[tuple[str, str]]:
    from samedge.bundle import SCHEMA

    family = manifest.family
    rows = [
        ("family", f"{family.title} ({family.name})"),
        ("prompts", ", ".join(family.prompts) or "none: it finds its objects by itself"),
        *_structures(family),
        *((key.replace("_", " "), one_line(v)) for key, v in manifest.variant.to_json().items()),
        ("precisions", ", ".join(sorted(manifest.graphs["encoder"]))),
        ("written by", f"samedge {manifest.samedge}, bundle schema {SCHEMA}"),
        ("size", size_text(manifest.size)),
        *(("QUESTION", question) for question in manifest.source.questions),
    ]
    rows += [("checkpoint sha256", digest) for digest in manifest.source.sha256]
    if manifest.tools:
        rows.append(("tools", ", ".join(f"{name} {v}" for name, v in manifest.tools.items())))
    return rows


def _structures(family: Family) -> list[tuple[str, str]]:
    rows = []
    if family.classes:
        kind = "classes (one per pixel)" if family.exclusive else "structures"
        rows.append((kind, ", ".join(family.classes)))
    if family.slices > 1:
        which = "exactly" if family.whole_volume else "any multiple of"
        rows.append(("volumes", f"{which} {family.slices} slices"))
    return rows


def _ports(manifest: Manifest) -> list[tuple[str, str, str, str]]:
    rows = []
    for graph, precisions in manifest.graphs.items():
        first = next(iter(precisions.values()))
        for tensors, mark in ((first.inputs, "in"), (first.outputs, "out")):
            for tensor in tensors:
                shape = " x ".join(map(str, tensor.shape))
                rows.append((graph, f"{mark:<4}{tensor.name}", tensor.dtype, shape))
    return rows


PARITY_COLUMNS = (
    "backend", "precision", "logit error", "limit", "margin", "RMS ratio", "Dice", "flipped pixels",
    "passed",
)  # fmt: skip
# The first one goes first where there is no room; every number is in --json.
PARITY_OPTIONAL = ("RMS ratio", "Dice")


def print_parity(printer: Printer, title: str, rows: Sequence[ParityRow]) -> None:
    """The table of `inspect`, `export`, `build` and `verify`; "-" for what is not known."""
    printer.table(title, PARITY_COLUMNS, parity_rows(rows), PARITY_OPTIONAL)


def parity_rows(rows: Sequence[ParityRow]) -> list[tuple[str, ...]]:
    """Cells under `PARITY_COLUMNS`."""
    return [
        (
            row.backend,
            row.precision,
            _number(row.max_logit_error, "{:.2e}"),
            _number(row.limit, "{:.2e}"),  # as the error: rounded alike, less stays less
            margin_text(row.margin),
            _number(row.rms_ratio, "{:.1e}"),
            _number(row.dice, "{:.5f}"),
            _number(row.flipped, "{:.4%}"),
            "yes" if row.passed else "NO",
        )
        for row in rows
    ]


def margin_text(value: float) -> str:
    """ "12.3 x"; never rounded up to the 1 that passes."""
    if value > 1e6:  # an error of exactly zero has no margin in numbers
        return "> 1e6 x"
    return "0.999 x" if 0.999 < value < 1 else _number(value, "{:.3g} x")


def _number(value: float, style: str) -> str:
    return "-" if math.isnan(value) else style.format(value)
