"""A bundle with every layer of its encoder in INT8, made in seconds: for measuring speed.

`samedge export --precision int8` measures what each layer costs and takes minutes for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samedge.bundle import Bundle, BundleWriter
from samedge.progress import silent


def with_int8(bundle: Bundle, frames: Sequence[NDArray[Any]], path: Path, threads: int) -> Bundle:
    """`bundle` with an INT8 encoder beside its float32 one.

    Args:
        bundle: with float32 graphs.
        frames: uint8 [H, W], to take ranges from.
        path: of the new bundle.
        threads: of the CPU.
    """
    from samedge.export.deriving import write_graph
    from samedge.export.graphs.model import OnnxGraph
    from samedge.export.half.graph import to_half
    from samedge.export.int8.activations import activation_scale, activations
    from samedge.export.int8.encoder_runs import EncoderModel, NetworkInputs
    from samedge.export.int8.quantisable import quantisable_layers
    from samedge.export.int8.quantised_graph import quantised_graph
    from samedge.export.origin_bundle import FromBundle

    with bundle.opened_graph("encoder", "fp32") as file:
        graph = OnnxGraph.read(file)
    layers = quantisable_layers(graph)
    with EncoderModel(graph) as encoder:
        found = activations(encoder, layers, NetworkInputs(frames, bundle), threads)
    scales = {layer.name: activation_scale(found[layer.value])[0] for layer in layers}
    half = to_half(graph)
    quantised = quantised_graph(half, quantisable_layers(half), scales)
    with BundleWriter(path) as writer:
        manifest = FromBundle(bundle, ()).write(writer, silent)
        entry = write_graph(writer, quantised, "encoder", "int8")
        return writer.commit(manifest.with_graph("encoder", "int8", entry))
