"""The overflow probe: how large the values of a model get, and what therefore stays in float32.

Half precision ends at 65504. A value beyond it becomes infinite, and everything behind it NaN, on
some inputs only: no test on a few frames finds that by itself. So the float32 graphs are run on
frames, the largest absolute value of every node is noted, and what comes within `HEADROOM` of the
end stays in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from samedge.bundle import Bundle
from samedge.errors import ModelError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.half.graph import HALF_MAX, MOVING, float_nodes, number_values
from samedge.export.half.graph_session import graph_session
from samedge.runtime.session import Session

HEADROOM = 8.0  # other frames may have values so many times as large
_MARK = "probe/"


@dataclass
class Probe:
    """Largest absolute values, over all frames so far.

    Attributes:
        largest: graph -> value (by the name of its node) -> largest.
        frames: how many were looked at.
    """

    largest: dict[str, dict[str, float]] = field(default_factory=dict)
    frames: int = 0

    def watch(self, graph: str, values: Mapping[str, Any]) -> None:
        """Take note of a run of a graph that `with_probes` made."""
        seen = self.largest.setdefault(graph, {})
        for name, value in values.items():
            if name.startswith(_MARK):
                node = name.removeprefix(_MARK)
                seen[node] = float(np.fmax(seen.get(node, 0.0), value.max()))
                if not np.isfinite(value).all():
                    raise ModelError(
                        f"the node {node} gives values that are not finite, in float32; the model "
                        "or the frame is damaged"
                    )

    def too_large(self, graph: str) -> dict[str, float]:
        """Values that come too near to the end of the half range, and how large they are."""
        limit = HALF_MAX / HEADROOM
        return {name: x for name, x in self.largest.get(graph, {}).items() if x > limit}

    def to_json(self, kept: Mapping[str, Iterable[str]]) -> dict[str, Any]:
        """For the manifest: the limit, the largest values of each graph, the nodes kept."""
        top = {
            graph: dict(sorted(seen.items(), key=lambda item: -item[1])[:10])
            for graph, seen in self.largest.items()
        }
        return {
            "limit": HALF_MAX / HEADROOM,
            "frames": self.frames,
            "largest": top,
            "float32_nodes": {graph: sorted(names) for graph, names in kept.items()},
        }


def probe(
    bundle: Bundle,
    graphs: Mapping[str, OnnxGraph],
    frames: Iterable[Callable[[Session], object]],
    work: Path,
) -> Probe:
    """Run the float32 graphs on frames and look at every value.

    Args:
        bundle: with these graphs' inputs and outputs.
        graphs: "encoder" and "decoder".
        frames: each segments one frame with the session that it is given.
        work: a folder for the files.

    Raises:
        ModelError: a value is not finite.
    """
    found = Probe()
    with TemporaryDirectory(dir=work) as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in graphs}
        for name, graph in graphs.items():
            with_probes(graph).save(files[name])
        with graph_session(bundle, files, "fp32", watch=found.watch) as session:
            for segment in frames:
                segment(session)
                found.frames += 1
    return found


def with_probes(graph: OnnxGraph) -> OnnxGraph:
    """`graph` with one more output for every node that could be half precision and makes numbers:
    their largest size."""
    watched = graph.copy()
    watched.arrays["probe.axis"] = np.array([-1], np.int64)
    numbers, by_rule = number_values(graph), float_nodes(graph)
    made = [
        value
        for node in graph.nodes
        if node.op_type not in MOVING and node.name not in by_rule
        for value in node.output
    ]
    probes = []
    for value in made:
        if value not in numbers:
            continue
        absolute, flat, largest = (f"{value}/{part}" for part in ("abs", "flat", "largest"))
        watched.nodes += [
            helper.make_node("Abs", [value], [absolute], name=absolute),
            helper.make_node("Reshape", [absolute, "probe.axis"], [flat], name=flat),
            helper.make_node("ReduceMax", [flat], [_MARK + value], name=largest, keepdims=1),
        ]
        probes.append(helper.make_tensor_value_info(_MARK + value, TensorProto.FLOAT, [1]))
    # In front, in the graph's order: engines compute outputs one after the other, and a value whose
    # probe comes last is held until then.
    watched.outputs = [*probes, *watched.outputs]
    return watched


def float32_nodes(graph: OnnxGraph, too_large: Collection[str]) -> set[str]:
    """Names of the nodes that make one of the values `too_large` for float16, or take one; without
    those that are float32 by rule."""
    large = set(too_large)
    for node in graph.nodes:  # what is only moved is as large where it arrives
        if node.op_type in MOVING and not large.isdisjoint(node.input):
            large.update(node.output)
    touched = {n.name for n in graph.nodes if not large.isdisjoint((*n.input, *n.output))}
    return touched - float_nodes(graph)
