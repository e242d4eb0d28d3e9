"""What programs are traced from where there is no bundle: a network of which only sizes are known.

For accounts of what an engine would start and move, at no cost. Nothing that is traced from it can
be built: its weights stand nowhere.
"""

from __future__ import annotations

from pathlib import Path

from samedge.bundle import Bundle, Manifest
from samedge.bundle.manifest import GraphEntry
from samedge.bundle.manifest import Source as Origin
from samedge.errors import NotSupportedError
from samedge.export.deriving import ports
from samedge.export.graphs.builder import Array, GraphBuilder
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.triton.trace import Source
from samedge.export.triton.weights import Weights
from samedge.fold.layers import FoldedEncoder
from samedge.fold.model import FoldedModel
from samedge.runtime.triton.compiling import NO_KERNELS


class _Outline(GraphBuilder):
    """A graph whose weights are not copied: they may share one number in memory."""

    def weight(self, key: str, array: Array) -> str:
        """See `GraphBuilder.weight`."""
        self.arrays[key] = array
        return key


def outline(folded: FoldedModel) -> Source:
    """A folded model as `trace` takes it; of its weights the shapes alone are looked at.

    Args:
        folded: as `samedge.fold.sizes.folded_sizes` makes it, or any other.

    Raises:
        NotSupportedError: its encoder is a TinyViT.
    """
    if not isinstance(folded.encoder, FoldedEncoder):
        raise NotSupportedError(NO_KERNELS)
    graphs = {
        "encoder": encoder_graph(folded, _Outline),
        "decoder": decoder_graph(folded, _Outline),
    }
    entries = {
        name: {"fp32": GraphEntry(f"{name}.fp32.onnx", *ports(graph.outline()))}
        for name, graph in graphs.items()
    }
    manifest = Manifest(
        title=f"{folded.family.title} {folded.variant.vit}",
        family=folded.family,
        variant=folded.variant,
        graphs=entries,
        source=Origin((), "sizes"),
        fold_report={},
        tools={},
    )
    nowhere = Path(f"{folded.family.name}.samedge")
    shapes = {
        entries[name]["fp32"].file: {key: tuple(a.shape) for key, a in graph.arrays.items()}
        for name, graph in graphs.items()
    }
    return Source(
        Bundle(nowhere, nowhere, manifest), folded.encoder, folded.decoder,
        Weights.of_shapes(shapes), {},
    )  # fmt: skip
