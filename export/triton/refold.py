"""A bundle's float32 graphs -> the FoldedModel that they were written from.

Weights have the names of FoldedModel's state dict; what no weight says (heads, strides, which
masks) stands in attributes and in the form of the graph. The way back is exact: written again, the
graphs are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from onnx import NodeProto, helper

from samedge.bundle import Bundle
from samedge.bundle.attention_sizes import ATTENTION, AttentionSizes, attention_from_text
from samedge.errors import BundleError, NotSupportedError
from samedge.export.graphs.model import OnnxGraph
from samedge.fold.decoder_layers import (
    DecoderLayer,
    FinalAttention,
    FoldedDecoder,
    MaskHead,
    MaskPrompt,
    PromptEncoder,
    TokenAttention,
)
from samedge.fold.generator import AttentionHalf, PromptGenerator
from samedge.fold.layers import (
    Block,
    CnnBranch,
    ConvNorm,
    CrossAttention,
    DepthBranch,
    FoldedEncoder,
    Linear,
    Mlp,
    Neck,
    Norm,
    PatchEmbed,
    RelativeAttention,
    RmsNorm,
)
from samedge.runtime.triton.compiling import NO_KERNELS

T = TypeVar("T")
_RMS_EPS = "const/eps_1e-6"


def refold(bundle: Bundle) -> tuple[FoldedEncoder, FoldedDecoder]:
    """Encoder and decoder of a bundle, in float32.

    Args:
        bundle: open; its float32 graphs' hashes are checked.

    Raises:
        BundleError: it has no float32 graphs, or they are not of samedge's writing.
    """
    graphs = bundle.manifest.graphs
    lacking = [name for name in ("encoder", "decoder") if "fp32" not in graphs[name]]
    if lacking:
        raise BundleError(
            f"{bundle.path.name} has no float32 {' and '.join(lacking)} graph, which engines are "
            "made from; export it again with fp32 among --precision"
        )
    with bundle.opened_graph("encoder", "fp32") as path:
        encoder = refold_encoder(OnnxGraph.read(path))
    with bundle.opened_graph("decoder", "fp32") as path:
        decoder = refold_decoder(OnnxGraph.read(path))
    return encoder, decoder


def refold_encoder(graph: OnnxGraph) -> FoldedEncoder:
    """The encoder of its graph.

    Raises:
        BundleError: it is not one of samedge's writing.
        NotSupportedError: it is a TinyViT.
    """
    if "encoder.patch_embed.0.weight" in graph.arrays:
        raise NotSupportedError(NO_KERNELS)
    return _read(lambda: _encoder(_Graph(graph)))


def refold_decoder(graph: OnnxGraph) -> FoldedDecoder:
    """The decoder of its graph.

    Raises:
        BundleError: it is not one of samedge's writing.
    """
    return _read(lambda: _decoder(_Graph(graph)))


def _read(make: Callable[[], T]) -> T:
    try:
        return make()
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise BundleError(
            f"the bundle's graph is not as this version of samedge writes it ({error!r}); export "
            "the bundle again"
        ) from error


class _Graph:
    """Weights and nodes by the names that `samedge.export.graphs` gives them."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.arrays, self.metadata = graph.arrays, graph.metadata
        self.nodes: dict[str, NodeProto] = {node.name: node for node in graph.nodes}

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __getitem__(self, key: str) -> torch.Tensor:
        # Mapped from a file that must not change: `parameter` copies.
        return torch.from_numpy(np.array(self.arrays[key]))

    def optional(self, key: str) -> torch.Tensor | None:
        return self[key] if key in self.arrays else None

    def has(self, prefix: str) -> bool:
        """Whether any weight stands below `prefix`."""
        return any(key.startswith(f"{prefix}.") for key in self.arrays)

    def indices(self, prefix: str) -> range:
        """Numbers of the parts of a list of layers."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        found = {int(match[1]) for key in self.arrays if (match := pattern.match(key))}
        assert found == set(range(len(found))), prefix
        return range(len(found))

    def constant(self, key: str) -> Any:
        return self.arrays[key].tolist()

    def attribute(self, node: str, name: str) -> Any:
        attributes = self.nodes[node].attribute
        return next(helper.get_attribute_value(a) for a in attributes if a.name == name)

    def linear(self, path: str) -> Linear:
        return Linear(self[f"{path}.weight"], self.optional(f"{path}.bias"))

    def norm(self, path: str) -> Norm:
        eps = self.attribute(f"{path}/LayerNormalization", "epsilon")
        return Norm(self[f"{path}.weight"], self[f"{path}.bias"], _decimal(eps))

    def rms_norm(self, path: str) -> RmsNorm:
        weight, bias = (self[f"{path}.{name}"].flatten() for name in ("weight", "bias"))
        return RmsNorm(weight, bias, _decimal(self.constant(_RMS_EPS)))

    def conv_norm(self, path: str, activation: bool = True) -> ConvNorm:
        return ConvNorm(self[f"{path}.weight"], self.rms_norm(f"{path}.norm"), activation)

    def heads(self, path: str) -> int:
        """Of the attention below `path`, from a reshape that parts them: [0, -1, heads, size]."""
        pattern = re.compile(re.escape(path) + r"/Reshape(_\d+)?")
        shapes = (self.constant(n.input[1]) for name, n in self.nodes.items()
                  if pattern.fullmatch(name))  # fmt: skip
        return int(next(shape[2] for shape in shapes if len(shape) == 4))


def _decimal(eps: float) -> float:
    """The number that a float32 attribute was written from: 1e-6, not 9.99999997e-7."""
    return float(f"{eps:.6g}")


def _encoder(g: _Graph) -> FoldedEncoder:
    sizes = attention_from_text(g.metadata.get(ATTENTION, "{}"))
    path = "encoder.blocks"
    blocks = [_block(g, f"{path}.{i}", sizes[f"{path}.{i}.attn"]) for i in g.indices(path)]
    cnn, scale = None, 0.0
    if g.has("encoder.cnn"):
        convs = "encoder.cnn.convs"
        cnn = CnnBranch([g.conv_norm(f"{convs}.{i}") for i in g.indices(convs)])
        scale = g.constant("const/branch_scale")
    return FoldedEncoder(_patch_embed(g), blocks, _neck(g), cnn, scale)


def _patch_embed(g: _Graph) -> PatchEmbed:
    path = "encoder.patch_embed"
    adapter = f"{path}.adapter"
    return PatchEmbed(
        g[f"{path}.weight"],
        int(g.attribute(f"{path}/Conv", "strides")[0]),
        g[f"{path}.pos_embed"],
        g.optional(f"{path}.resize"),
        g.linear(adapter) if f"{adapter}.weight" in g else None,
        g.optional(f"{path}.adapter_bias"),
    )


def _block(g: _Graph, path: str, sizes: AttentionSizes) -> Block:
    cross = refine = None
    if g.has(f"{path}.cross"):
        q, kv, proj = (g.linear(f"{path}.cross.{name}") for name in ("q", "kv", "proj"))
        cross = CrossAttention(q, kv, proj, g.heads(f"{path}.cross"))
        refine = g.conv_norm(f"{path}.refine")
    return Block(
        g.norm(f"{path}.norm1"),
        _attention(g, f"{path}.attn", sizes),
        g.norm(f"{path}.norm2"),
        Mlp(g.linear(f"{path}.mlp.lin1"), g.linear(f"{path}.mlp.lin2")),
        cross,
        refine,
    )


def _attention(g: _Graph, path: str, sizes: AttentionSizes) -> RelativeAttention:
    depth = None
    if g.has(f"{path}.depth"):
        rows, cols = g[f"{path}.depth.rel_h"], g[f"{path}.depth.rel_w"]
        down = g.linear(f"{path}.depth.down")
        depth = DepthBranch(down, rows, cols, rows.shape[0] * cols.shape[0])
    adapter = f"{path}.adapter"
    return RelativeAttention(
        g.linear(f"{path}.qkv"),
        g.linear(f"{path}.proj"),
        g[f"{path}.rel_h"],
        g[f"{path}.rel_w"],
        sizes.h,
        sizes.n,
        adapter=g.linear(adapter) if f"{adapter}.weight" in g else None,
        depth=depth,
    )


def _neck(g: _Graph) -> Neck:
    path = "encoder.neck"
    lin = Linear(g[f"{path}.lin.weight"][:, :, 0, 0].t())
    return Neck(lin, g.rms_norm(f"{path}.norm"), g.conv_norm(f"{path}.conv", activation=False))


def _decoder(g: _Graph) -> FoldedDecoder:
    path = "decoder"
    prompt = mask_prompt = generator = None
    if g.has(f"{path}.prompt"):
        prompt = PromptEncoder(g.linear(f"{path}.prompt.phase"), g[f"{path}.prompt.labels"])
    if g.has(f"{path}.mask_prompt"):
        p = f"{path}.mask_prompt"
        mask_prompt = MaskPrompt(
            g.linear(f"{p}.lin1"), g.norm(f"{p}.norm1"), g.linear(f"{p}.lin2"),
            g.norm(f"{p}.norm2"), g.linear(f"{p}.lin3"),
        )  # fmt: skip
    if g.has(f"{path}.generator"):
        generator = _generator(g)
    layers = [_layer(g, f"{path}.layers.{i}") for i in g.indices(f"{path}.layers")]
    final = f"{path}.final"
    return FoldedDecoder(
        prompt,
        mask_prompt,
        generator,
        g[f"{path}.tokens"],
        layers,
        FinalAttention(
            g.linear(f"{final}.image"),
            g[f"{final}.image_code"],
            g.linear(f"{final}.q"),
            g.linear(f"{final}.proj"),
            g.norm(f"{final}.norm"),
            g.heads(final),
        ),
        _head(g),
        _masks(g),
    )


def _generator(g: _Graph) -> PromptGenerator:
    path = "decoder.generator"

    def half(path: str) -> AttentionHalf:
        feed = g.norm(f"{path}.feed_norm"), g.linear(f"{path}.lin1"), g.linear(f"{path}.lin2")
        return AttentionHalf(
            g.norm(f"{path}.norm"), g.linear(f"{path}.qkv"), g.linear(f"{path}.proj"), feed
        )

    image, prompt = ([half(f"{path}.{name}.{i}") for i in g.indices(f"{path}.{name}")]
                     for name in ("image", "prompt"))  # fmt: skip
    dense = [g.conv_norm(f"{path}.dense.{i}") for i in g.indices(f"{path}.dense")]
    return PromptGenerator(g[f"{path}.tokens"], image, prompt, dense, g.heads(f"{path}.image.0"))


def _layer(g: _Graph, path: str) -> DecoderLayer:
    own = f"{path}.self_attn"
    code, residual = _code(g, path)
    return DecoderLayer(
        TokenAttention(g.linear(f"{own}.qk"), g.linear(f"{own}.v"), g.linear(f"{own}.proj"),
                       g.heads(own)),
        [g.norm(f"{path}.norm{i}") for i in (1, 2, 3, 4)],
        (g.linear(f"{path}.lin1"), g.linear(f"{path}.lin2")),
        (g.linear(f"{path}.image"), g[f"{path}.image_code"]),
        (g.linear(f"{path}.to_image_q"), g.linear(f"{path}.to_image_proj")),
        (g.linear(f"{path}.from_image_k"), g.linear(f"{path}.from_image_v"),
         g.linear(f"{path}.from_image_proj")),
        g.heads(f"{path}.to_image"),
        code=code,
        residual=residual,
    )  # fmt: skip


def _code(g: _Graph, path: str) -> tuple[str, bool]:
    """Where the self-attention sees the tokens' code, and whether its result is added to them."""
    own = f"{path}.self_attn"
    sums = {name for name in g.nodes if re.fullmatch(re.escape(own) + r"/Add(_\d+)?", name)}
    asked, value = (g.nodes[f"{own}.{name}/MatMul"].input[0] for name in ("qk", "v"))
    code = "none"
    if asked in sums:
        code = "tokens" if value == asked else "scores"
    return code, g.nodes[f"{path}.norm1/LayerNormalization"].input[0] in sums


def _head(g: _Graph) -> MaskHead:
    path = "decoder.head"

    def layers(path: str) -> list[Linear]:
        return [g.linear(f"{path}.{i}") for i in g.indices(path)]

    hyper = [layers(f"{path}.hyper.{i}") for i in g.indices(f"{path}.hyper")]
    return MaskHead(g.linear(f"{path}.up1"), g.norm(f"{path}.norm"), g.linear(f"{path}.up2"),
                    hyper, layers(f"{path}.iou"))  # fmt: skip


def _masks(g: _Graph) -> tuple[int, ...]:
    """Numbers of the mask tokens, from the tokens that the hypernetworks take."""
    found = []
    for i in g.indices("decoder.head.hyper"):
        taken = g.nodes[f"decoder.head.hyper.{i}.0/MatMul"].input[0]
        found.append(int(g.constant(g.nodes[taken].input[1])) - 1)
    return tuple(found)
