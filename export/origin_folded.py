"""A FoldedModel as the origin of a bundle. The only part of an export that needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samedge.bundle import BundleWriter, Manifest
from samedge.bundle.manifest import Source
from samedge.errors import ModelError
from samedge.export.deriving import write_graph
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.origin_bundle import SHARES, tools
from samedge.fold.half import round_to_half
from samedge.fold.model import FoldedModel
from samedge.fold.work import require_memory_to_export, work_of_folded
from samedge.machine.memory import release_memory
from samedge.machine.needs import bundle_bytes
from samedge.progress import Progress, Step


@dataclass(frozen=True)
class FromFolded:
    """A folded model, whose graphs are written anew.

    Attributes:
        folded: from `samedge.fold`.
        precisions: that the bundle is to have.
        half_weights: round its weights, and store them in 16 bits.
        consume: free its weights once they are written.
    """

    folded: FoldedModel
    precisions: Sequence[str]
    half_weights: bool = False
    consume: bool = False

    def check(self, memory: bool) -> None:
        """Refuse what is no folded model, or too large for this machine.

        Raises:
            ModelError: `folded` is something else.
            NotSupportedError: too little memory.
        """
        if not isinstance(self.folded, FoldedModel):
            raise ModelError(
                f"samedge.export got a {type(self.folded).__name__}; expected the result of "
                "samedge.fold(model), or an open Bundle"
            )
        if not self.folded.selftests:
            raise ModelError(
                "the folded model was not compared with the unfolded one, so nothing of a bundle "
                "could be proven; fold it without compare=False"
            )
        if memory:
            require_memory_to_export(self.folded, self.consume, self.precisions)

    def size(self) -> int:
        """Bytes of the bundle, from above, while it is written."""
        full = bundle_bytes(work_of_folded(self.folded))
        return int(full * sum(SHARES[p] for p in {"fp32", *self.precisions}))

    def write(self, writer: BundleWriter, progress: Progress) -> Manifest:
        """Write both graphs and the self-test frames.

        Raises:
            ParityError: 16-bit weights change the model too much.
        """
        folded = self.folded
        if self.half_weights:
            progress(Step("rounding the weights to 16 bits"))
            round_to_half(folded)
        graphs = {}
        for name, build in (("encoder", encoder_graph), ("decoder", decoder_graph)):
            progress(Step(f"writing the {name} graph"))
            graphs[name] = {"fp32": write_graph(writer, build(folded), name, "fp32")}
        if self.consume:
            folded.release()
        release_memory()
        for test in folded.selftests:
            writer.add_selftest(test)
        return Manifest(
            title=f"{folded.family.title} {folded.variant.vit}",
            family=folded.family,
            variant=folded.variant,
            graphs=graphs,
            source=_source(folded.source),
            fold_report=folded.report.to_json(),
            tools=tools(),
        )


def _source(said: Mapping[str, Any]) -> Source:
    return Source(tuple(said["sha256"]), said["format"], tuple(said.get("questions", ())))
