"""An ONNX file written straight from its arrays, without a second copy of the weights in memory.

onnx's own way holds a model two to three times: in its tensors, in the graph that they are copied
into, and in the bytes of the file. Here a file is the graph, whose bytes onnx makes, and the
weights, which are written from where they lie. Below a protobuf's limit of 2 GB all of it is one
file, the very bytes that `onnx.save` would write; beyond it the large weights stand beside it, in
NAME.onnx.data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from samedge.machine.needs import EXTERNAL_ABOVE

_ALIGNED = 4096  # so that engines can map each of them into memory
_OUTSIDE_FROM = 1 << 16  # bytes; shapes, axes and biases stay in the graph
# Tag bytes (number << 3 | 2, "length-delimited") of the three fields that are written by hand:
# ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = b"\x3a", b"\x2a", b"\x4a"

Array = NDArray[Any]
Arrays = Mapping[str, Array]


def save(model: onnx.ModelProto, arrays: Arrays, path: Path) -> None:
    """Write a model whose initialisers are `arrays` (C-contiguous, by name).

    Args:
        model: without initialisers. It gets them where they are not part of the file itself.
        arrays: name -> values, in the order in which they are to stand.
        path: of the graph. The file with large weights, if there is one, has `.data` behind its
            name.
    """
    assert not len(model.graph.initializer)
    if sum(array.nbytes for array in arrays.values()) < EXTERNAL_ABOVE:
        with path.open("wb") as file:
            _write_model(file, model, arrays)
        return
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        for name, array in arrays.items():
            model.graph.initializer.append(_outside(file, name, array, data.name))
    path.write_bytes(model.SerializeToString())


def with_initialisers(model: onnx.ModelProto, arrays: Arrays) -> onnx.ModelProto:
    """The same in memory, for small models: `model` with all its weights inside."""
    for name, array in arrays.items():
        model.graph.initializer.append(_inside(name, array))
    return model


def _header(name: str, array: Array) -> TensorProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return TensorProto(name=name, dims=array.shape, data_type=kind)


def _inside(name: str, array: Array) -> TensorProto:
    tensor = _header(name, array)
    tensor.raw_data = _bytes(array).tobytes()
    return tensor


def _outside(file: BinaryIO, name: str, array: Array, location: str) -> TensorProto:
    """The tensor, after its values were written to `file`; small ones keep them."""
    if array.nbytes < _OUTSIDE_FROM:
        return _inside(name, array)
    file.write(bytes(-file.tell() % _ALIGNED))
    tensor = _header(name, array)
    tensor.data_location = TensorProto.EXTERNAL
    places = {"location": location, "offset": file.tell(), "length": array.nbytes}
    for key, value in places.items():
        tensor.external_data.add(key=key, value=str(value))
    file.write(_bytes(array))
    return tensor


def _bytes(array: Array) -> memoryview:
    """The values as they stand in a file, little-endian; without a copy on usual machines."""
    flat = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1)
    return flat.view(np.uint8).data


def _write_model(file: BinaryIO, model: onnx.ModelProto, arrays: Arrays) -> None:
    """All in one file. A protobuf orders fields by their numbers, so do these pieces."""
    last = ("opset_import", "metadata_props")
    behind = onnx.ModelProto(**{name: getattr(model, name) for name in last})
    top = onnx.ModelProto()
    top.CopyFrom(model)
    for name in ("graph", *last):
        top.ClearField(name)
    ports = onnx.GraphProto(input=model.graph.input, output=model.graph.output)
    nodes = onnx.GraphProto(name=model.graph.name, node=model.graph.node)
    before, after = nodes.SerializeToString(), ports.SerializeToString()
    heads = {name: _field(name, array) for name, array in arrays.items()}
    weights = sum(len(head) + arrays[name].nbytes for name, head in heads.items())
    file.write(top.SerializeToString())
    file.write(_GRAPH + _varint(len(before) + weights + len(after)))
    file.write(before)
    for name, head in heads.items():
        file.write(head)
        file.write(_bytes(arrays[name]))
    file.write(after + behind.SerializeToString())


def _field(name: str, array: Array) -> bytes:
    """A field `initializer` of a graph, up to where the values begin."""
    header: bytes = _header(name, array).SerializeToString()
    head = header + _RAW_DATA + _varint(array.nbytes)
    return _INITIALIZER + _varint(len(head) + array.nbytes) + head


def _varint(value: int) -> bytes:
    """A protobuf's variable-length integer: seven bits a byte, the lowest first."""
    return bytes(_sevens(value))


def _sevens(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
