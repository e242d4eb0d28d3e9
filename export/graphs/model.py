"""An ONNX graph taken apart, for what turns one graph into another: half precision, INT8.

Nodes are onnx's own, weights are numpy arrays (mapped from the file, not read, where they are
large). Names stay what `samedge.export.graphs.builder` made them: a value is known by the name of
its node, a weight by its key in FoldedModel's state dict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samedge.errors import BundleError
from samedge.export.graphs import file as onnx_file
from samedge.export.graphs.update import update_model

Array = NDArray[Any]


@dataclass
class OnnxGraph:
    """Nodes in an order in which they can run, weights by name, inputs and outputs.

    Attributes:
        name: of the graph.
        nodes: the operations.
        arrays: initialisers; never changed in place, since they may be mapped from a file.
        inputs, outputs: onnx's descriptions.
        opset, ir_version: of the file.
        metadata: free text about the graph, written into the file.
    """

    name: str
    nodes: list[onnx.NodeProto]
    arrays: dict[str, Array]
    inputs: list[onnx.ValueInfoProto]
    outputs: list[onnx.ValueInfoProto]
    opset: int
    ir_version: int
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> OnnxGraph:
        """Read a graph of a bundle, in the form that this version writes whatever version wrote it.
        Weights stored in 16 bits come as the float32 they stand for.

        Raises:
            BundleError: no ONNX file.
        """
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf raises classes of its own
            raise BundleError(f"{path.name} is no ONNX file ({type(error).__name__})") from error
        update_model(model)
        arrays = {t.name: _array(t, path.parent) for t in model.graph.initializer}
        graph = cls(
            name=model.graph.name,
            nodes=list(model.graph.node),
            arrays=arrays,
            inputs=list(model.graph.input),
            outputs=list(model.graph.output),
            opset=model.opset_import[0].version,
            ir_version=model.ir_version,
            metadata={entry.key: entry.value for entry in model.metadata_props},
        )
        graph._widen()
        return graph

    def _widen(self) -> None:
        """Take out the Casts behind weights that are stored in 16 bits."""
        wide: dict[str, str] = {}
        for node in self.nodes:
            if node.op_type == "Cast" and node.input[0] in self.arrays:
                wide[node.output[0]] = node.input[0]
        for key in set(wide.values()):
            self.arrays[key] = self.arrays[key].astype(np.float32)
        self.nodes = [node for node in self.nodes if node.output[0] not in wide]
        self.rename(wide)

    def rename(self, names: Mapping[str, str]) -> None:
        """Let every consumer of the value `a` take `b` for `a: b` of `names`."""
        for node in self.nodes:
            for at, value in enumerate(node.input):
                if value in names:
                    node.input[at] = names[value]

    def copy(self) -> OnnxGraph:
        """Nodes and lists of its own; the arrays are shared."""
        return OnnxGraph(
            self.name,
            [_copied(node) for node in self.nodes],
            dict(self.arrays),
            [_copied(value) for value in self.inputs],
            [_copied(value) for value in self.outputs],
            self.opset,
            self.ir_version,
            dict(self.metadata),
        )

    def producers(self) -> dict[str, onnx.NodeProto]:
        """Value -> the node that makes it."""
        return {value: node for node in self.nodes for value in node.output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Value -> the nodes that take it."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.input):
                if value:
                    found.setdefault(value, []).append(node)
        return found

    def prune(self) -> None:
        """Drop nodes whose results nobody takes, and weights that no node takes."""
        wanted = {value.name for value in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.arrays = {name: array for name, array in self.arrays.items() if name in wanted}

    def model(self, extra_outputs: Iterable[str] = ()) -> onnx.ModelProto:
        """The model with its weights inside, for small ones and for what holds models in memory.

        Args:
            extra_outputs: further float32 values to give out, of unknown shape.
        """
        return onnx_file.with_initialisers(self._without_weights(extra_outputs), self.arrays)

    def save(self, path: Path, extra_outputs: Iterable[str] = ()) -> onnx.ModelProto:
        """Write the model; weights beyond 2 GB go to `NAME.onnx.data` beside it.

        Returns:
            the model without the weights that are in the file or beside it.
        """
        model = self._without_weights(extra_outputs)
        contiguous = {name: np.ascontiguousarray(array).reshape(array.shape)
                      for name, array in self.arrays.items()}  # fmt: skip
        onnx_file.save(model, contiguous, path)
        return model

    def _without_weights(self, extra_outputs: Iterable[str]) -> onnx.ModelProto:
        outputs = list(self.outputs)
        outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
                    for name in extra_outputs]  # fmt: skip
        model = helper.make_model(
            helper.make_graph(self.nodes, self.name, self.inputs, outputs),
            producer_name="samedge",
            opset_imports=[helper.make_opsetid("", self.opset)],
        )
        model.ir_version = self.ir_version
        helper.set_model_props(model, self.metadata)
        return model


def _copied(message: Any) -> Any:
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


def _array(tensor: TensorProto, folder: Path) -> Array:
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    entry = {item.key: item.value for item in tensor.external_data}
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    place = folder / Path(entry["location"]).name  # never outside the bundle
    shape = tuple(tensor.dims)
    mapped: Array = np.memmap(place, dtype, "r", int(entry.get("offset", 0)), shape)
    return mapped
