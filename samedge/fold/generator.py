"""AutoSAMUS's prompt generator, folded: what depends on no image is evaluated once.

Two sequences, image tokens and prompt tokens, attend to each other; both attentions of a layer see
the state before it. The prompt tokens start as constants.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from samedge.fold.encoder import conv_norm
from samedge.fold.layers import ConvNorm, Linear, Norm, parameter
from samedge.fold.report import Notes
from samedge.fold.tree import Tree
from samedge.kernels import reference as ops

NORM_EPS = 1e-5  # torch's default


class AttentionHalf(nn.Module):
    """One sequence's half of a layer: it attends to the other one, then passes an MLP.

    `qkv` holds its queries to the other sequence, and the keys and values that it offers to it.
    """

    def __init__(self, norm: Norm, qkv: Linear, proj: Linear, feed: tuple[Norm, Linear, Linear]):
        super().__init__()
        self.norm, self.qkv, self.proj = norm, qkv, proj
        self.feed_norm, self.lin1, self.lin2 = feed

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values of x [B, T, P], each [B, T, h*d]."""
        return tuple(self.qkv(self.norm(x)).chunk(3, dim=-1))

    def forward(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        x = x + self.proj(attended)
        out: torch.Tensor = x + self.lin2(F.relu(self.lin1(self.feed_norm(x))))
        return out


class PromptGenerator(nn.Module):
    """Image tokens [B, g*g, P] -> those for the decoder, dense prompt added; and the prompt token.

    Attributes:
        tokens: [1, T, P] prompt tokens at the start, the one that counts first.
        image, prompt: the halves of every layer.
        dense: the convolutions that make the dense prompt.
        heads: of all attentions.
    """

    def __init__(
        self,
        tokens: torch.Tensor,
        image: list[AttentionHalf],
        prompt: list[AttentionHalf],
        dense: list[ConvNorm],
        heads: int,
    ) -> None:
        super().__init__()
        self.tokens = parameter(tokens)
        self.image, self.prompt = nn.ModuleList(image), nn.ModuleList(prompt)
        self.dense, self.heads = nn.ModuleList(dense), heads

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, t, c = x.shape
        grid = int(t**0.5)
        y = self.tokens.expand(b, -1, -1)
        last = len(self.image) - 1
        for i, (image, prompt) in enumerate(zip(self.image, self.prompt, strict=True)):
            assert isinstance(image, AttentionHalf)
            assert isinstance(prompt, AttentionHalf)
            (q, k, v), (q_own, k_own, v_own) = image.parts(x), prompt.parts(y)
            if i == last:  # nothing reads the others any more
                y, q_own = y[:, :1], q_own[:, :1]
            x = image(x, ops.one_more_attention(q, k_own, v_own, self.heads))
            y = prompt(y, ops.one_more_attention(q_own, k, v, self.heads))
        dense = x.reshape(b, grid, grid, c)
        for conv in self.dense:
            dense = conv(dense)
        return x + dense.reshape(b, t, c), y


def fold_generator(
    tensors: dict[str, torch.Tensor], own_tokens: torch.Tensor, heads: int, notes: Notes
) -> PromptGenerator:
    """Fold `prompt_generator.*` and `feature_adapter.*`.

    Args:
        tensors: official state dict.
        own_tokens: [1, 1 + masks, P], the decoder's IoU and mask tokens.
        heads: of all attentions.
        notes: receives one line per kind of folding.
    """
    t = Tree(tensors, "prompt_generator.")
    objects = t["object_token"]
    met = _cross(t.below("cross_token_token"), objects, own_tokens, heads)
    weight, bias = t.linear("token_proj", notes)
    objects = objects + met @ weight.t() + bias
    notes.add("prompt generator", "object tokens: their exchange with the decoder's tokens, and "
              "token_proj, evaluated once")  # fmt: skip
    trunk = t.below("cross_image_token")
    layers = [trunk.below(f"layers.{i}") for i in trunk.indices("layers")]
    notes.add("prompt generator", "a sequence's queries, keys and values in one matrix; scale and "
              "shift of the norms in front into it, key biases dropped")  # fmt: skip
    notes.add("prompt generator", "other tokens than the prompt left out of the last layer")
    f = Tree(tensors, "feature_adapter.")
    dense = [conv_norm(f[f"{i}.weight"], f.below(f"{i + 1}"), notes) for i in _conv_indices(f)]
    tokens = torch.cat([objects, own_tokens], 1)
    image = [_exchange(layer, 0, heads, notes) for layer in layers]
    prompt = [_exchange(layer, 1, heads, notes) for layer in layers]
    return PromptGenerator(tokens, image, prompt, dense, heads)


def _conv_indices(t: Tree) -> list[int]:
    """Places of the convolutions in a sequence of convolution, norm, activation."""
    names = (name.removeprefix(t.prefix) for name in t.tensors if name.startswith(t.prefix))
    found = {int(n.split(".")[0]) for n in names if n.endswith(".weight")}
    return [i for i in sorted(found) if t[f"{i}.weight"].ndim == 4]


def _exchange(layer: Tree, half: int, heads: int, notes: Notes) -> AttentionHalf:
    """Half 0 or 1 of a layer: its own queries, and keys and values for the other half.

    A norm's scale and shift go into the matrices behind it, so that one normalisation serves all
    three. The shift's part of a key adds the same to all scores of a query, and is dropped: this
    softmax subtracts their maximum, too.
    """
    own, other = layer.below(str(half)), layer.below(str(1 - half))
    to_q, to_kv = own["fn.to_q.weight"], other["fn.to_kv.weight"]
    inner = to_q.shape[0]
    scale = (inner // heads) ** -0.5
    # A pair's norm1 is that of the sequence which asks, norm2 that of the one which answers.
    q, q_bias = to_q * own["norm1.weight"], to_q @ own["norm1.bias"]
    kv, kv_bias = to_kv * other["norm2.weight"], to_kv @ other["norm2.bias"]
    qkv = Linear(
        torch.cat([q * scale, kv]).t(),
        torch.cat([q_bias * scale, torch.zeros_like(q_bias), kv_bias[inner:]]),
    )
    dim = to_q.shape[1]
    plain = Norm(torch.ones(dim), torch.zeros(dim), NORM_EPS)
    w, b = own.linear("fn.to_out.0", notes)
    feed = layer.below(str(half + 2))
    (w1, b1), (w2, b2) = feed.linear("fn.net.0", notes), feed.linear("fn.net.3", notes)
    norm = Norm(feed["norm.weight"], feed["norm.bias"], NORM_EPS)
    return AttentionHalf(
        plain, qkv, Linear(w.t(), b), (norm, Linear(w1.t(), b1), Linear(w2.t(), b2))
    )


def _cross(t: Tree, x: torch.Tensor, y: torch.Tensor, heads: int) -> torch.Tensor:
    """CrossTransformer of constants in float64: x `[1, T, P]` after all layers."""

    def norm(v: torch.Tensor, n: Tree) -> torch.Tensor:
        return F.layer_norm(v, (v.shape[-1],), n["weight"], n["bias"], NORM_EPS)

    def attend(p: Tree, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = norm(a, p.below("norm1")), norm(b, p.below("norm2"))
        q = a @ p["fn.to_q.weight"].t()
        k, v = (b @ p["fn.to_kv.weight"].t()).chunk(2, dim=-1)
        scale = (q.shape[-1] // heads) ** -0.5
        z = ops.one_more_attention(q * scale, k, v, heads)
        return z @ p["fn.to_out.0.weight"].t() + p["fn.to_out.0.bias"]

    def feed(p: Tree, a: torch.Tensor) -> torch.Tensor:
        h = norm(a, p.below("norm")) @ p["fn.net.0.weight"].t() + p["fn.net.0.bias"]
        return h.relu() @ p["fn.net.3.weight"].t() + p["fn.net.3.bias"]

    for i in t.indices("layers"):
        layer = [t.below(f"layers.{i}.{j}") for j in range(4)]
        x, y = x + attend(layer[0], x, y), y + attend(layer[1], y, x)
        x, y = x + feed(layer[2], x), y + feed(layer[3], y)
    return x
