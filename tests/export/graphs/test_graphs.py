"""What stands in the ONNX files: valid graphs, readable names, nothing about this machine."""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from samedge.bundle.attention_sizes import ATTENTION
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.export.graphs import builder as graph_module
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.fold import FoldedModel
from samedge.fold.tiny_layers import FoldedTinyEncoder
from tests.export.engine import MODELS, folded_model

BUILDERS = {"encoder": encoder_graph, "decoder": decoder_graph}
# Stored [in, out] like all linear layers, but a 1x1 convolution [out, in, 1, 1] in the graph.
TRANSPOSED = {"encoder.neck.lin.weight"}
# Not weights of a layer: what the runtime gets for free with the embedding.
NOT_IN_GRAPHS = {"no_mask"}


def graphs(folded: FoldedModel) -> dict[str, onnx.ModelProto]:
    return {name: build(folded).model() for name, build in BUILDERS.items()}


def weights(folded: FoldedModel) -> Iterator[tuple[str, np.ndarray]]:
    """Initialisers of both graphs that are no constants of the graph itself."""
    for model in graphs(folded).values():
        for tensor in model.graph.initializer:
            if not tensor.name.startswith("const/"):
                yield tensor.name, numpy_helper.to_array(tensor)


@pytest.mark.parametrize("name", list(MODELS))
def test_checker(name: str) -> None:
    """Full check: shapes are inferred through every node."""
    for model in graphs(folded_model(name)).values():
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", graph_module.OPSET)]
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        assert inferred.graph.value_info


@pytest.mark.parametrize("name", list(MODELS))
def test_initialisers_carry_the_state_dict_keys(name: str) -> None:
    folded = folded_model(name)
    state = {k: v.numpy() for k, v in folded.state_dict().items()}
    found = dict(weights(folded))
    assert set(found) == set(state) - NOT_IN_GRAPHS
    for key, value in found.items():
        kept = state[key]
        assert value.dtype == kept.dtype == np.float32
        expected = kept.T if key in TRANSPOSED else kept
        np.testing.assert_array_equal(value.squeeze(), expected.squeeze(), err_msg=key)


def test_constants_are_small(folded: FoldedModel) -> None:
    """Weights belong under their keys; only the transposed enlargement is there twice. The area
    resize counts its taps."""
    for model in graphs(folded).values():
        for tensor in model.graph.initializer:
            if tensor.name.startswith("const/") and not re.search(
                "resize_transposed|taps", tensor.name
            ):
                assert np.prod(tensor.dims, dtype=int) <= 8, tensor.name


def modules(folded: FoldedModel) -> set[str]:
    return {name for name, _ in folded.named_modules()} | {
        "preprocess",
        "preprocess.area",
        "postprocess",
    }


@pytest.mark.parametrize("name", list(MODELS))
def test_node_names_are_unique_and_tell_the_module(name: str) -> None:
    folded = folded_model(name)
    known = modules(folded) | set(folded.state_dict())
    for model in graphs(folded).values():
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)
        for node in names:
            path = node.split("/")[0]
            parent = path.rpartition(".")[0]
            assert path in known or parent in known, node
            assert parent or path in ("preprocess", "postprocess"), node


def test_every_layer_with_weights_has_a_node_of_its_name(folded: FoldedModel) -> None:
    """A layer report speaks of the module; blocks are not all called the same."""
    found = {n.name.split("/")[0] for m in graphs(folded).values() for n in m.graph.node}
    for name, module in folded.named_modules():
        if list(module.parameters(recurse=False)):
            assert name in found or any(path.startswith(f"{name}.") for path in found), name


def test_values_are_known_by_their_node(folded: FoldedModel) -> None:
    for model in graphs(folded).values():
        outputs = {value.name for value in model.graph.output} | {NETWORK_INPUT}
        for node in model.graph.node:
            for i, value in enumerate(node.output):
                own = node.name if len(node.output) == 1 else f"{node.name}:{i}"
                assert value == own or value in outputs


def test_every_initialiser_and_input_is_used(folded: FoldedModel) -> None:
    for model in graphs(folded).values():
        used = {name for node in model.graph.node for name in node.input}
        assert {t.name for t in model.graph.initializer} <= used
        assert {v.name for v in model.graph.input} <= used


def test_the_network_behind_the_cut_has_static_shapes(folded: FoldedModel) -> None:
    model = onnx.shape_inference.infer_shapes(encoder_graph(folded).model(), data_prop=True)
    v = folded.variant
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.output]
    }
    slices = folded.family.slices
    assert shapes[NETWORK_INPUT] == [slices, v.channels, v.input_size, v.input_size]
    for name, shape in shapes.items():
        if name.startswith("encoder."):
            assert all(isinstance(side, int) and side > 0 for side in shape), (name, shape)


# Of the encoder: slices of a volume, channels of the network, planes of coefficients, what else.
TAKES = {
    "sam": ((), 3, 2, ["rows_first", "valid_rows", "valid_cols"]),
    "medsam": ((), 3, 2, []),
    "samed": ((), 1, 1, []),
    "msa": ((), 3, 2, ["rows_first"]),
    "volume": ((4,), 1, 1, []),
    "volume-colour": ((2,), 3, 1, []),
    "samus": ((), 1, 2, ["rows_first"]),
    "samus-colour": ((), 3, 2, ["rows_first"]),
    "autosamus": ((), 1, 2, ["rows_first"]),
}
POINTS = {
    "point_coords": ("float32", ["objects", "points", 2]),
    "point_labels": ("int32", ["objects", "points"]),
}
MASKS = {
    "mask_input": ("float32", ["mask_prompts", 1, 32, 32]),
    "has_mask": ("float32", ["mask_prompts"]),
    "mask_index": ("int64", ["masks"]),
}
# Of the decoder: its prompts, the objects and masks of an answer.
GIVES: dict[str, tuple[dict[str, Any], int | str, int | str]] = {
    "sam": (POINTS | MASKS, "objects", "masks"),
    "medsam": (POINTS, "objects", 1),
    "samed": ({}, 1, 4),
    "msa": (POINTS, "objects", 1),
    "structures": (POINTS, "objects", 2),
    "volume": (POINTS, "objects", 1),
    "samus": (POINTS, "objects", 1),
    "autosamus": ({}, 1, 1),
}


def values(found: Any) -> dict[str, tuple[str, list[Any]]]:
    """Names, types and shapes of a graph's inputs or outputs."""
    kinds = {1: "float32", 2: "uint8", 6: "int32", 7: "int64"}
    result = {}
    for value in found:
        tensor = value.type.tensor_type
        shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        result[value.name] = (kinds[tensor.elem_type], shape)
    return result


@pytest.mark.parametrize("name", list(TAKES))
def test_the_encoders_inputs_and_output(name: str) -> None:
    """As `preprocess` and `encoder_graph` say, and as docs/bundle.md lists them."""
    folded = folded_model(name)
    v, (leading, channels, planes, more) = folded.variant, TAKES[name]
    graph, side = encoder_graph(folded).model().graph, v.input_size
    expected: dict[str, Any] = {
        "frame": ("uint8", [*leading, "height", "width", "frame_channels"]),
        "colour": ("float32", ["frame_channels", channels]),
        "rows": ("float32", [planes, side, "height"]),
        "cols": ("float32", [planes, side, "width"]),
    }
    kinds = {"rows_first": ("uint8", [1])}
    expected |= {key: kinds.get(key, ("float32", [side])) for key in more}
    assert values(graph.input) == expected
    count = folded.family.slices
    embedding = ("float32", [count, v.prompt_dim, v.grid, v.grid])
    assert values(graph.output) == {"image_embedding": embedding}


@pytest.mark.parametrize("name", list(GIVES))
def test_the_decoders_inputs_and_outputs(name: str) -> None:
    """As `decoder_graph` says, and as docs/bundle.md lists them."""
    folded = folded_model(name)
    v, (prompts, objects, masks) = folded.variant, GIVES[name]
    graph, side = decoder_graph(folded).model().graph, v.low_res
    assert values(graph.input) == {
        "image_embedding": ("float32", [1, v.prompt_dim, v.grid, v.grid]),
        **prompts,
        "mask_rows": ("float32", ["height", side]),
        "mask_cols": ("float32", ["width", side]),
    }
    expected = {
        "masks": ("uint8", [objects, masks, "height", "width"]),
        "scores": ("float32", [objects, masks]),
        "low_res_logits": ("float32", [objects, masks, side, side]),
    }
    if folded.family.exclusive:
        expected["class_map"] = ("uint8", [objects, "height", "width"])
    assert values(graph.output) == expected


def test_every_input_and_output_is_in_the_docs() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "bundle.md").read_text(encoding="utf-8")
    for name in {*TAKES, *GIVES}:
        for model in graphs(folded_model(name)).values():
            for value in (*model.graph.input, *model.graph.output):
                assert f"`{value.name}`" in text


@pytest.mark.parametrize("name", list(MODELS))
def test_float32_is_the_only_precision(name: str) -> None:
    """Besides whole numbers; nothing is computed in double or half."""
    allowed = {
        onnx.TensorProto.DataType.Value(t) for t in ("FLOAT", "UINT8", "INT32", "INT64", "BOOL")
    }
    for model in graphs(folded_model(name)).values():
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        kinds = {tensor.data_type for tensor in inferred.initializer}
        kinds |= {value.type.tensor_type.elem_type for value in inferred.value_info}
        assert kinds <= allowed


@pytest.mark.parametrize("builder", list(BUILDERS))
def test_nothing_about_this_machine(builder: str, folded: FoldedModel) -> None:
    model = BUILDERS[builder](folded).model()
    assert model.producer_name == "samedge"
    texts = [model.doc_string, model.producer_version, model.domain, model.graph.doc_string]
    parts: list[Any] = [*model.graph.node, *model.graph.initializer]
    parts += [*model.graph.input, *model.graph.output]
    texts += [part.doc_string for part in parts]
    assert not any(texts)
    # The sizes of attention with relative positions are all of the file's metadata.
    vit = not isinstance(folded.encoder, FoldedTinyEncoder)
    sizes = [ATTENTION] if builder == "encoder" and vit else []
    assert [entry.key for entry in model.metadata_props] == sizes
    assert not model.graph.metadata_props
    assert not any(len(part.metadata_props) for part in parts)
    data = model.SerializeToString()
    here = {socket.gethostname(), os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir()}
    for text in here | {f"/{getpass.getuser()}/", __file__}:
        assert len(text) < 3 or text.encode() not in data, text


def test_the_same_model_gives_the_same_bytes(folded: FoldedModel) -> None:
    first, second = graphs(folded), graphs(folded)
    for name in BUILDERS:
        assert first[name].SerializeToString() == second[name].SerializeToString()


def test_builder_shares_equal_constants() -> None:
    g = GraphBuilder("test")
    one = g.const([1, 2], "shape")
    assert g.const(np.array([1, 2], np.int32), "shape") == one
    other = g.const([3], "shape")
    assert other != one
    assert g.const([3], "shape") == other
    assert g.const(np.float32(1), "one") != g.const([1], "one")


def test_builder_numbers_equal_names() -> None:
    g = GraphBuilder("test")
    x = g.input("x", "float32", ("n",))
    assert [g.add(x, x, "a"), g.add(x, x, "a"), g.mul(x, x, "a")] == ["a/Add", "a/Add_2", "a/Mul"]
    assert g.op("Split", [x], "a", outputs=2, axis=0) == ["a/Split:0", "a/Split:1"]


def test_builder_refuses_one_key_for_two_weights() -> None:
    g = GraphBuilder("test")
    g.weight("a.weight", np.zeros(2, np.float32))
    assert g.weight("a.weight", np.zeros(2, np.float32)) == "a.weight"
    with pytest.raises(AssertionError):
        g.weight("a.weight", np.ones(2, np.float32))
