"""uint8 outputs named by their Cast, in the file itself, without the ONNX package."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from samedge.bundle import Bundle
from samedge.errors import BundleError
from samedge.runtime.tensorrt.onnx_outputs import direct_uint8_outputs

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def model(*nodes: Any, outputs: dict[str, int]) -> bytes:
    infos = [helper.make_tensor_value_info(name, kind, [3]) for name, kind in outputs.items()]
    graph = helper.make_graph(
        list(nodes), "graph", [helper.make_tensor_value_info("x", FLOAT, [3])], infos
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def run(data: bytes) -> list[Any]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": np.array([1.5, 0.0, 7.0], np.float32)}))


def node(kind: str, source: str, result: str, **attributes: Any) -> Any:
    return helper.make_node(kind, [source], [result], name=f"{kind} of {result}", **attributes)


def test_the_identity_behind_a_cast_is_taken_out() -> None:
    data = model(
        node("Cast", "x", "whole", to=UINT8),
        node("Identity", "whole", "masks"),
        node("Cast", "whole", "back", to=FLOAT),  # another reader of what is renamed
        node("Identity", "back", "logits"),
        outputs={"masks": UINT8, "logits": FLOAT},
    )
    changed = direct_uint8_outputs(data)
    parsed = onnx.load_model_from_string(changed)
    onnx.checker.check_model(parsed, full_check=True)
    kinds = [(n.op_type, list(n.input), list(n.output)) for n in parsed.graph.node]
    assert kinds == [
        ("Cast", ["x"], ["masks"]),
        ("Cast", ["masks"], ["back"]),
        ("Identity", ["back"], ["logits"]),
    ]
    for one, other in zip(run(data), run(changed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert direct_uint8_outputs(changed) is changed


def test_what_is_right_is_left_alone() -> None:
    data = model(node("Cast", "x", "masks", to=UINT8), outputs={"masks": UINT8})
    assert direct_uint8_outputs(data) is data


def test_graphs_of_a_bundle_stay_valid(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    for name in ("encoder", "decoder"):
        data = bundle.graph(name, "fp32").read_bytes()
        parsed = onnx.load_model_from_string(direct_uint8_outputs(data))
        onnx.checker.check_model(parsed, full_check=True)
        before = onnx.load_model_from_string(data)
        assert parsed.graph.output == before.graph.output
        assert parsed.graph.initializer == before.graph.initializer
        casts = {n.output[0] for n in parsed.graph.node if n.op_type == "Cast"}
        to_bytes = {o.name for o in parsed.graph.output if o.type.tensor_type.elem_type == UINT8}
        assert to_bytes <= casts


GOOD = model(
    node("Cast", "x", "whole", to=UINT8),
    node("Identity", "whole", "masks"),
    outputs={"masks": UINT8},
)


@given(st.binary(max_size=200))
def test_noise_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(BundleError, match="not a valid ONNX file"):
        direct_uint8_outputs(b"\x3a\xff" + data[:20] + b"\xff" * 12)


@given(at=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_never_escapes(at: int, value: int, cut: bool) -> None:
    damaged = GOOD[:at] if cut else GOOD[:at] + bytes([value]) + GOOD[at + 1 :]
    with contextlib.suppress(BundleError):
        assert isinstance(direct_uint8_outputs(damaged), bytes)
