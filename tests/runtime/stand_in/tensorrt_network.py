"""The stand-in's networks: an ONNX graph, seen and changed through TensorRT's calls."""

from __future__ import annotations

import weakref
from typing import Any

import onnx
from onnx import helper, numpy_helper

from tests.runtime.stand_in.core import Violation
from tests.runtime.stand_in.tensorrt_runtime import dimensions, new

_FLOATS = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}


class INetworkDefinition:
    def _begin(self, model: Any) -> None:
        """Take a parsed graph; as the real parser does, give both sides of a product one rank."""
        values = {
            "_model": model,
            "_inferred": None,
            "_marked": [],
            "_linear": set(),
            "_constants": [],
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        nodes, graph = list(model.graph.node), model.graph
        for node in nodes:
            if node.op_type == "MatMul":
                _same_rank(self, node)
        layers = [_layer(self, node) for node in graph.node]
        object.__setattr__(self, "_layers", layers)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> Any:
        return self._layers[index]

    def mark_output(self, tensor: Any) -> None:
        if tensor.is_network_output:
            raise Violation(f"'{tensor.name}' is an output already")
        kind = self._info(tensor.name)[0]
        output = helper.make_tensor_value_info(tensor.name, kind, None)
        self._model.graph.output.append(output)
        self._marked.append(tensor.name)

    def unmark_output(self, tensor: Any) -> None:
        if not tensor.is_network_output:
            raise Violation(f"'{tensor.name}' is no output")
        outputs = self._model.graph.output
        kept = [info for info in outputs if info.name != tensor.name]
        del outputs[:]
        outputs.extend(kept)
        self._marked[:] = [name for name in self._marked if name != tensor.name]

    def add_shuffle(self, input: Any) -> Any:  # noqa: A002
        first = self._add("Reshape", [input.name, ""])
        last = self._add("Transpose", [first.output[0]])
        return self._new_layer(last, "IShuffleLayer", _first=first)

    def add_elementwise(self, input1: Any, input2: Any, op: Any) -> Any:
        known = self._world.module.ElementWiseOperation
        kind = {known.PROD: "Mul", known.SUM: "Add"}.get(op)
        if kind is None:
            raise Violation(f"the stand-in does not know {op}")
        node = self._add(kind, [input1.name, input2.name])
        return self._new_layer(node, "IElementWiseLayer")

    def add_cast(self, input: Any, to_type: Any) -> Any:  # noqa: A002
        kinds = {self._world.module.DataType[name]: kind for kind, name in _FLOATS.items()}
        node = self._add("Cast", [input.name], to=kinds[to_type])
        sides = self._info(input.name)[1]
        self._inferred[node.output[0]] = (kinds[to_type], sides)
        return self._new_layer(node, "ICastLayer")

    def add_constant(self, shape: Any, weights: Any) -> Any:
        """The library reads the numbers when it builds, wherever they are by then."""
        node = self._add("Constant", [])
        self._constants.append((node, shape.sizes, weakref.ref(weights)))
        return self._new_layer(node, "IConstantLayer")

    def add_slice(self, input: Any, start: Any, shape: Any, stride: Any) -> Any:  # noqa: A002
        """Zeros where it begins before the first element or ends behind the last one."""
        sides = self._info(input.name)[1]
        ends = [
            a + (n - 1) * s + 1
            for a, n, s in zip(start.sizes, shape.sizes, stride.sizes, strict=True)
        ]
        before = [max(0, -a) for a in start.sizes]
        behind = [max(0, end - side) for end, side in zip(ends, sides, strict=True)]
        pad = self._add("Pad", [input.name, self._numbers([*before, *behind])])
        moved = [
            [at + more for at, more in zip(x, before, strict=True)] for x in (start.sizes, ends)
        ]
        axes = self._numbers(list(range(len(sides))))
        numbers = [*map(self._numbers, moved), axes, self._numbers(stride.sizes)]
        node = self._add("Slice", [pad.output[0], *numbers])
        return self._new_layer(node, "ISliceLayer", _first=pad, _beyond=any((*before, *behind)))

    def add_reduce(self, input: Any, op: Any, axes: int, keep_dims: bool) -> Any:  # noqa: A002
        if op != self._world.module.ReduceOperation.SUM:
            raise Violation(f"the stand-in does not know {op}")
        numbers = [axis for axis in range(8) if axes >> axis & 1]
        node = self._add("ReduceSum", [input.name, self._numbers(numbers)], keepdims=int(keep_dims))
        return self._new_layer(node, "IReduceLayer")

    def _new_layer(self, node: Any, kind: str, **values: Any) -> Any:
        made = _layer(self, node, kind, **values)
        self._layers.append(made)
        return made

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> Any:
        """A new node; its layer is the caller's to make."""
        name = f"(Unnamed Layer* {len(self._model.graph.node)})"
        node = helper.make_node(kind, inputs, [f"{name}_output"], name=name, **attributes)
        self._model.graph.node.append(node)
        return self._model.graph.node[-1]

    def _numbers(self, values: list[int]) -> str:
        graph = self._model.graph
        name = f"numbers {len(graph.initializer)}"
        tensor = helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)
        graph.initializer.append(tensor)
        return name

    def _info(self, name: str) -> tuple[int, list[int]]:
        """Element type and shape of a tensor of the parsed graph; -1 where a size is free."""
        if self._inferred is None:
            graph = onnx.shape_inference.infer_shapes(self._model).graph
            found = {
                info.name: (
                    info.type.tensor_type.elem_type,
                    [side if isinstance(side, int) else -1 for side in dimensions(info)],
                )
                for info in (*graph.value_info, *graph.input, *graph.output)
            }
            found.update((t.name, (t.data_type, list(t.dims))) for t in graph.initializer)
            object.__setattr__(self, "_inferred", found)
        found = self._inferred
        return found.get(name, (0, []))

    def _renamed(self, old: str, name: str) -> None:
        graph = self._model.graph
        for node in graph.node:
            for names in (node.input, node.output):
                for at, value in enumerate(names):
                    if value == old:
                        names[at] = name
        for info in graph.output:
            if info.name == old:
                info.name = name
        self._marked[:] = [name if marked == old else marked for marked in self._marked]
        if old in self._linear:
            self._linear.remove(old)
            self._linear.add(name)

    def _finished(self) -> Any:
        """The model in an order in which it can run, without what nothing needs."""
        if not self._linear.issuperset(self._marked):
            raise Violation("an output may come in any format")
        for node, shape, weights in self._constants:
            if weights() is None:
                raise Violation("the weights of a constant were freed before the build")
            value = numpy_helper.from_array(weights().reshape(shape))
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", value))
        if any(isinstance(x, ISliceLayer) and not x._fits() for x in self._layers):
            raise Violation("a slice reads beyond the edge, and is not told what is there")
        graph = self._model.graph
        maker = {value: node for node in graph.node for value in node.output}
        done: dict[int, Any] = {}
        waiting = [(maker[info.name], False) for info in graph.output if info.name in maker]
        while waiting:
            node, ready = waiting.pop()
            if ready:
                done.setdefault(id(node), node)
            elif id(node) not in done:
                waiting.append((node, True))
                waiting += [(maker[value], False) for value in node.input if value in maker]
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in done.values()]
        del graph.node[:]
        graph.node.extend(kept)
        return self._model


def _same_rank(network: Any, node: Any) -> None:
    ranks = [len(network._info(name)[1]) for name in node.input]
    short = 0 if ranks[0] < ranks[1] else 1
    if ranks[0] == ranks[1] or min(ranks) < 2:
        return
    axes = network._numbers(list(range(abs(ranks[0] - ranks[1]))))
    kind, shape = network._info(node.input[short])
    wide = network._add("Unsqueeze", [node.input[short], axes]).output[0]
    network._inferred[wide] = (kind, [1] * abs(ranks[0] - ranks[1]) + shape)
    node.input[short] = wide


def _layer(network: Any, node: Any, kind: str = "ILayer", **values: Any) -> Any:
    return new(network._world, kind, _network=network, _node=node, **values)


class ILayer:
    @property
    def type(self) -> Any:
        known = self._network._world.module.LayerType
        kinds = {"MatMul": known.MATRIX_MULTIPLY, "Conv": known.CONVOLUTION}
        return kinds.get(self._node.op_type)

    @property
    def name(self) -> str:
        return str(self._node.name)

    @name.setter
    def name(self, value: str) -> None:
        self._node.name = value

    @property
    def num_inputs(self) -> int:
        return len(self._node.input)

    @property
    def num_outputs(self) -> int:
        return len(self._node.output)

    def get_input(self, index: int) -> Any:
        return _tensor(self._network, self._node.input[index])

    def get_output(self, index: int) -> Any:
        return _tensor(self._network, self._node.output[index])

    def set_input(self, index: int, tensor: Any) -> None:
        self._node.input[index] = tensor.name


class ICastLayer(ILayer):
    pass


class IConstantLayer(ILayer):
    pass


class IConvolutionLayer(ILayer):
    """Constant weights are values of the layer, others its second input."""

    @property
    def num_inputs(self) -> int:
        return 1 if self._array(1) is not None else len(self._node.input)

    @property
    def num_groups(self) -> int:
        return int(self._attribute("group", 1))

    @property
    def num_output_maps(self) -> int:
        return int(self._network._info(self._node.input[1])[1][0])

    @property
    def kernel(self) -> Any:
        return self._array(1).ravel()

    @property
    def bias(self) -> Any:
        return self._array(2)

    @property
    def kernel_size_nd(self) -> Any:
        return tuple(self._attribute("kernel_shape", ()))

    @property
    def stride_nd(self) -> Any:
        return tuple(self._attribute("strides", (1, 1)))

    @property
    def pre_padding(self) -> Any:
        return tuple(self._attribute("pads", (0, 0, 0, 0))[:2])

    def _attribute(self, name: str, default: Any) -> Any:
        found = (helper.get_attribute_value(a) for a in self._node.attribute if a.name == name)
        return next(found, default)

    def _array(self, index: int) -> Any:
        initialisers = self._network._model.graph.initializer
        found = (t for t in initialisers if t.name == self._node.input[index])
        tensor = next(found, None)
        return None if tensor is None else numpy_helper.to_array(tensor)


class IElementWiseLayer(ILayer):
    pass


class IReduceLayer(ILayer):
    pass


class IMatrixMultiplyLayer(ILayer):
    @property
    def op0(self) -> Any:
        return self._network._world.module.MatrixOperation.NONE

    @property
    def op1(self) -> Any:
        return self._network._world.module.MatrixOperation.NONE


class TwoNodes(ILayer):
    """A layer of the library that is two nodes of ONNX."""

    @property
    def num_inputs(self) -> int:
        return 1

    def get_input(self, index: int) -> Any:
        return _tensor(self._network, self._first.input[index])

    def set_input(self, index: int, tensor: Any) -> None:
        self._first.input[index] = tensor.name


class IShuffleLayer(TwoNodes):
    """A Reshape and a Transpose."""

    def _set_sizes(self, value: Any) -> None:
        self._first.input[1] = self._network._numbers(value.sizes)

    def _set_order(self, value: Any) -> None:
        self._node.attribute.append(helper.make_attribute("perm", value.order))

    reshape_dims = property(None, _set_sizes)
    second_transpose = property(None, _set_order)


class ISliceLayer(TwoNodes):
    """A Pad and a Slice; `mode` says what is beyond the edge."""

    _mode: Any = None

    def _set_mode(self, value: Any) -> None:
        object.__setattr__(self, "_mode", value)

    def _fits(self) -> bool:
        return not self._beyond or self._mode == self._network._world.module.SampleMode.FILL

    mode = property(None, _set_mode)


class Dims:
    def __init__(self, shape: Any) -> None:
        self.sizes = list(shape)


class Permutation:
    def __init__(self, perm: Any) -> None:
        self.order = list(perm)


def _tensor(network: Any, name: str) -> Any:
    return new(network._world, "ITensor", _network=network, _name=name) if name else None


class ITensor:
    @property
    def name(self) -> str:
        return str(self._name)

    @name.setter
    def name(self, value: str) -> None:
        self._network._renamed(self._name, value)
        object.__setattr__(self, "_name", value)

    @property
    def dtype(self) -> Any:
        kind = _FLOATS.get(self._network._info(self._name)[0])
        return None if kind is None else self._network._world.module.DataType[kind]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._network._info(self._name)[1])

    @property
    def is_shape_tensor(self) -> bool:
        return False

    @property
    def is_network_output(self) -> bool:
        return any(info.name == self._name for info in self._network._model.graph.output)

    def _set_formats(self, value: int) -> None:
        if not self.is_network_output:
            raise Violation(f"'{self._name}' is no output, and has no formats to choose from")
        if value != 1 << int(self._network._world.module.TensorFormat.LINEAR):
            raise Violation(f"samedge reads linear tensors only, not {value:b}")
        self._network._linear.add(self._name)

    allowed_formats = property(None, _set_formats)


NETWORK_CLASSES = (
    Dims,
    ICastLayer,
    IConstantLayer,
    IConvolutionLayer,
    IElementWiseLayer,
    ILayer,
    IMatrixMultiplyLayer,
    INetworkDefinition,
    IReduceLayer,
    IShuffleLayer,
    ISliceLayer,
    ITensor,
    Permutation,
)
