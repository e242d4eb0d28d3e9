"""What the two stages that run a bundle's graphs share: inputs, and parts of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.geometry.frame_geometry import FrameGeometry
from samedge.geometry.network_input import encoder_inputs
from tests.golden.engines import Floats, Prompt, tokens_of
from tests.golden.images import CaseImage

Arrays = dict[str, NDArray[Any]]

# Nodes of the decoder graph that a prompt goes through.
TOKENS_NODE, MASK_NODE = "decoder.tokens/Concat", "decoder.mask_prompt/Mul"
PROMPT_INPUTS = ("point_coords", "point_labels", "mask_input", "has_mask")


def input_names(bundle: Bundle, graph: str) -> list[str]:
    """Inputs of a graph, as the manifest lists them."""
    return [tensor.name for tensor in bundle.manifest.graphs[graph]["fp32"].inputs]


def frame_feeds(bundle: Bundle, image: CaseImage) -> Arrays:
    """Inputs of the encoder graph for a frame."""
    assert image.frame is not None
    assert image.geometry is not None
    flat = image.frame.ndim == (2 if bundle.family.slices == 1 else 3)
    frame = image.frame[..., None] if flat else image.frame
    known, pixels = encoder_inputs(bundle.family, image.geometry, frame.shape[-1])
    pixels[...] = frame
    return {name: known[name] for name in input_names(bundle, "encoder")}


def prompt_feeds(bundle: Bundle, prompt: Prompt, geometry: FrameGeometry) -> Arrays:
    """Inputs of the decoder graph that come from the prompt."""
    side = int(bundle.manifest.variant.low_res)
    coords, labels = tokens_of(prompt, geometry, bundle.family)
    given = prompt.masks is not None
    masks = prompt.masks if prompt.masks is not None else np.zeros((1, 1, side, side), np.float32)
    known: Arrays = {
        "point_coords": np.ascontiguousarray(coords),
        "point_labels": np.ascontiguousarray(labels),
        "mask_input": np.ascontiguousarray(masks, dtype=np.float32),
        "has_mask": np.full(len(masks), given, np.float32),
        "mask_index": np.array(bundle.family.mask_tokens(prompt.multimask), np.int64),
    }
    return {name: known[name] for name in input_names(bundle, "decoder") if name in known}


def decoder_feeds(
    bundle: Bundle, whole_embedding: Floats, prompt: Prompt, geometry: FrameGeometry
) -> Arrays:
    """All inputs of the decoder graph; the embedding includes the no-mask embedding."""
    return {
        "image_embedding": whole_embedding,
        "mask_rows": geometry.mask_rows.copy(),  # engines want writable memory
        "mask_cols": geometry.mask_cols.copy(),
        **prompt_feeds(bundle, prompt, geometry),
    }


def preprocessing(bundle: Bundle) -> onnx.ModelProto:
    """The encoder graph up to `network_input`."""
    return _part(_read(bundle, "encoder"), input_names(bundle, "encoder"), [NETWORK_INPUT])


def network(bundle: Bundle) -> onnx.ModelProto:
    """The encoder graph from `network_input` on."""
    variant = bundle.manifest.variant
    size = variant.input_size
    shape = [bundle.family.slices, variant.channels, size, size]
    model = _read(bundle, "encoder")
    model.graph.value_info.append(_float_value(NETWORK_INPUT, shape))
    return _part(model, [NETWORK_INPUT], ["image_embedding"])


def prompt_encoder(bundle: Bundle) -> onnx.ModelProto:
    """The part of the decoder graph that encodes prompts.

    Outputs: encoded points [N, T, D]; for a family with mask prompts also what the mask adds to
    the image's tokens, [M, g*g, D].
    """
    model = _read(bundle, "decoder")
    nodes = {node.name: node for node in model.graph.node}
    outputs = [nodes[TOKENS_NODE].input[1]]
    if MASK_NODE in nodes:
        outputs.append(nodes[MASK_NODE].output[0])
    names = [name for name in input_names(bundle, "decoder") if name in PROMPT_INPUTS]
    return _part(model, names, outputs)


def _read(bundle: Bundle, graph: str) -> onnx.ModelProto:
    path: Path = bundle.graph(graph, "fp32")
    return onnx.load(str(path))


def _part(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    listed = {value.name for value in (*model.graph.output, *model.graph.value_info)}
    for name in outputs:
        if name not in listed:
            model.graph.value_info.append(_float_value(name, None))
    return onnx.utils.Extractor(model).extract_model(inputs, outputs)


def _float_value(name: str, shape: list[int] | None) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
