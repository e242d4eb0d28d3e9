"""`samedge build`: a bundle's engines for NVIDIA GPUs and CPUs, behind the parity gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli.completion import Choice, NameList
from samedge.cli.filetype import size_text
from samedge.cli.inspect import print_parity
from samedge.cli.terminal.printing import Printer, common_options
from samedge.cli.terminal.steps import progress_bars
from samedge.errors import ParityError

if TYPE_CHECKING:
    from samedge.runtime.engines.building import BuildResult, EngineRow

EPILOG = """\b
Examples:
  samedge build samus.samedge --target tensorrt
  samedge build samus.samedge --target tensorrt --precision fp16 --timing-cache times.bin
  samedge build samus.samedge --target tensorrt-rtx --sm 86,89,120 -o engines
  samedge build samus.samedge --target triton --sm 87,89 --precision fp16
  samedge build samus.samedge --target openvino --precision fp32,bf16 -o engines
"""
# Options of TensorRT's builders.
_OF_LIBRARIES = (
    "workspace",
    "timing_cache",
    "version_compatible",
    "hardware_compatible",
    "refittable",
)
# Options of those that build for GPUs.
_OF_GPUS = ("capabilities", "max_side", "device")
_COLUMNS = ("engine", "for", "size", "kernels", "seconds", "state")


def _capabilities(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    names = [name.strip().removeprefix("sm_").replace(".", "") for name in value.split(",")]
    if not value:
        return ()
    if not all(name.isascii() and name.isdigit() and 2 <= len(name) <= 3 for name in names):
        raise click.BadParameter(f"'{value}': expected compute capabilities such as 86,89,120")
    return tuple(dict.fromkeys(map(int, names)))


@click.command(epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--target",
    required=True,
    type=Choice(["tensorrt", "tensorrt-rtx", "triton", "openvino"]),
    help="What runs the engines: a library of NVIDIA's, samedge itself (triton), or the CPU.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=NameList(["fp32", "fp16", "bf16", "int8"], alone="auto"),
    metavar="LIST",
    help="fp32, fp16, int8, separated by commas, and bf16 with triton and openvino; auto: all that "
    "the bundle has graphs for, with triton fp16 and int8 of these, with openvino what this CPU is "
    "made for.",
)
@click.option(
    "--sm",
    "capabilities",
    default="",
    callback=_capabilities,
    help="GPUs to build for by compute capability, 86,89,120 say; not with tensorrt and openvino. "
    "Default: the GPU of this machine.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the engines. Default: in the bundle, or the cache for a zipped one.",
)
@click.option("--workspace", type=click.IntRange(1), help="Most scratch memory of a layer, in MB.")
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of measured layer times, used and extended.",
)
@click.option(
    "--max-side",
    type=click.IntRange(256, 4096),
    default=4096,
    show_default=True,
    help="Largest side of a frame, in px.",
)
@click.option(
    "--version-compatible", is_flag=True, help="Loads in later versions of TensorRT as well."
)
@click.option(
    "--hardware-compatible", is_flag=True, help="Runs on all GPUs from Ampere on (TensorRT)."
)
@click.option("--refittable", is_flag=True, help="Programs of yours can exchange the weights.")
@click.option("--device", type=click.IntRange(0), default=0, help="Number of the GPU.")
@click.option("--force", is_flag=True, help="Build also where an engine that fits is there.")
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    bundle: Path,
    target: str,
    precision: tuple[str, ...],
    capabilities: tuple[int, ...],
    output: Path | None,
    workspace: int | None,
    timing_cache: Path | None,
    max_side: int,
    version_compatible: bool,
    hardware_compatible: bool,
    refittable: bool,
    device: int,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Build the engines of BUNDLE: for this machine, or ahead of time for others.

    TensorRT builds on the device only. TensorRT-RTX and samedge's own compiler (triton) also build
    on a machine without a GPU, for the GPUs that --sm names. Where the GPU is here, the engines are
    run on the bundle's self-test frames and compared with the float32 reference before they are
    stored; exit code 5 if one is farther from it than its precision allows, and no engine of that
    precision is left.

    TensorRT's files are the library's own engines: trtexec reads them. An engine of triton holds
    encoder and decoder for all GPUs of --sm, takes its weights from the bundle, and needs nothing
    but the NVIDIA driver. An engine of openvino is for any CPU that computes its precision:
    libsamedge takes it to be as fast as Python, which prepares the graphs by itself. What each was
    built from and for stands in a JSON file beside it.
    """
    from samedge.bundle import Bundle
    from samedge.runtime.openvino.building import build_engines as build_openvino
    from samedge.runtime.tensorrt.builder import BuildOptions
    from samedge.runtime.tensorrt.bundle_engines import build_engines
    from samedge.runtime.triton.building import build_engines as build_triton

    _check(ctx, target, precision)
    printer = Printer(quiet, as_json)
    options = BuildOptions(
        workspace_mb=workspace,
        timing_cache=timing_cache,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        refittable=refittable,
        max_side=max_side,
    )
    opened = Bundle.open(bundle)
    with progress_bars(printer) as progress:
        if target == "triton":
            result = build_triton(
                opened, precision, capabilities, output, max_side, force, device, progress
            )
        elif target == "openvino":
            result = build_openvino(opened, precision, output, force, progress)
        else:
            result = build_engines(
                opened, target, precision, capabilities, output, options, force, device, progress
            )
    printer.json({"bundle": bundle.name, "passed": not result.failed, **result.to_json()})
    _print(result, printer, target, "" if output is None else f" --engines {output}")
    if result.failed:
        raise ParityError(
            f"{bundle.name} does not compute on this {_device(target)} what it should: "
            f"{', '.join(result.failed)}; no engine of that precision was stored. Use another "
            "--precision, and report what `samedge doctor` prints"
        )


def _check(ctx: click.Context, target: str, precision: tuple[str, ...]) -> None:
    """Refuse options that the target does not have."""
    if target in ("tensorrt", "tensorrt-rtx"):
        if "bf16" in precision:
            raise click.BadParameter(
                "bf16: expected auto, or some of fp32, fp16, int8; bf16 is for --target triton and "
                "openvino",
                param_hint="--precision",
            )
        return
    foreign = [(name, "an option of TensorRT") for name in _OF_LIBRARIES]
    if target == "openvino":
        foreign += [(name, "an option for GPUs") for name in _OF_GPUS]
    for name, what in foreign:
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            spoken = "sm" if name == "capabilities" else name.replace("_", "-")
            raise click.BadParameter(f"it is {what}, not of {target}", param_hint=f"--{spoken}")


def _device(target: str) -> str:
    return "CPU" if target == "openvino" else "GPU"


def _print(result: BuildResult, printer: Printer, target: str, engines: str) -> None:
    title = f"Engines in {result.folder}"
    printer.table(title, _COLUMNS, [_cells(row) for row in result.engines])
    for note in dict.fromkeys(note for row in result.engines for note in row.notes):
        printer.line(f"note: {note}")
    if result.parity:
        title = f"Parity with the float32 reference, on this {_device(target)}"
        print_parity(printer, title, list(result.parity))
    if result.unchecked is not None:
        printer.line(
            f"Not checked: {result.unchecked}. Run `samedge verify` with --backend {target}"
            f"{engines} on the device before it serves."
        )
    if engines:
        printer.line(f"Used with{engines}: samedge verify, segment and bench take it.")


def _cells(row: EngineRow) -> tuple[str, ...]:
    return (
        row.file,
        f"sm_{row.compute_capability}" if row.compute_capability else "any CPU",
        size_text(row.bytes),
        "-" if row.kernels is None else str(row.kernels),
        f"{row.seconds:.1f}",
        row.state,
    )
