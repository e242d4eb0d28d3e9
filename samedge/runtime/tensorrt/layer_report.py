"""TensorRT's layer report, parsed: which kernels an engine is made of, and what each works on.

Two sources say the same. The builder writes the report into its verbose log, which is all there is
on a machine without a GPU; the engine inspector gives it as JSON where there is one. Layers carry
the names of the ONNX nodes that went into them, so attention and matrix products are found by
those, not by the names of kernels, which change from version to version.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from samedge.errors import DeviceError

_HEAD = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: (?P<rest>.*)")
_TENSOR = re.compile(r"Name: (.*?), Dimensions: \[(.*?)\].*?Datatype: (\w+)")
_NODE = re.compile(r"\[ONNX Layer: (.*?)\]")
_PARTS = ("Constants: [", "Outputs: [", "TacticName: ", "Metadata: ")
_BYTES = {
    "activations": re.compile(r"Total Activation Memory: (\d+)"),
    "weights": re.compile(r"Total Weights Memory: (\d+)"),
}
# No kernels: shapes computed on the host, and how streams wait for each other.
_HOST_ONLY = frozenset(("shape_call", "noop", "constant", "signal", "wait"))
_TYPES = {
    "float": "float32", "fp32": "float32", "half": "float16", "fp16": "float16", "int8": "int8",
    "bfloat16": "bfloat16", "bf16": "bfloat16", "uint8": "uint8", "int32": "int32",
    "int64": "int64", "bool": "bool", "fp8": "float8",
}  # fmt: skip
_PRODUCTS = ("MatMul", "Conv", "Gemm")


@dataclass(frozen=True)
class EngineLayer:
    """One kernel.

    Attributes:
        name: the library's.
        kind: the library's word for what it is ("gemm", "kgen", "correlation").
        inputs, outputs: types, "float16" and so on; constants count as inputs.
        nodes: names of the ONNX nodes in it.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def operations(self) -> Counter[str]:
        """ONNX operations in it, by their names' last part."""
        return Counter(node.rpartition("/")[2].partition("_")[0] for node in self.nodes)

    @property
    def is_product(self) -> bool:
        """Whether it multiplies matrices or convolves."""
        return any(self.operations[kind] for kind in _PRODUCTS)

    @property
    def is_attention(self) -> bool:
        """Whether both products of an attention and its softmax are in it."""
        return self.operations["Softmax"] >= 1 and self.operations["MatMul"] >= 2

    @property
    def precision(self) -> str:
        """The type that it multiplies in: the narrowest of its inputs."""
        for dtype in ("int8", "float8", "float16", "bfloat16", "float32"):
            if dtype in self.inputs:
                return dtype
        return self.inputs[0] if self.inputs else ""


@dataclass(frozen=True)
class LayerReport:
    """All kernels of an engine, in their order.

    Attributes:
        layers: without those that only compute shapes on the host.
        activations: bytes of working memory; None if the source does not say.
        weights: bytes; likewise.
    """

    layers: tuple[EngineLayer, ...]
    activations: int | None = None
    weights: int | None = None

    @classmethod
    def from_log(cls, text: str) -> LayerReport:
        """Parse the verbose log of a build with detailed profiling verbosity.

        Raises:
            DeviceError: there is no layer report in it.
        """
        start = text.rfind("Layers:\n")
        end = text.find("I/O Tensors:", start)
        if start < 0 or end < 0:
            raise DeviceError(
                "the builder's log has no layer report; build with detailed profiling verbosity"
            )
        found: dict[str, EngineLayer] = {}
        for line in text[start:end].splitlines():
            layer = _parse_line(line)
            if layer is not None:
                found.setdefault(layer.name, layer)  # a layer of several tactics is listed twice
        sizes = {}
        for key, pattern in _BYTES.items():
            said = pattern.findall(text)
            sizes[key] = int(said[-1]) if said else None
        return cls(_kernels(found.values()), **sizes)

    @classmethod
    def from_inspector(
        cls, report: Mapping[str, Any], activations: int | None = None
    ) -> LayerReport:
        """Take the engine inspector's JSON, parsed.

        Args:
            report: {"Layers": [...]}; its entries are objects where the engine was built with
                detailed verbosity, mere names where not.
            activations: what the engine says its working memory is, bytes.

        Raises:
            DeviceError: it has no details.
        """
        rows = report.get("Layers", [])
        if not all(isinstance(row, dict) for row in rows):
            raise DeviceError(
                "the engine was built without detailed profiling verbosity, so it cannot tell what "
                "its layers are; build it again with: samedge build"
            )
        return cls(_kernels(map(_parse_row, rows)), activations)

    @property
    def kinds(self) -> Counter[str]:
        """How many kernels of each kind."""
        return Counter(layer.kind for layer in self.layers)

    @property
    def attentions(self) -> tuple[int, int]:
        """Attentions that are one kernel, and all of them (counted by their softmax)."""
        fused = sum(layer.operations["Softmax"] for layer in self.layers if layer.is_attention)
        return fused, sum(layer.operations["Softmax"] for layer in self.layers)

    @property
    def products(self) -> dict[str, list[EngineLayer]]:
        """Kernels that multiply, by the type that they multiply in."""
        found: dict[str, list[EngineLayer]] = {}
        for layer in self.layers:
            if layer.is_product:
                found.setdefault(layer.precision, []).append(layer)
        return found

    def without(self, paths: tuple[str, ...]) -> LayerReport:
        """The report without kernels all of whose nodes are below one of `paths`."""
        kept = tuple(
            layer for layer in self.layers
            if not layer.nodes or not all(node.startswith(paths) for node in layer.nodes)
        )  # fmt: skip
        return LayerReport(kept, self.activations, self.weights)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for an engine's record."""
        return {
            "activations": self.activations,
            "weights": self.weights,
            "layers": [asdict(layer) for layer in self.layers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerReport:
        """What `to_json` gave.

        Raises:
            DeviceError: it is something else.
        """
        try:
            layers = tuple(
                EngineLayer(
                    str(row["name"]),
                    str(row["kind"]),
                    *(tuple(map(str, row[key])) for key in ("inputs", "outputs", "nodes")),
                )
                for row in data["layers"]
            )
            sizes = [data[key] if data[key] is None else int(data[key]) for key in _BYTES]
        except (KeyError, TypeError, ValueError) as error:
            raise DeviceError(f"the engine's layer report is damaged ({error!r})") from error
        return cls(layers, *sizes)


def _kernels(layers: Iterable[EngineLayer]) -> tuple[EngineLayer, ...]:
    return tuple(layer for layer in layers if layer.kind.lower() not in _HOST_ONLY)


def _parse_line(line: str) -> EngineLayer | None:
    head = _HEAD.search(line)
    if head is None:
        return None
    cut = [head["rest"]]
    for mark in _PARTS:
        before, _, after = cut.pop().partition(mark)
        cut += [before, after]
    inputs, constants, outputs, _tactic, metadata = cut
    return EngineLayer(
        head["name"],
        head["kind"],
        tuple(_types(inputs)) + tuple(_types(constants)),
        tuple(_types(outputs)),
        tuple(_NODE.findall(metadata)),
    )


def _types(text: str) -> list[str]:
    """Types of the tensors in a list, without the scalars that products are scaled by."""
    return [_type_name(dtype) for _, shape, dtype in _TENSOR.findall(text) if shape.strip() != "1"]


def _parse_row(row: Mapping[str, Any]) -> EngineLayer:
    def types(key: str) -> tuple[str, ...]:
        entries = row.get(key) or []
        return tuple(
            _type_name(str(entry.get("Datatype") or entry.get("Format/Datatype", "")))
            for entry in entries
            if isinstance(entry, dict) and list(entry.get("Dimensions", [])) != [1]
        )

    return EngineLayer(
        str(row.get("Name", "")),
        str(row.get("LayerType", "")),
        types("Inputs") + types("Constants"),
        types("Outputs"),
        tuple(_NODE.findall(str(row.get("Metadata", "")))),
    )


def _type_name(said: str) -> str:
    """The type in the library's words, which may name a memory layout as well."""
    for word in re.findall(r"[a-z0-9]+", said.lower()):
        if word in _TYPES:
            return _TYPES[word]
    return said
