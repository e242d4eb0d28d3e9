"""A bundle -> the launches of its encoder and decoder, for one kind of GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from samedge.bundle import Bundle
from samedge.bundle.manifest import GraphEntry
from samedge.errors import NotSupportedError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.triton.context import Context, Quantised
from samedge.export.triton.decoder import FEW, lower_decoder
from samedge.export.triton.encoder import lower_encoder
from samedge.export.triton.refold import refold
from samedge.export.triton.tracer import Tracer
from samedge.export.triton.weights import Weights
from samedge.fold.decoder_layers import FoldedDecoder
from samedge.fold.layers import FoldedEncoder
from samedge.geometry.frame_geometry import MAX_SIDE
from samedge.kernels.launch import Launch, next_power
from samedge.runtime.triton.plan import Program

# Precision -> element type of weights and of what lies between two launches.
PRECISIONS = {"fp16": "fp16", "bf16": "bf16", "fp32": "fp32", "int8": "fp16"}
MAX_OBJECTS = 16  # at a time
MAX_POINTS = 64  # of an object, box corners and padding among them


@dataclass(frozen=True)
class Source:
    """What programs are traced from.

    Attributes:
        encoder, decoder: folded, of the float32 graphs.
        weights: of the plan; filled while programs are traced.
        quantised: linear layers in INT8, by path.
    """

    bundle: Bundle
    encoder: FoldedEncoder
    decoder: FoldedDecoder
    weights: Weights
    quantised: Mapping[str, Quantised]


@contextmanager
def opened(bundle: Bundle, precision: str) -> Iterator[Source]:
    """Everything that is traced, read from the bundle.

    Args:
        bundle: open.
        precision: one of `PRECISIONS`; "int8" asks for the bundle's quantised encoder.

    Raises:
        BundleError: a graph's file was changed, or is not of samedge's writing.
        NotSupportedError: the bundle has no such graph.
    """
    graphs = bundle.manifest.graphs
    wanted = [("encoder", "fp32"), ("decoder", "fp32")]
    if precision == "int8":
        if "int8" not in graphs["encoder"]:
            raise NotSupportedError(
                f"{bundle.path.name} has no INT8 encoder; export it with --precision fp32,int8 "
                "and --calibration frames of yours, or build with --precision fp16"
            )
        wanted.append(("encoder", "int8"))
    encoder, decoder = refold(bundle)
    with ExitStack() as stack:
        files: dict[str, Path] = {}
        for name, key in wanted:
            files[graphs[name][key].file] = stack.enter_context(bundle.opened_graph(name, key))
        quantised = {}
        if precision == "int8":
            quantised = quantised_layers(OnnxGraph.read(files[graphs["encoder"]["int8"].file]))
        yield Source(bundle, encoder, decoder, Weights(files), quantised)


def quantised_layers(graph: OnnxGraph) -> dict[str, Quantised]:
    """Path of every linear layer that a graph computes in INT8 -> its constants."""
    producers, found = graph.producers(), {}
    for node in graph.nodes:
        if node.op_type != "MatMul" or not node.name.endswith("/MatMul"):
            continue
        operands = [producers.get(value) for value in node.input]
        x, weight = operands
        if x is None or weight is None or weight.op_type != "DequantizeLinear":
            continue
        scale = float(graph.arrays[x.input[1]])
        path = node.name.removesuffix("/MatMul")
        found[path] = Quantised(weight.input[0], weight.input[1], scale)
    return found


def limits_for(bundle: Bundle, max_side: int = MAX_SIDE) -> dict[str, int]:
    """The most of every size that an engine takes."""
    family = bundle.family
    most = max(len(family.mask_tokens(False)), len(family.multi_masks), 1)
    return {
        "height": max_side,
        "width": max_side,
        "frame_channels": 3,
        "objects": MAX_OBJECTS,
        "mask_prompts": MAX_OBJECTS,
        "points": MAX_POINTS,
        "masks": most,
    }


def trace(
    source: Source,
    precision: str,
    arch: int,
    max_side: int,
    kernel_of: Callable[[Launch], int],
) -> tuple[Program, ...]:
    """Programs of encoder and decoder.

    Args:
        source: see `opened`.
        precision: one of `PRECISIONS`.
        arch: compute capability that tiles are chosen for.
        max_side: largest side of a frame, px.
        kernel_of: number of the compiled kernel of a launch.
    """
    half, limits = PRECISIONS[precision], limits_for(source.bundle, max_side)
    graphs = source.bundle.manifest.graphs

    def context(graph: str) -> Context:
        entry: GraphEntry = graphs[graph]["fp32"]
        tracer, known = Tracer(arch, source.weights), source.bundle
        own = Context(tracer, half, known.family, known.manifest.variant, entry, entry.file)
        if graph == "decoder" or precision != "int8":
            return own
        file = graphs[graph]["int8"].file
        return Context(
            tracer, half, known.family, known.manifest.variant, entry, entry.file, file,
            source.quantised,
        )  # fmt: skip

    c = context("encoder")
    lower_encoder(c, source.encoder)
    programs = [c.run.program("encoder", _known(limits, c), kernel_of)]
    learned = source.decoder.tokens.shape[1]
    takes_points = source.decoder.prompt is not None
    most = learned + (MAX_POINTS if takes_points else 0)
    for capacity in sorted({min(FEW, next_power(most, 16)), next_power(most, 16)}):
        c = context("decoder")
        lower_decoder(c, source.decoder, capacity)
        own = {**limits, "points": min(MAX_POINTS, capacity - learned)}
        programs.append(c.run.program("decoder", _known(own, c), kernel_of))
    return tuple(programs)


def _known(limits: Mapping[str, int], c: Context) -> dict[str, int]:
    """Limits of the sizes that a graph's inputs and outputs have."""
    names = {size for entry in c.entry.tensors for size in entry.shape if isinstance(size, str)}
    return {name: most for name, most in limits.items() if name in names}
