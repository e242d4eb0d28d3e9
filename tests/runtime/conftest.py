"""A bundle of two small hand-written graphs with the inputs and outputs of real ones.

Pre-processing is the real formula (so its exactness can be tested), the networks are toys whose
results follow from a line of numpy. No torch is needed to make them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samedge.bundle.manifest import GRAPHS, FileEntry, GraphEntry, Manifest, TensorEntry, Variant
from samedge.errors import BundleError
from samedge.families import SAM, SAMUS, Family
from tests.bundle.manifests import small_manifest

SIDE, GRID, LOW_RES, WIDTH, MASKS = 32, 4, 16, 8, 4
BOOL, FLOAT, INT32, INT64, UINT8 = (
    TensorProto.BOOL,
    TensorProto.FLOAT,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
)


class Graph:
    """Collects nodes and constants; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def const(self, value: Any) -> str:
        name = f"const{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        result = name or f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    def save(self, path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        def infos(items: dict[str, Any]) -> list[Any]:
            return [helper.make_tensor_value_info(n, t, s) for n, (t, s) in items.items()]

        graph = helper.make_graph(
            self.nodes, path.stem, infos(inputs), infos(outputs), self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def _pass(graph: Graph, left: str, right: str, swap: bool) -> str:
    """One exact PIL pass; `left` holds two planes: high and low coefficients."""
    planes = []
    for plane in (0, 1):
        matrix = graph.op("Gather", left, graph.const(np.int64(plane)), axis=0)
        if swap:
            matrix = graph.op("Transpose", matrix, perm=[1, 0])
        planes.append(
            graph.op("MatMul", right, matrix) if swap else graph.op("MatMul", matrix, right)
        )
    carry = graph.op("Floor", graph.op("Div", planes[1], graph.const(np.float32(2048))))
    total = graph.op("Add", graph.op("Add", planes[0], carry), graph.const(np.float32(1024)))
    return graph.op("Floor", graph.op("Div", total, graph.const(np.float32(2048))))


def write_encoder(path: Path, mean: bool, cut: str = "network_input") -> None:
    """Brightest channel -> exact resize -> 8x8 averages -> WIDTH scaled copies."""
    graph = Graph()
    pixels = graph.op("Cast", "frame", to=FLOAT)
    mapped = graph.op("MatMul", pixels, "colour")
    rounded = graph.op("Floor", graph.op("Add", mapped, graph.const(np.float32(0.5))))
    grey = graph.op("ReduceMax", rounded, axes=[2], keepdims=0)
    small = _pass(graph, "rows", _pass(graph, "cols", grey, swap=True), swap=False)
    turned = graph.op("Transpose", small, perm=[1, 0])
    small = graph.op("Where", graph.op("Cast", "rows_first", to=BOOL), turned, small)
    if mean:
        column = graph.op("Reshape", "valid_rows", graph.const(np.array([SIDE, 1], np.int64)))
        row = graph.op("Reshape", "valid_cols", graph.const(np.array([1, SIDE], np.int64)))
        small = graph.op("Sub", small, graph.op("MatMul", column, row))
    graph.op("Reshape", small, graph.const(np.array([1, 1, SIDE, SIDE], np.int64)), name=cut)
    mean_pool = graph.op("AveragePool", cut, kernel_shape=[8, 8], strides=[8, 8])
    weight = np.arange(1, WIDTH + 1, dtype=np.float32).reshape(WIDTH, 1, 1, 1) / 255
    graph.op("Conv", mean_pool, graph.const(weight), name="image_embedding")
    inputs = {
        "frame": (UINT8, ["H", "W", "C"]),
        "colour": (FLOAT, ["C", 3 if mean else 1]),
        "rows": (FLOAT, [2, SIDE, "H"]),
        "rows_first": (UINT8, [1]),
        "cols": (FLOAT, [2, SIDE, "W"]),
    }
    if mean:
        inputs |= {"valid_rows": (FLOAT, [SIDE]), "valid_cols": (FLOAT, [SIDE])}
    graph.save(path, inputs, {"image_embedding": (FLOAT, [1, WIDTH, GRID, GRID])})


def write_decoder(path: Path, masks: bool) -> None:
    """Embedding channels 0..3 enlarged, plus (x + y of all tokens) / 1000 + number of tokens."""
    graph = Graph()
    first = graph.op("Slice", "image_embedding", *map(graph.const, _SLICE))
    up = graph.op(
        "Resize", first, "", graph.const(np.array([1, 1, 4, 4], np.float32)), mode="nearest"
    )
    sums = graph.op("ReduceSum", "point_coords", graph.const(np.array([1, 2])), keepdims=1)
    ones = graph.op("Cast", graph.op("Abs", "point_labels"), to=FLOAT)
    labels = graph.op("ReduceSum", ones, graph.const(np.array([1])), keepdims=1)
    shape = graph.const(np.array([-1, 1, 1, 1], np.int64))
    offset = graph.op(
        "Add",
        graph.op("Div", graph.op("Reshape", sums, shape), graph.const(np.float32(1000))),
        graph.op("Reshape", labels, shape),
    )
    low = graph.op("Sub", graph.op("Add", up, offset), graph.const(np.float32(1.5)))
    inputs = {
        "image_embedding": (FLOAT, [1, WIDTH, GRID, GRID]),
        "point_coords": (FLOAT, ["N", "P", 2]),
        "point_labels": (INT32, ["N", "P"]),
    }
    if masks:
        flags = graph.op("Reshape", "has_mask", shape)
        low = graph.op("Add", low, graph.op("Mul", "mask_input", flags))
        low = graph.op("Gather", low, "mask_index", axis=1)
        inputs |= {
            "mask_input": (FLOAT, ["M", 1, LOW_RES, LOW_RES]),
            "has_mask": (FLOAT, ["M"]),
            "mask_index": (INT64, ["K"]),
        }
    else:
        low = graph.op("Gather", low, graph.const(np.array([0], np.int64)), axis=1)
    graph.op("Identity", low, name="low_res_logits")
    graph.op("ReduceMean", low, axes=[2, 3], keepdims=0, name="scores")
    wide = graph.op("MatMul", low, graph.op("Transpose", "mask_cols", perm=[1, 0]))
    full = graph.op("MatMul", "mask_rows", wide)
    above = graph.op("Greater", full, graph.const(np.float32(0)))
    graph.op("Cast", above, to=UINT8, name="masks")
    inputs |= {"mask_rows": (FLOAT, ["H", LOW_RES]), "mask_cols": (FLOAT, ["W", LOW_RES])}
    count = "K" if masks else 1
    outputs = {
        "masks": (UINT8, ["N", count, "H", "W"]),
        "scores": (FLOAT, ["N", count]),
        "low_res_logits": (FLOAT, ["N", count, LOW_RES, LOW_RES]),
    }
    graph.save(path, inputs, outputs)


_SLICE = (np.array([0]), np.array([MASKS]), np.array([1]), np.array([1]))


@dataclass
class FakeBundle:
    """What the runtime uses of `samedge.bundle.Bundle`."""

    path: Path
    family: Family
    manifest: Manifest
    tests: list[Any] = field(default_factory=list)

    def graph(self, name: str, precision: str) -> Path:
        path = self.path / f"{name}.{precision}.onnx"
        if _sha256(path) != self.manifest.files[path.name].sha256:
            raise BundleError(f"{path.name} was changed")
        return path

    def graph_files(self, name: str, precision: str) -> list[str]:
        return [f"{name}.{precision}.onnx"]

    @contextmanager
    def opened_graph(self, name: str, precision: str) -> Iterator[Path]:
        """The toys have operators that no exporter writes, so nothing is checked."""
        yield self.graph(name, precision)

    def selftest(self) -> list[Any]:
        return self.tests

    def tell(self, **changes: Any) -> None:
        """Other fields of the manifest."""
        self.manifest = replace(self.manifest, **changes)


def _entry(path: Path) -> GraphEntry:
    graph = onnx.load(path).graph
    inputs, outputs = (
        tuple(TensorEntry(tensor.name, "", ()) for tensor in tensors)
        for tensors in (graph.input, graph.output)
    )
    return GraphEntry(path.name, inputs, outputs, _sha256(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_bundle(folder: Path, family: Family) -> FakeBundle:
    folder.mkdir(parents=True, exist_ok=True)
    write_encoder(folder / "encoder.fp32.onnx", mean=any(family.mean))
    write_decoder(folder / "decoder.fp32.onnx", masks="mask" in family.prompts)
    manifest = small_manifest(
        title=f"toy {family.title}",
        family=family,
        variant=Variant("custom", SIDE, GRID, LOW_RES, family.channels),
        graphs={name: {"fp32": _entry(folder / f"{name}.fp32.onnx")} for name in GRAPHS},
        files={p.name: FileEntry(_sha256(p), p.stat().st_size) for p in folder.glob("*.onnx")},
    )
    return FakeBundle(folder, family, manifest)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toys")


@pytest.fixture
def samus_toy(toy_folder: Path) -> FakeBundle:
    """Point prompts only, one mask."""
    return make_bundle(toy_folder / "samus", SAMUS)


@pytest.fixture
def sam_toy(toy_folder: Path) -> FakeBundle:
    """All prompts, several masks, mean subtraction, letterbox."""
    return make_bundle(toy_folder / "sam", SAM)


@pytest.fixture
def toy_factory(tmp_path: Path) -> Callable[[Family], FakeBundle]:
    """Bundles of their own, for tests that damage them."""
    return lambda family: make_bundle(tmp_path / f"toy-{family.name}", family)


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test touches the user's engine cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SAMEDGE_CACHE", str(folder))
    return folder / "engines"


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Name of a model of `tests.runtime.cases` -> its bundle and session, made once."""
    from tests.runtime.cases import Case  # needs torch

    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = Case.of(name, tmp_path_factory.mktemp(name))
        return made[name]

    yield get
    for case in made.values():
        case.session.close()


@pytest.fixture
def frame() -> np.ndarray:
    """uint8 [40, 56], grey."""
    return np.random.default_rng(5).integers(0, 256, (40, 56), dtype=np.uint8)


@pytest.fixture
def conftest() -> ModuleType:
    """This module, for tests that write other graphs."""
    return sys.modules[__name__]
