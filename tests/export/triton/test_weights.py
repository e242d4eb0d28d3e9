"""Constants of a plan: views of a bundle's file stand where the plan says that they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.triton.weights import Weights
from samedge.runtime.triton.plan import Weight
from tests.export.engine import folded_model

STORED = {"fp32": np.float32, "fp16": np.float16, "i8": np.int8, "i32": np.int32}


def values(weight: Weight, data: bytes) -> np.ndarray:
    """What a plan's weight stands for, element by element."""
    dtype = np.dtype(STORED[weight.stored])
    out = np.empty(weight.shape, np.float64)
    for at in np.ndindex(weight.shape):
        place = weight.position + dtype.itemsize * sum(map(int.__mul__, at, weight.strides))
        out[at] = np.frombuffer(data, dtype, 1, place)[0]
    return out * weight.scale


@pytest.mark.parametrize(
    ("key", "view"),
    [
        ("encoder.blocks.0.attn.qkv.weight", None),
        ("encoder.patch_embed.weight", lambda w: w.reshape(len(w), -1).t()),
        ("encoder.neck.conv.weight", lambda w: w.permute(2, 3, 1, 0)),
        ("encoder.patch_embed.pos_embed", lambda w: w[0, 3:]),
    ],
)
def test_views_of_the_file(key: str, view: object, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    encoder_graph(folded_model("samus")).save(path)
    weights = Weights({"encoder.onnx": path})
    array = weights.view("encoder.onnx", key, "fp16", view, 0.5)  # type: ignore[arg-type]
    expected = torch.from_numpy(np.array(OnnxGraph.read(path).arrays[key]))
    expected = expected if view is None else view(expected)  # type: ignore[operator]
    (weight,) = weights.listed
    assert array.shape == tuple(expected.shape) == weight.shape
    np.testing.assert_array_equal(values(weight, path.read_bytes()), 0.5 * expected.double())


def test_the_same_twice_is_one(tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    encoder_graph(folded_model("sam")).save(path)
    weights = Weights({"encoder.onnx": path})
    for _ in range(2):
        weights.view("encoder.onnx", "encoder.blocks.0.mlp.lin1.weight", "fp16")
        weights.constant(torch.arange(6).reshape(2, 3), "i32", "numbers")
        weights.constant(torch.ones(3), "fp16", "ones")
    assert [weight.dtype for weight in weights.listed] == ["fp16", "i32", "fp16"]
    assert len({weight.offset for weight in weights.listed}) == 3
    numbers = weights.listed[1]
    assert numbers.file == ""
    np.testing.assert_array_equal(values(numbers, bytes(weights.own)), [[0, 1, 2], [3, 4, 5]])
