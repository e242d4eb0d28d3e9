"""`samedge inspect ENGINE`: what an engine was built from, and what it is made of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.cli.filetype import ENGINE, one_line, size_text
from samedge.cli.terminal.printing import Printer
from samedge.errors import BundleError, DeviceError, NotSupportedError, SourceError

if TYPE_CHECKING:
    from samedge.runtime.engines.records import EngineRecord
    from samedge.runtime.tensorrt.layer_report import LayerReport
    from samedge.runtime.triton.engine_file import EngineFile
    from samedge.runtime.triton.plan import Target

# Kernels of these parts of a graph are float32 in every precision.
_BY_RULE = ("preprocess", "postprocess")
_OPENVINO = b"samedge\x1b"  # how engines of OpenVINO graphs begin: to read them takes OpenVINO
# Columns of the tables of samedge's own engines.
_KERNELS = (
    "kernel", "launches", "registers", "shared", "blocks", "spilled", "tensor core", "code",
)  # fmt: skip
_KINDS = ("graph", "kind", "launches", "GFLOP", "MB read", "MB written")


def inspect_engine(printer: Printer, path: Path, layers: bool) -> None:
    """Print an engine's record and its kernels.

    Args:
        printer: where to.
        path: of the engine; its record lies beside it.
        layers: also list every kernel.

    Raises:
        BundleError: the engine is not the file that its record is of.
        SourceError: it has no record, and this machine cannot look into it.
    """
    from samedge.runtime.tensorrt.layer_report import LayerReport as Report
    from samedge.runtime.triton.engine_file import is_engine_file

    with path.open("rb") as file:
        head = file.read(16)
    if is_engine_file(head):
        _inspect_own(printer, path, layers)
        return
    record = _record(path)
    if head.startswith(_OPENVINO):
        _inspect_openvino(printer, path, record)
        return
    if record is None:
        report, about = _ask_the_library(path), [("record", "none: not built by `samedge build`")]
        printer.json({"kind": ENGINE, "report": report.to_json()})
    else:
        report = record.report or Report(())
        about = _about(record)
        printer.json({**record.to_json(), "kind": ENGINE, "summary": _summary(report)})
    printer.table(f"{path.name}: a TensorRT engine", ("", ""), about + _made_of(report))
    printer.table(
        "Kernels", ("kind", "how many"), [(k, str(n)) for k, n in report.kinds.most_common()]
    )
    products = [
        (dtype, str(len(found)), str(sum(layer.is_attention for layer in found)))
        for dtype, found in sorted(report.products.items())
    ]
    printer.table("Matrix products and convolutions", ("type", "kernels", "attentions"), products)
    if layers:
        printer.table("All kernels", ("", "kind", "from", "to", "ONNX nodes"), _rows(report))


def _record(path: Path) -> EngineRecord | None:
    from samedge.files.hashes import sha256_file
    from samedge.runtime.engines.records import read_record, record_path

    if not record_path(path).exists():
        return None
    try:
        record = read_record(path)
        same = sha256_file(path) == record.sha256
    except (OSError, SourceError) as error:
        raise SourceError(f"{path.name}: {error}") from error
    if not same:
        raise BundleError(
            f"{path.name} is not the file that was built: its hash is another one than in its "
            "record. Do not use it; build it again with: samedge build BUNDLE --force"
        )
    return record


def _ask_the_library(path: Path) -> LayerReport:
    """The report of an engine without a record, from the library that made it."""
    from samedge.runtime.tensorrt.engine import layer_information
    from samedge.runtime.tensorrt.layer_report import LayerReport

    reasons = []
    for backend in ("tensorrt", "tensorrt_rtx"):
        try:
            return LayerReport.from_inspector(layer_information(path, backend))
        except (NotSupportedError, DeviceError) as error:
            reasons.append(f"{backend}: {str(error).partition(';')[0]}")
    raise SourceError(
        f"{path.name} has no record beside it (samedge build writes one), and nothing here can "
        f"look into it ({'; '.join(reasons)}); use the machine that it was built for, or build it "
        "from its bundle: samedge build BUNDLE --target tensorrt|tensorrt-rtx"
    )


def _about(record: EngineRecord) -> list[tuple[str, str]]:
    from samedge.runtime.engines.keys import NvidiaKey

    options = {k: v for k, v in record.options.items() if v not in (None, False)}
    rows = [
        ("size", size_text(record.size)),
        ("hash", "as in its record"),
        ("options", ", ".join(f"{k} {one_line(v)}" for k, v in options.items()) or "none"),
    ]
    key = record.key
    if isinstance(key, NvidiaKey):
        built = [
            ("graph", f"{key.graph}, {key.precision}"),
            ("library", f"{key.backend} {key.version}"),
            ("for", key.gpu or f"any GPU of sm_{key.compute_capability}"),
            ("graph sha256", key.graph_sha256),
        ]
        rows = built + rows + _parity(record)
    else:
        rows = [(name, one_line(str(value))) for name, value in key.to_json().items()] + rows
    return rows


def _parity(record: EngineRecord) -> list[tuple[str, str]]:
    if not record.parity:
        return [("parity", "never checked on a GPU: run `samedge verify` on the device")]
    return _checked(record)


def _checked(record: EngineRecord) -> list[tuple[str, str]]:
    return [
        (
            f"parity in {row['precision']}",
            f"{'passed' if row['passed'] else 'FAILED'}, margin {_margin(row.get('margin'))}",
        )
        for row in record.parity
    ]


def _margin(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} x"


def _made_of(report: LayerReport) -> list[tuple[str, str]]:
    if not report.layers:
        return [("kernels", "the builder told nothing about them")]
    network = report.without(_BY_RULE)
    fused, attentions = report.attentions
    rows = [
        ("kernels", f"{len(report.layers)}, {len(network.layers)} of them in the network"),
        ("fused attentions", f"{fused} of {attentions}"),
    ]
    if report.activations is not None:
        rows.append(("working memory", f"{size_text(report.activations)} for the largest frame"))
    if report.weights is not None:
        rows.append(("weights", size_text(report.weights)))
    return rows


def _summary(report: LayerReport) -> dict[str, Any]:
    fused, attentions = report.attentions
    return {
        "kernels": len(report.layers),
        "network_kernels": len(report.without(_BY_RULE).layers),
        "kinds": dict(report.kinds),
        "attentions": {"fused": fused, "all": attentions},
        "products": {dtype: len(found) for dtype, found in report.products.items()},
        "activations": report.activations,
        "weights": report.weights,
    }


def _rows(report: LayerReport) -> list[tuple[str, ...]]:
    return [
        (str(i), layer.kind, _types(layer.inputs), _types(layer.outputs), ", ".join(layer.nodes))
        for i, layer in enumerate(report.layers)
    ]


def _inspect_openvino(printer: Printer, path: Path, record: EngineRecord | None) -> None:
    """Print what is known of graphs for the CPU."""
    if record is None:
        raise SourceError(
            f"{path.name} has no record beside it, and no session takes it; build it again: "
            "samedge build BUNDLE --target openvino"
        )
    printer.json({**record.to_json(), "kind": ENGINE, "engine": "openvino"})
    rows = [(name, one_line(str(value))) for name, value in record.key.to_json().items()]
    rows += [
        ("size", size_text(record.size)),
        ("hash", "as in its record"),
        *(_checked(record) or [("parity", "never checked: run `samedge verify` on the device")]),
    ]
    printer.table(f"{path.name}: graphs for the CPU (OpenVINO)", ("", ""), rows)


def _types(types: tuple[str, ...]) -> str:
    return ", ".join(f"{n} {dtype}" for dtype, n in Counter(types).items())


def _inspect_own(printer: Printer, path: Path, layers: bool) -> None:
    """Print an engine's plan: it needs no GPU, and nothing of it is loaded.

    Args:
        printer: where to.
        path: of the engine; its record may lie beside it.
        layers: also list every launch.

    Raises:
        SourceError: the engine is damaged.
        BundleError: it is not the file that its record is of.
    """
    from samedge.runtime.triton.account import account
    from samedge.runtime.triton.engine_file import read_engine

    file = read_engine(path)
    record = _record(path)
    said = account(file.plan)
    parity = [] if record is None else [dict(row) for row in record.parity]
    printer.json({"kind": ENGINE, "engine": "triton", "parity": parity, **said})
    printer.table(f"{path.name}: an engine of samedge's own", ("", ""), _about_own(file, record))
    for number, target in sorted(file.plan.targets.items()):
        _print_target(printer, f"sm_{number}", target, layers)


def _about_own(file: EngineFile, record: EngineRecord | None) -> list[tuple[str, str]]:
    plan = file.plan
    rows = [
        ("precision", plan.precision),
        ("for", ", ".join(f"sm_{number}" for number in sorted(plan.targets))),
        ("bundle", plan.bundle),
        *((f"weights in {name}", f"sha256 {digest}") for name, digest in plan.files.items()),
        ("weights on the device", size_text(plan.weights_size)),
        ("size", size_text(len(file.data))),
        ("hash", "as it says"),
        ("written by", f"samedge {plan.samedge}"),
    ]
    if record is None:
        return [*rows, ("record", "none: no session takes it (samedge build writes one)")]
    checked: list[tuple[str, str]] = [
        (
            f"parity in {row['precision']}",
            f"{'passed' if row['passed'] else 'FAILED'}, margin {row.get('margin', 0):.3g} x",
        )
        for row in record.parity
    ]
    return rows + (checked or [("parity", "never checked on a GPU: run `samedge verify` there")])


def _print_target(printer: Printer, name: str, target: Target, layers: bool) -> None:
    from samedge.runtime.triton.account import arenas, counted_for, kinds, launches, uses

    counts = counted_for(target).items()
    sizes = ", ".join(f"{size.replace('_', ' ')} {number}" for size, number in counts)
    programs = [
        (
            row["graph"],
            ", ".join(f"{key} {most}" for key, most in row["limits"].items()),
            str(row["launches"]),
            size_text(row["arena"]),
            size_text(row["largest_arena"]),
        )
        for row in arenas(target)
    ]
    title = f"{name}: programs; arena for {sizes}, and for the largest"
    columns = ("graph", "sizes up to", "launches", "arena", "largest")
    printer.table(title, columns, programs)
    rows: list[tuple[Any, ...]] = [
        (row.graph, row.kind, row.launches, row.flops, row.reads, row.writes)
        for row in kinds(target)
    ]
    total = [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)]
    cells = [_work(*row) for row in [*rows, ("sum", "", *total)]]
    printer.table(f"{name}: launches by kind, counted, for {sizes}", _KINDS, cells)
    kernels = [
        (
            kernel.name,
            str(count),
            str(kernel.resources.registers),
            size_text(kernel.resources.shared),
            str(kernel.resources.blocks),
            str(kernel.resources.spilled),
            str(kernel.resources.tensor_core),
            size_text(kernel.size),
        )
        for kernel, count in zip(target.kernels, uses(target), strict=True)
    ]
    printer.table(f"{name}: kernels; blocks are resident on a multiprocessor", _KERNELS, kernels)
    if layers:
        listed = [
            (r.graph, r.label, r.kernel, " x ".join(map(str, r.grid)),
             f"{r.flops / 1e9:.3f}", f"{r.reads / 1e6:.2f}", f"{r.writes / 1e6:.2f}")
            for r in launches(target)
        ]  # fmt: skip
        heads = ("graph", "layer", "kernel", "blocks", *_KINDS[3:])
        printer.table(f"{name}: all launches, in order", heads, listed)


def _work(
    graph: str, kind: str, count: int, flops: int, reads: int, writes: int
) -> tuple[str, ...]:
    return (
        graph, kind, str(count), f"{flops / 1e9:.2f}", f"{reads / 1e6:.1f}", f"{writes / 1e6:.1f}",
    )  # fmt: skip
