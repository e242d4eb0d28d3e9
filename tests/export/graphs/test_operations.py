"""What is left of adapters and low-rank branches in the graphs: matrix products, counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.fold import FoldedModel
from samedge.fold.tiny_layers import TinyBlock
from tests.export.engine import MODELS, VITS, folded_model

# Matrix products of one attention: qkv, both position tables, q k^T, softmax v, projection.
PLAIN = 6
SERIAL = 1  # the adapter's second matrix; the first is part of the projection
DEPTH = 5  # both position tables, q k^T, softmax v, D1 P
CROSS = 5  # q, key and value, q k^T, softmax v, projection


def products(model: onnx.ModelProto, path: str) -> Counter[str]:
    """Number of matrix products and convolutions of a module, and of those below it."""
    mine = (n for n in model.graph.node if f"{n.name.split('/')[0]}.".startswith(f"{path}."))
    return Counter(node.op_type for node in mine if node.op_type in ("MatMul", "Conv", "Gemm"))


def network(model: onnx.ModelProto) -> list[bytes]:
    """All nodes behind the pre-processing, as they stand in the file."""
    inside = (n for n in model.graph.node if n.name.startswith(("encoder.", "decoder.")))
    return [node.SerializeToString() for node in inside if NETWORK_INPUT not in node.output]


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


@pytest.mark.parametrize("name", ["samed-colour", "samed", "samed_s", "lora", "medsam"])
def test_lora_leaves_no_operation(name: str) -> None:
    """The encoder has the very nodes and weights of a SAM of the same sizes."""
    sam, other = (encoder_graph(folded_model(n)).model() for n in ("sam", name))
    assert network(other) == network(sam)
    ours, theirs = shapes(other), shapes(sam)
    patches = "encoder.patch_embed.weight"
    channels = folded_model(name).family.channels
    assert ours.pop(patches) == (theirs.pop(patches)[0], channels, 16, 16)
    for key in set(ours) & set(theirs):
        assert ours[key] == theirs[key], key
    own = {key for key in set(ours) ^ set(theirs) if not key.startswith("const/")}
    assert not own


def test_lora_leaves_no_operation_in_the_decoder() -> None:
    first, second = (decoder_graph(folded_model(n)).model() for n in ("samed", "samed_s"))
    assert network(first) == network(second)
    assert shapes(first) == shapes(second)


@pytest.mark.parametrize("name", VITS)
def test_parallel_adapters_leave_no_product(name: str) -> None:
    """Two in every MLP, as without; its hidden width has grown by the adapter's."""
    folded = folded_model(name)
    model = encoder_graph(folded).model()
    found = shapes(model)
    config, _ = MODELS[name]
    for i, block in enumerate(folded.encoder.blocks):
        assert products(model, f"encoder.blocks.{i}.mlp") == {"MatMul": 2}
        adapter = block.cross is not None or block.attn.adapter is not None
        hidden = config.mlp_dim + (config.adapter_dim if adapter else 0)
        assert found[f"encoder.blocks.{i}.mlp.lin1.weight"] == (config.embed_dim, hidden)


@pytest.mark.parametrize("name", VITS)
def test_serial_adapters_leave_one_small_product(name: str) -> None:
    folded = folded_model(name)
    model = encoder_graph(folded).model()
    found = shapes(model)
    dim = MODELS[name][0].embed_dim
    for i, block in enumerate(folded.encoder.blocks):
        path, attn = f"encoder.blocks.{i}", block.attn
        extra = SERIAL * (attn.adapter is not None) + DEPTH * (attn.depth is not None)
        assert products(model, f"{path}.attn") == {"MatMul": PLAIN + extra}
        if attn.adapter is not None:
            hidden = MODELS[name][0].adapter_dim * (1 if attn.depth is None else 2)
            assert found[f"{path}.attn.adapter.weight"] == (hidden, dim)
            assert hidden * dim <= dim * dim / 2
        if block.cross is None:
            assert products(model, path) == {"MatMul": PLAIN + extra + 2}
        else:
            assert products(model, path) == {"MatMul": PLAIN + CROSS + 2, "Conv": 1}


def test_tiny_vit_has_its_convolutions_and_products() -> None:
    """No BatchNormalization, no addition for one, and no gather of attention biases is left."""
    folded = folded_model("litemedsam")
    model = encoder_graph(folded).model()
    inside = [n for n in model.graph.node if n.name.startswith("encoder.")]
    assert not {n.op_type for n in inside} & {"BatchNormalization", "Gather"}
    assert products(model, "encoder.patch_embed") == {"Conv": 2}
    for i, block in enumerate(folded.encoder.blocks):
        path = f"encoder.blocks.{i}"
        if isinstance(block, TinyBlock):
            assert products(model, path) == {"MatMul": 6, "Conv": 1}
            assert shapes(model)[f"{path}.attn.bias"] == tuple(block.attn.bias.shape)
        else:
            assert products(model, path) == {"Conv": 3}


@pytest.mark.parametrize(("name", "matrices"), [("sam", 0), ("msa", 0), ("samed", 0), ("samus", 3)])
def test_the_patch_embedding_is_one_convolution(name: str, matrices: int) -> None:
    """Mean, scale and grey repetition leave nothing; SAMUS has its enlargement (a product for each
    direction) and its input adapter's second matrix."""
    model = encoder_graph(folded_model(name)).model()
    expected = {"Conv": 1, "MatMul": matrices} if matrices else {"Conv": 1}
    assert products(model, "encoder.patch_embed") == expected


def decoder_products(folded: FoldedModel) -> int:
    """Of the layers, the last attention, the head and the way to the frame, by hand."""
    masks = len(folded.decoder.masks)
    layer = 2 + 2 + 1  # queries with keys, values; q k^T, softmax v; projection
    layer += 1 + 1 + 2 + 1  # the image's matrix; the tokens' q; q k^T, softmax v; projection
    layer += 2 + 2 + 2 + 1  # MLP; the tokens' k, v; q k^T, softmax v; projection
    last = 1 + 1 + 2 + 1
    head = 2 + 1 + 3 * masks + len(folded.decoder.head.iou)  # upscaling, kernel, hypernetworks
    return len(folded.decoder.layers) * layer + last + head + 2


@pytest.mark.parametrize("name", list(MODELS))
def test_decoder_products(name: str) -> None:
    """Points are one product, mask prompts three; the prompt generator has its exchange."""
    folded = folded_model(name)
    d = folded.decoder
    found = Counter(node.op_type for node in decoder_graph(folded).model().graph.node)
    expected = decoder_products(folded)
    expected += 0 if d.prompt is None else 1
    expected += 0 if d.mask_prompt is None else 3
    convs = 0
    if d.generator is not None:
        # Of each half of a layer: qkv, q k^T, softmax v, projection, MLP.
        expected += len(d.generator.image) * 2 * (1 + 2 + 1 + 2)
        convs = len(d.generator.dense)
    assert found["MatMul"] == expected
    assert found["Conv"] == convs


def test_only_one_prompt_token_passes_the_last_exchange() -> None:
    folded = folded_model("autosamus")
    model = onnx.shape_inference.infer_shapes(decoder_graph(folded).model(), data_prop=True)
    generator = folded.decoder.generator
    last, tokens = len(generator.image) - 1, generator.tokens.shape[1]
    sizes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in model.graph.value_info
    }
    for i in range(last + 1):
        rows = sizes[f"decoder.generator.prompt.{i}.lin1/MatMul"][1]
        assert rows == (1 if i == last else tokens)
    assert np.prod(sizes["decoder.generator.image.0.lin1/MatMul"][:2]) == 64
