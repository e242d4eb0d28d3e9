"""A FoldedModel as the origin of a bundle. The only part of an export that needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from samedge.bundle import INTENDED_USE, BundleWriter
from samedge.errors import ModelError
from samedge.export.deriving import write_graph
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.origin_bundle import SHARES, new_manifest
from samedge.fold.half import round_to_half
from samedge.fold.model import FoldedModel
from samedge.fold.work import require_memory_to_export, work_of_folded
from samedge.machine.memory import release_memory
from samedge.machine.needs import bundle_bytes
from samedge.progress import Progress, Step


class FromFolded:
    """A folded model, whose graphs are written anew.

    Args:
        folded: from `samedge.fold`.
        precisions: that the bundle is to have.
        half_weights: round its weights, and store them in 16 bits.
        consume: free its weights once they are written.
        check_memory: refuse it where there is too little memory.

    Raises:
        ModelError: `folded` is something else.
        NotSupportedError: too little memory.
    """

    def __init__(
        self,
        folded: FoldedModel,
        precisions: Sequence[str],
        half_weights: bool,
        consume: bool,
        check_memory: bool,
    ) -> None:
        if not isinstance(folded, FoldedModel):
            raise ModelError(
                f"samedge.export got a {type(folded).__name__}; expected the result of "
                "samedge.fold(model), or an open Bundle"
            )
        if check_memory:
            require_memory_to_export(folded, consume, precisions)
        self._folded, self._precisions = folded, precisions
        self._half_weights, self._consume = half_weights, consume

    def size(self) -> int:
        """Bytes of the bundle, from above, while it is written."""
        full = bundle_bytes(work_of_folded(self._folded))
        return int(full * sum(SHARES[p] for p in {"fp32", *self._precisions}))

    def write(self, writer: BundleWriter, progress: Progress) -> dict[str, Any]:
        """Write both graphs and the self-test frames.

        Raises:
            ParityError: 16-bit weights change the model too much.
        """
        folded = self._folded
        if self._half_weights:
            progress(Step("rounding the weights to 16 bits"))
            round_to_half(folded)
        graphs: dict[str, Any] = {}
        for name, build in (("encoder", encoder_graph), ("decoder", decoder_graph)):
            progress(Step(f"writing the {name} graph"))
            graphs[name] = {"fp32": write_graph(writer, build(folded), name, "fp32")}
        if self._consume:
            folded.release()
        release_memory()
        for test in folded.selftests:
            writer.add_selftest(test)
        return new_manifest(_about(folded, graphs))


def _about(folded: FoldedModel, graphs: dict[str, Any]) -> dict[str, Any]:
    v = folded.variant
    sizes = {name: getattr(v, name) for name in
             ("vit", "input_size", "grid", "low_res", "channels", "prompt_dim")}  # fmt: skip
    return {
        "title": f"{folded.family.title} {v.vit}",
        "family": folded.family.to_json(),
        "variant": sizes,
        "graphs": graphs,
        "source": folded.source,
        "fold_report": folded.report.to_json(),
        "intended_use": INTENDED_USE,
    }
