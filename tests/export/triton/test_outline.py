"""What is traced from sizes alone is what is traced from a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.bundle import Bundle
from samedge.export.triton.outline import outline
from samedge.export.triton.trace import opened, trace
from samedge.export.triton.weights import Weights
from samedge.fold.sizes import folded_sizes, unfolded_sizes
from samedge.kernels.launch import Launch
from samedge.models import tiny_samus_config


def kernel_of(_launch: Launch) -> int:
    return 0


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_same_programs(tiny_bundle: Path, precision: str) -> None:
    sizes = outline(folded_sizes(unfolded_sizes(tiny_samus_config())))
    with opened(Bundle.open(tiny_bundle), precision) as real:
        expected = trace(real, precision, 87, 4096, kernel_of)
    found = trace(sizes, precision, 87, 4096, kernel_of)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.graph == other.graph
        assert one.limits == other.limits
        assert one.inputs == other.inputs
        assert one.outputs == other.outputs
        for a, b in zip(one.steps, other.steps, strict=True):
            assert (a.label, a.grid, a.flops) == (b.label, b.grid, b.flops)
            assert (a.reads, a.writes) == (b.reads, b.writes)


def test_weights_have_places_of_their_own() -> None:
    weights = Weights.of_shapes({"a.onnx": {"x": (2, 3), "y": (2, 3)}, "b.onnx": {"x": (2, 3)}})
    names = ("a.onnx", "x"), ("a.onnx", "y"), ("b.onnx", "x"), ("a.onnx", "x")
    arrays = [weights.view(file, key, "fp16") for file, key in names]
    assert arrays[0] == arrays[3]
    assert len({array.storage for array in arrays}) == 3
    assert weights.stored("a.onnx", "y") == "fp32"
    assert weights.stored("a.onnx", "z") == ""
