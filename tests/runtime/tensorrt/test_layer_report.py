"""The layer report, from a builder's log and from the inspector's JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import DeviceError
from samedge.runtime.tensorrt.layer_report import EngineLayer, LayerReport


def tensor(name: str, shape: str, dtype: str) -> str:
    return (
        f"{{ Name: {name}, Dimensions: [{shape}], Strides: [1], StrideOrder: [0], Datatype: {dtype}"
        ", Format: (Linear) Row major linear format }"
    )


def line(name: str, kind: str, inputs: str, constants: str, outputs: str, nodes: list[str]) -> str:
    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {inputs}], Constants: [ {constants}], "
        f"Outputs: [ {outputs}], TacticName: {name}_0x1, StreamId: 0, Metadata: {metadata}"
    )


HALF = tensor("x", "1,1024,768", "Half")
LOG = "\n".join(
    [
        "VERBOSE some words about Layers: and more",
        "INFO Total Activation Memory: 1 bytes",
        "INFO Total Activation Memory: 43040768 bytes",
        "INFO Total Weights Memory: 260382848 bytes",
        "VERBOSE Layers:",
        line("__mye1", "shape_call", "", "", "", []),
        line("prep", "gemm", tensor("f", "2,256", "Float"), "", HALF, ["preprocess.rows/MatMul"]),
        line(
            "qkv",
            "gemm",
            HALF,
            tensor("w", "1,768,2304", "Half") + ", " + tensor("alpha", "1", "Float"),
            HALF,
            ["encoder.blocks.0.attn.qkv/MatMul"],
        ),
        line(
            "mha",
            "kgen",
            ", ".join([HALF] * 4),
            "",
            HALF,
            [
                "encoder.blocks.0.attn/MatMul_2",
                "encoder.blocks.0.attn/Softmax",
                "encoder.blocks.0.attn/Add",
                "encoder.blocks.0.attn/MatMul",
            ],
        ),
        line("softmax", "kgen", HALF, "", HALF, ["encoder.blocks.1.attn/Softmax"]),
        line("softmax", "kgen", HALF, "", HALF, ["encoder.blocks.1.attn/Softmax"]),
        line(
            "lin1",
            "runtime_fusion",
            tensor("q", "1,1024,768", "Int8"),
            tensor("w", "768,3072", "Int8"),
            HALF,
            ["encoder.blocks.0.mlp.lin1/MatMul", "encoder.blocks.0.mlp/Gelu"],
        ),
        "",
        "I/O Tensors:",
        " Name: frame, IOMode: Input",
    ]
)


def test_from_a_log() -> None:
    report = LayerReport.from_log(LOG)
    assert [layer.name for layer in report.layers] == ["prep", "qkv", "mha", "softmax", "lin1"]
    assert report.kinds == {"gemm": 2, "kgen": 2, "runtime_fusion": 1}
    assert report.attentions == (1, 2)
    assert {k: [layer.name for layer in v] for k, v in report.products.items()} == {
        "float32": ["prep"],
        "float16": ["qkv", "mha"],
        "int8": ["lin1"],
    }
    assert (report.activations, report.weights) == (43040768, 260382848)
    assert list(report.without(("preprocess",)).products) == ["float16", "int8"]


def test_the_scalars_of_a_product_are_not_its_type() -> None:
    assert LayerReport.from_log(LOG).layers[1].inputs == ("float16", "float16")


@pytest.mark.parametrize("text", ["", "Layers:\n", "I/O Tensors:", LOG.replace("I/O", "")])
def test_a_log_without_a_report(text: str) -> None:
    with pytest.raises(DeviceError, match="no layer report"):
        LayerReport.from_log(text)


@given(st.text(alphabet="Name: ,[]{}LayerTypeInputs\n", max_size=300))
def test_any_log_gives_a_report_or_an_error(text: str) -> None:
    LayerReport.from_log(f"Layers:\n{text}\nI/O Tensors:")


def test_from_the_inspector() -> None:
    report = LayerReport.from_inspector(
        {
            "Layers": [
                {
                    "Name": "fc",
                    "LayerType": "gemm",
                    "Inputs": [
                        {"Name": "x", "Dimensions": [8, 8], "Format/Datatype": "Row major FP16"}
                    ],
                    "Outputs": [{"Name": "y", "Dimensions": [8, 8], "Datatype": "Half"}],
                    "Constants": [{"Name": "a", "Dimensions": [1], "Datatype": "Float"}],
                    "Metadata": "[ONNX Layer: a/MatMul][ONNX Layer: a/Add]",
                },
                {"Name": "s", "LayerType": "shape_call", "Inputs": [], "Outputs": []},
            ]
        },
        activations=7,
    )
    assert report == LayerReport(
        (EngineLayer("fc", "gemm", ("float16",), ("float16",), ("a/MatMul", "a/Add")),), 7
    )


def test_an_inspector_without_details() -> None:
    with pytest.raises(DeviceError, match="without detailed profiling verbosity"):
        LayerReport.from_inspector({"Layers": ["a", "b"]})


def test_json_and_back() -> None:
    report = LayerReport.from_log(LOG)
    assert LayerReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "data", [{}, {"layers": [{}]}, {"layers": 3}, {"layers": [], "weights": "x"}]
)
def test_damaged_json(data: object) -> None:
    with pytest.raises(DeviceError, match="layer report is damaged"):
        LayerReport.from_json(data)  # type: ignore[arg-type]
