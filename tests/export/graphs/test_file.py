"""Files written straight from arrays: the bytes of onnx's own, or the same with weights beside."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from samedge.export.graphs import file as onnx_file
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.encoder import encoder_graph
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import encoder_inputs
from tests.export.engine import folded_model, open_graph, random_frame

EDGES = st.sampled_from([0, 1, 127, 128, 129, 16_383, 16_384, 2**31 - 1, 2**31, 2**35 + 5])


@given(EDGES | st.integers(0, 2**40))
def test_varints_are_protobuf_s(value: int) -> None:
    """ir_version is field 1, a plain number: tag 08, then the varint."""
    expected = onnx.ModelProto(ir_version=value).SerializeToString()
    assert b"\x08" + onnx_file._varint(value) == expected


@pytest.mark.parametrize("name", ["sam", "samus"])
def test_one_file_has_the_bytes_of_onnx_s_own(name: str, tmp_path: Path) -> None:
    graph = encoder_graph(folded_model(name))
    graph.save(tmp_path / "ours.onnx")
    onnx.save(graph.model(), tmp_path / "theirs.onnx")
    assert (tmp_path / "ours.onnx").read_bytes() == (tmp_path / "theirs.onnx").read_bytes()


def small_graph(arrays: dict[str, Any]) -> GraphBuilder:
    """Their sum."""
    g = GraphBuilder("test")
    x = g.input("x", "float32", ("n",))
    for name, array in arrays.items():
        x = g.add(x, g.weight(name, array), name)
    g.output(x, "y", "float32", ("n",))
    return g


@pytest.mark.parametrize("limit", [0, onnx_file.EXTERNAL_ABOVE])
def test_arrays_of_every_kind(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scalars, transposed views, read-only ones, many dimensions, and a name that is not ASCII."""
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", limit)
    monkeypatch.setattr(onnx_file, "_OUTSIDE_FROM", 16)
    values = np.arange(24, dtype=np.float32)
    values.flags.writeable = False
    arrays = {
        "scalar": np.float32(3).reshape(()),
        "turned": values.reshape(4, 6).T,
        "deep": values.reshape(1, 2, 3, 4),
        "größe": np.arange(7),
        "bytes": np.arange(200, dtype=np.uint8),
        "one": np.ones(1, np.int32),
    }
    model = small_graph(arrays).save(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx.data").exists() == (limit == 0)
    assert [v.name for v in model.graph.input] == ["x"]
    stored = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "a.onnx").graph.initializer
    }
    assert list(stored) == list(arrays)
    for name, array in arrays.items():
        assert stored[name].dtype == array.dtype
        np.testing.assert_array_equal(stored[name], array)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The encoder of a tiny SAM with its large weights beside the graph."""
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", 0)
    monkeypatch.setattr(onnx_file, "_OUTSIDE_FROM", 4096)
    encoder_graph(folded_model("sam")).save(tmp_path / "beside.onnx")
    return tmp_path / "beside.onnx"


def test_weights_beside_the_graph(beside: Path) -> None:
    """The file names its neighbour without a folder; weights begin where memory pages do."""
    onnx.checker.check_model(str(beside), full_check=True)
    graph = onnx.load(beside, load_external_data=False).graph
    data = beside.with_name("beside.onnx.data").read_bytes()
    assert len(data) > 64 << 10
    outside = 0
    for tensor, whole in zip(
        graph.initializer, encoder_graph(folded_model("sam")).model().graph.initializer, strict=True
    ):
        assert (tensor.name, tensor.dims, tensor.data_type) == (
            whole.name, whole.dims, whole.data_type,
        )  # fmt: skip
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            assert len(tensor.raw_data) < 4096
            assert tensor.raw_data == whole.raw_data
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        assert place["location"] == "beside.onnx.data"
        start, length = int(place["offset"]), int(place["length"])
        assert start % 4096 == 0
        assert data[start : start + length] == whole.raw_data
        outside += length
    assert outside > 64 << 10


def test_the_graph_is_the_same_wherever_its_weights_are(beside: Path) -> None:
    graph = onnx.load(beside).graph
    inside = encoder_graph(folded_model("sam")).model().graph
    for field in ("name", "node", "input", "output"):
        assert getattr(graph, field) == getattr(inside, field)
    for ours, theirs in zip(graph.initializer, inside.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))


def test_onnx_runtime_gives_the_same_bits(beside: Path) -> None:
    folded = folded_model("sam")
    v = folded.variant
    geometry = frame_geometry(folded.family, 50, 70, None, v.input_size, v.low_res)
    inputs, pixels = encoder_inputs(folded.family, geometry, 3)
    pixels[:] = random_frame(50, 70, 3)
    graph = encoder_graph(folded).model()
    outputs = [open_graph(model).run(None, inputs)[0] for model in (beside, graph)]
    np.testing.assert_array_equal(*outputs)


def test_writing_makes_no_copies() -> None:
    """What is written is the memory of the weights themselves."""
    values = np.ones((64, 64), np.float32)
    assert np.shares_memory(np.frombuffer(onnx_file._bytes(values), np.uint8), values)


@pytest.mark.parametrize("limit", [0, onnx_file.EXTERNAL_ABOVE])
def test_a_disk_that_fills_up_is_told(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", limit)
    graph = small_graph({"a": np.ones(1 << 18, np.float32)})
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "a.onnx").symlink_to(full)
    (tmp_path / "a.onnx.data").symlink_to(full)
    with pytest.raises(OSError) as caught:
        graph.save(tmp_path / "a.onnx")
    assert caught.value.errno == errno.ENOSPC
