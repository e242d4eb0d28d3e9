"""FoldedModel -> the decoder graph: embedding and prompts in, masks at frame size out."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.generator import prompt_generator
from samedge.export.graphs.layers import array, attention, linear, norm, relu_mlp, split
from samedge.families import Family
from samedge.fold import decoder_layers as fd
from samedge.fold import layers as fl
from samedge.fold.model import FoldedModel


def decoder_graph(folded: FoldedModel, builder: type[GraphBuilder] = GraphBuilder) -> GraphBuilder:
    """The decoder graph of a bundle.

    Inputs: `image_embedding` float32 [1, P, g, g]; where the family takes points or boxes,
    `point_coords` float32 [N, points, 2], px of the network input, and `point_labels` int32
    [N, points] (-1 padding, 0 and 1 points, 2 and 3 box corners), else N is 1; where it takes
    masks, `mask_input` float32 [M, 1, L, L] and `has_mask` float32 [M] with M = 1 or N; where it
    has several answers to choose from, `mask_index` int64 [K]; and `mask_rows` [H, L], `mask_cols`
    [W, L]. Outputs: `masks` uint8 [N, K, H, W], `scores` float32 [N, K], `low_res_logits` float32
    [N, K, L, L]; for a family with exclusive classes also `class_map` uint8 [N, H, W].
    """
    g = builder("decoder", folded.half_weights)
    v, d = folded.variant, folded.decoder
    keys = g.input("image_embedding", "float32", (1, v.prompt_dim, v.grid, v.grid))
    keys = g.reshape(keys, (1, v.prompt_dim, v.grid**2), "decoder.keys")
    keys = g.transpose(keys, (0, 2, 1), "decoder.keys")
    code = _tokens(g, d)
    if d.mask_prompt is not None:
        keys = g.add(keys, _mask_prompt(g, d.mask_prompt, v.low_res), "decoder.mask_prompt")
    if d.generator is not None:
        keys, found = prompt_generator(g, keys, d.generator, v.grid)
        code = str(g.op("Concat", [code, found], "decoder.tokens", axis=1))
    x = code
    for i, layer in enumerate(d.layers):
        assert isinstance(layer, fd.DecoderLayer)
        x, keys = _layer(g, x, keys, code, layer, f"decoder.layers.{i}")
    x = _final(g, x, keys, code, d.final)
    objects: int | str = 1 if d.prompt is None else "objects"
    count: int | str = "masks" if _chosen(folded) else len(d.masks)
    logits, scores = _head(g, x, keys, folded)
    _to_frame(g, logits, (objects, count), v.low_res, folded.family)
    g.output(scores, "scores", "float32", (objects, count))
    g.output(logits, "low_res_logits", "float32", (objects, count, v.low_res, v.low_res))
    return g


def _chosen(folded: FoldedModel) -> bool:
    """Whether a caller picks from several masks; all classes always come together."""
    return len(folded.decoder.masks) > 1 and not folded.family.classes


def _tokens(g: GraphBuilder, d: fd.FoldedDecoder) -> str:
    """IoU token, mask tokens and encoded points, [N, 1 + masks + points, P]; without the points,
    and N = 1, where the family takes none."""
    path, prompt = "decoder.prompt", d.prompt
    if prompt is None:
        return g.weight("decoder.tokens", array(d.tokens))
    coords = g.input("point_coords", "float32", ("objects", "points", 2))
    labels = g.input("point_labels", "int32", ("objects", "points"))
    phase = linear(g, coords, prompt.phase, f"{path}.phase")
    code = g.op("Concat", [g.op("Sin", [phase], path), g.op("Cos", [phase], path)], path, axis=-1)
    index = g.op("Cast", [labels], path, to=onnx.TensorProto.INT64)
    index = g.add(index, g.const([1], "one"), path)
    real = g.op("Greater", [index, g.const([0], "zero")], path)
    real = g.op("Cast", [real], f"{path}.real", to=onnx.TensorProto.FLOAT)
    real = g.op("Unsqueeze", [real, g.const([-1], "last_axis")], path)
    table = g.weight(f"{path}.labels", array(prompt.labels))
    points = g.add(g.mul(code, real, path), g.op("Gather", [table, index], path, axis=0), path)
    objects = g.op("Shape", [labels], path, start=0, end=1)
    size = list(d.tokens.shape[1:])
    shape = g.op("Concat", [objects, g.const(size, "token_shape")], f"{path}.shape", axis=0)
    tokens = g.op("Expand", [g.weight("decoder.tokens", array(d.tokens)), shape], "decoder.tokens")
    return str(g.op("Concat", [tokens, points], "decoder.tokens", axis=1))


def _mask_prompt(g: GraphBuilder, layer: fd.MaskPrompt, low_res: int) -> str:
    path, grid = "decoder.mask_prompt", low_res // 4
    x = g.input("mask_input", "float32", ("mask_prompts", 1, low_res, low_res))
    has = g.input("has_mask", "float32", ("mask_prompts",))
    x = g.reshape(x, (-1, grid, 2, 2, grid, 2, 2), path)
    x = g.reshape(g.transpose(x, (0, 1, 4, 2, 5, 3, 6), path), (-1, grid * grid, 4, 4), path)
    x = norm(g, linear(g, x, layer.lin1, f"{path}.lin1"), layer.norm1, f"{path}.norm1")
    x = g.reshape(g.gelu(x, path), (0, grid * grid, -1), path)
    x = norm(g, linear(g, x, layer.lin2, f"{path}.lin2"), layer.norm2, f"{path}.norm2")
    x = linear(g, g.gelu(x, path), layer.lin3, f"{path}.lin3")
    return g.mul(x, g.reshape(has, (-1, 1, 1), path), path)


def _layer(
    g: GraphBuilder, x: str, keys: str, code: str, layer: fd.DecoderLayer, path: str
) -> tuple[str, str]:
    here = f"{path}.self_attn"
    s = layer.self_attn
    if layer.code == "tokens":
        x = g.add(x, code, here)
    qk = linear(g, g.add(x, code, here) if layer.code == "scores" else x, s.qk, f"{here}.qk")
    q, k = split(g, qk, 2, s.proj.weight.shape[0], here)
    v = linear(g, x, s.v, f"{here}.v")
    y = linear(
        g, attention(g, q, k, v, s.heads, s.proj.weight.shape[0], here), s.proj, f"{here}.proj"
    )
    x = norm(g, g.add(x, y, here) if layer.residual else y, layer.norm1, f"{path}.norm1")

    here = f"{path}.to_image"
    k, v, image_q = _image(g, keys, layer.image, layer.image_code, 3, path)
    q = linear(g, g.add(x, code, here), layer.to_image_q, f"{path}.to_image_q")
    y = attention(g, q, k, v, layer.heads, layer.to_image_proj.weight.shape[0], here)
    y = g.add(x, linear(g, y, layer.to_image_proj, f"{path}.to_image_proj"), here)
    x = norm(g, y, layer.norm2, f"{path}.norm2")

    y = g.op("Relu", [linear(g, x, layer.lin1, f"{path}.lin1")], path)
    y = g.add(x, linear(g, y, layer.lin2, f"{path}.lin2"), f"{path}.mlp")
    x = norm(g, y, layer.norm3, f"{path}.norm3")

    here = f"{path}.from_image"
    k = linear(g, g.add(x, code, here), layer.from_image_k, f"{path}.from_image_k")
    v = linear(g, x, layer.from_image_v, f"{path}.from_image_v")
    y = attention(g, image_q, k, v, layer.heads, layer.from_image_proj.weight.shape[0], here)
    y = g.add(keys, linear(g, y, layer.from_image_proj, f"{path}.from_image_proj"), here)
    return x, norm(g, y, layer.norm4, f"{path}.norm4")


def _image(
    g: GraphBuilder, keys: str, layer: fl.Linear, code: torch.Tensor, parts: int, path: str
) -> list[str]:
    """The image's keys, values (and queries), position code added."""
    y = linear(g, keys, layer, f"{path}.image")
    y = g.add(y, g.weight(f"{path}.image_code", array(code)), f"{path}.image_code")
    return split(g, y, parts, layer.weight.shape[1] // parts, f"{path}.image")


def _final(g: GraphBuilder, x: str, keys: str, code: str, layer: fd.FinalAttention) -> str:
    path = "decoder.final"
    k, v = _image(g, keys, layer.image, layer.image_code, 2, path)
    q = linear(g, g.add(x, code, path), layer.q, f"{path}.q")
    y = attention(g, q, k, v, layer.heads, layer.proj.weight.shape[0], path)
    return norm(g, g.add(x, linear(g, y, layer.proj, f"{path}.proj"), path), layer.norm,
                f"{path}.norm")  # fmt: skip


def _head(g: GraphBuilder, x: str, keys: str, folded: FoldedModel) -> tuple[str, str]:
    d, grid = folded.decoder, folded.variant.grid
    path, head = "decoder.head", d.head

    def token(i: int) -> str:
        return str(g.op("Gather", [x, g.const(np.int64(i), f"index_{i}")], path, axis=1))

    weights = []
    for i, (layers, m) in enumerate(zip(head.hyper, d.masks, strict=True)):
        assert isinstance(layers, torch.nn.ModuleList)
        y = relu_mlp(g, token(1 + m), layers, f"{path}.hyper.{i}")
        weights.append(str(g.op("Unsqueeze", [y, g.const([-1], "last_axis")], path)))
    scores = relu_mlp(g, token(0), head.iou, f"{path}.iou")
    kernel = weights[0]
    if len(weights) > 1:
        kernel = str(g.op("Concat", weights, path, axis=-1))  # [N, 32, masks]
    if _chosen(folded):
        assert d.masks == tuple(range(len(d.masks)))  # callers name mask tokens
        chosen = g.input("mask_index", "int64", ("masks",))
        kernel = str(g.op("Gather", [kernel, chosen], path, axis=-1))
        scores = str(g.op("Gather", [scores, chosen], f"{path}.iou", axis=-1))
    t, width = grid * grid, head.up1.weight.shape[1] // 4
    y = g.reshape(linear(g, keys, head.up1, f"{path}.up1"), (0, t * 4, width), path)
    y = g.gelu(norm(g, y, head.norm, f"{path}.norm"), path)
    y = g.gelu(linear(g, y, head.up2, f"{path}.up2"), path)
    y = g.reshape(y, (0, t * 16, head.up2.weight.shape[1] // 4), path)
    y = g.matmul(y, kernel, path)  # [N, t * 16, K]
    y = g.reshape(y, (0, grid, grid, 2, 2, 2, 2, -1), path)
    # [n, y, x, a, b, c, d, k] -> rows (y, a, c), columns (x, b, d)
    y = g.transpose(y, (0, 7, 1, 3, 5, 2, 4, 6), path)
    return g.reshape(y, (0, -1, 4 * grid, 4 * grid), path), scores


def _to_frame(
    g: GraphBuilder, logits: str, shape: tuple[int | str, int | str], low_res: int, family: Family
) -> None:
    """Both enlargements and the crop, as one matrix per direction; then the decision."""
    path = "postprocess"
    objects, count = shape
    rows = g.input("mask_rows", "float32", ("height", low_res))
    cols = g.input("mask_cols", "float32", ("width", low_res))
    if family.mask_values == "probability":
        logits = str(g.op("Sigmoid", [logits], path))
    y = g.matmul(g.matmul(rows, logits, f"{path}.rows"), g.transpose(cols, (1, 0), path), path)
    if family.exclusive:
        y = _largest(g, y, objects, len(family.classes), path)
    else:
        y = str(g.op("Greater", [y, g.const(np.float32(family.threshold), "threshold")], path))
    y = str(g.op("Cast", [y], path, to=onnx.TensorProto.UINT8))
    g.output(y, "masks", "uint8", (objects, count, "height", "width"))


def _largest(g: GraphBuilder, y: str, objects: int | str, classes: int, path: str) -> str:
    """Where each class is the largest one (the first of equals); declares the class map."""
    index = str(g.op("ArgMax", [y], f"{path}.class_map", axis=1, keepdims=1))
    numbers = g.const(np.arange(classes).reshape(1, classes, 1, 1), "class_numbers")
    one = g.op("Squeeze", [index, g.const([1], "class_axis")], f"{path}.class_map")
    one = str(g.op("Cast", [one], f"{path}.class_map", to=onnx.TensorProto.UINT8))
    g.output(one, "class_map", "uint8", (objects, "height", "width"))
    return str(g.op("Equal", [index, numbers], path))
