"""A small builder of ONNX graphs with readable names.

A value is known by the name of the node that makes it, a node by the module path it belongs to
and its operation (`encoder.blocks.0.attn.qkv/MatMul`), an initialiser by its key in FoldedModel's
state dict. Layer reports, INT8 placement and the torch backend all speak of the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from samedge.bundle.attention_sizes import ATTENTION, AttentionSizes, attention_to_text
from samedge.export.graphs import file as onnx_file
from samedge.machine.needs import HALF_FROM

OPSET = 20  # the first with Gelu; TensorRT 10.3, OpenVINO and ONNX Runtime all read it
IR_VERSION = 10

_DTYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32,
           "int64": TensorProto.INT64}  # fmt: skip

Array = NDArray[Any]


class GraphBuilder:
    """One ONNX graph under construction.

    Args:
        name: of the graph.
        half: store large float32 weights that are all float16 numbers as such, each with a Cast
            behind it; nothing is rounded here.
    """

    def __init__(self, name: str, half: bool = False) -> None:
        self.name = name
        self._half = half
        self._casts: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, Array] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._used: dict[str, int] = {}
        self._attention: dict[str, AttentionSizes] = {}

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare a graph input; names in the shape are dynamic sizes."""
        self._inputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], list(shape)))
        return name

    def output(self, value: str, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare `value` as the graph output `name`.

        Bytes get the name from the very node that makes them: TensorRT knows uint8 at the ends of a
        network only, and an Identity that renames them has some inside. Numbers are named by an
        Identity, so that half precision has a place to end at.
        """
        if dtype == "uint8":
            self._rename(value, name)
        else:
            self.identity(value, name)
        self._outputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], list(shape)))

    def _rename(self, value: str, name: str) -> None:
        for node in self.nodes:
            for values in (node.input, node.output):
                for at, known in enumerate(values):
                    if known == value:
                        values[at] = name

    def weight(self, key: str, array: Array) -> str:
        """An initialiser under a state-dict key; the same key twice is the same initialiser."""
        known = self.arrays.get(key)
        assert known is None or known is array or np.array_equal(known, array), key
        if self._half and array.dtype == np.float32 and array.size >= HALF_FROM:
            half = array.astype(np.float16)
            if np.array_equal(half, array):
                self.arrays[key] = np.ascontiguousarray(half)
                return self._cast(key)
        self.arrays[key] = np.ascontiguousarray(array)
        return key

    def _cast(self, key: str) -> str:
        """The float32 values of a weight that is stored in 16 bits."""
        if key not in self._casts:
            self._casts[key] = str(self.op("Cast", [key], key, to=TensorProto.FLOAT))
        return self._casts[key]

    def const(self, array: Array | np.generic | Sequence[int], hint: str) -> str:
        """A small constant (shape, axis, index); integers become int64."""
        value = np.asarray(array)
        if value.dtype.kind == "i":
            value = value.astype(np.int64)
        key = f"const/{hint}"
        while key in self.arrays and not _same(self.arrays[key], value):
            key += "'"
        self.arrays[key] = value
        return key

    def op(
        self, kind: str, inputs: Sequence[str], path: str, outputs: int = 1, **attrs: Any
    ) -> Any:
        """Add a node; returns its output name, or a list of them where `outputs` > 1."""
        base = f"{path}/{kind}"
        count = self._used[base] = self._used.get(base, 0) + 1
        name = base if count == 1 else f"{base}_{count}"
        names = [name] if outputs == 1 else [f"{name}:{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attrs))
        return names[0] if outputs == 1 else names

    def attention(self, path: str, sizes: AttentionSizes) -> None:
        """Record a block's sizes in the file's metadata."""
        self._attention[path] = sizes

    def identity(self, value: str, name: str) -> str:
        """Give `value` a second name that reports and engines can refer to."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"{self.name}.{name}"))
        return name

    # Shorthands of what the networks use all the time ------------------------------------------

    def reshape(self, x: str, shape: Sequence[int], path: str) -> str:
        """Reshape; 0 keeps a size, -1 is inferred."""
        hint = "shape_" + "_".join(map(str, shape))
        return str(self.op("Reshape", [x, self.const(list(shape), hint)], path))

    def transpose(self, x: str, perm: Sequence[int], path: str) -> str:
        """Transpose to the axis order `perm`."""
        return str(self.op("Transpose", [x], path, perm=list(perm)))

    def add(self, a: str, b: str, path: str) -> str:
        """Elementwise a + b."""
        return str(self.op("Add", [a, b], path))

    def mul(self, a: str, b: str, path: str) -> str:
        """Elementwise a * b."""
        return str(self.op("Mul", [a, b], path))

    def matmul(self, a: str, b: str, path: str) -> str:
        """Matrix product over the last two axes."""
        return str(self.op("MatMul", [a, b], path))

    def gelu(self, x: str, path: str) -> str:
        """Exact (erf) GELU."""
        return str(self.op("Gelu", [x], path))

    def model(self) -> onnx.ModelProto:
        """The finished model with its weights inside, for small ones; `save` needs no copies."""
        return onnx_file.with_initialisers(self.outline(), self.arrays)

    def save(self, path: Path) -> onnx.ModelProto:
        """Write the finished model; weights beyond 2 GB go to `NAME.onnx.data` beside it.

        Returns:
            the model without the weights that are in the file or beside it.
        """
        model = self.outline()
        onnx_file.save(model, self.arrays, path)
        return model

    def outline(self) -> onnx.ModelProto:
        """The finished model without its weights."""
        model = helper.make_model(
            helper.make_graph(self.nodes, self.name, self._inputs, self._outputs),
            producer_name="samedge",
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        model.ir_version = IR_VERSION
        if self._attention:
            helper.set_model_props(model, {ATTENTION: attention_to_text(self._attention)})
        return model


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
