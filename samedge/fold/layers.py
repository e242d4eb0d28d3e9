"""The layers of a FoldedModel: plain, few, and the same for every family.

Linear weights are stored [in, out], the way they multiply tokens from the right and the way the
ONNX initialisers of the same name hold them. Images are channels-last throughout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from samedge.kernels import reference as ops


def parameter(x: torch.Tensor) -> nn.Parameter:
    """A frozen float32 copy of `x`: constants of a folded model are saved and moved as weights."""
    own = x.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return nn.Parameter(own, requires_grad=False)


class Linear(nn.Module):
    """`x @ weight + bias`; weight [in, out]."""

    bias: nn.Parameter | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weight = parameter(weight)
        self.bias = None if bias is None else parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.linear(x, self.weight, self.bias)


class Norm(nn.Module):
    """LayerNorm over the last axis."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = parameter(weight), parameter(bias), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.layer_norm(x, self.weight, self.bias, self.eps)


class RmsNorm(nn.Module):
    """`x / rms(x) * weight + bias` over the last axis: a LayerNorm behind centred weights."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = parameter(weight), parameter(bias), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.rms_norm(x, self.weight, self.bias, self.eps)


class Mlp(nn.Module):
    """`gelu(lin1(x))` through lin2; a parallel adapter is part of its width."""

    def __init__(self, lin1: Linear, lin2: Linear) -> None:
        super().__init__()
        self.lin1, self.lin2 = lin1, lin2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w1, w2 = self.lin1, self.lin2
        return ops.mlp(x, w1.weight, w1.bias, w2.weight, w2.bias)


class ConvNorm(nn.Module):
    """3x3 convolution of centred weights, RMS norm over channels, optional GELU; channels last."""

    def __init__(self, weight: torch.Tensor, norm: RmsNorm, activation: bool = True) -> None:
        super().__init__()
        self.weight, self.norm, self.activation = parameter(weight), norm, activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(ops.conv3x3(x, self.weight))
        return F.gelu(x) if self.activation else x


class DepthBranch(nn.Module):
    """The same queries, keys and values once more, along the batch axis; down to a hidden vector.

    `depth` entries of the batch axis form a group; rel_h and rel_w are the tables of the small grid
    that the group is laid out in.
    """

    def __init__(self, down: Linear, rel_h: torch.Tensor, rel_w: torch.Tensor, depth: int) -> None:
        super().__init__()
        self.down, self.depth = down, depth
        self.rel_h, self.rel_w = parameter(rel_h), parameter(rel_w)  # [n, d, n] each

    def forward(self, qkv: torch.Tensor, heads: int, grid: int, window: int) -> torch.Tensor:
        y = ops.depth_attention(qkv, self.rel_h, self.rel_w, heads, grid, window, self.depth)
        out: torch.Tensor = self.down(y)
        return out


class RelativeAttention(nn.Module):
    """Self-attention with relative positions, in windows or over the whole grid.

    With an adapter behind it, the projection has the adapter's pre-activation as further columns;
    with a depth branch its hidden vector stands beside the adapter's.
    """

    def __init__(
        self,
        qkv: Linear,
        proj: Linear,
        rel_h: torch.Tensor,
        rel_w: torch.Tensor,
        heads: int,
        grid: int,
        adapter: Linear | None = None,
        depth: DepthBranch | None = None,
    ) -> None:
        super().__init__()
        self.qkv, self.proj = qkv, proj
        self.rel_h, self.rel_w = parameter(rel_h), parameter(rel_w)  # [n, d, n]
        self.heads, self.grid = heads, grid
        self.adapter, self.depth = adapter, depth

    @property
    def window(self) -> int:
        """Side of the square that attends to itself, in tokens."""
        return int(self.rel_h.shape[0])

    @property
    def windowed(self) -> bool:
        """False if one window covers the whole grid without padding."""
        return self.window != self.grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(x)
        if self.windowed:
            y = ops.window_attention(qkv, self.rel_h, self.rel_w, self.heads, self.grid)
        else:
            q, k, v = qkv.chunk(3, dim=-1)
            y = ops.relative_attention(q, k, v, self.rel_h, self.rel_w, self.heads)
        out: torch.Tensor = self.proj(y)
        if self.adapter is None:
            return out
        dim = x.shape[-1]
        hidden = out[..., dim:]
        if self.depth is not None:
            along = self.depth(qkv, self.heads, self.grid, self.window)
            hidden = torch.cat([hidden, along], dim=-1)
        extra: torch.Tensor = self.adapter(F.gelu(hidden))
        return out[..., :dim] + extra


class CrossAttention(nn.Module):
    """Queries from the tokens, keys and values (one matrix) from the CNN branch."""

    def __init__(self, q: Linear, kv: Linear, proj: Linear, heads: int) -> None:
        super().__init__()
        self.q, self.kv, self.proj, self.heads = q, kv, proj, heads

    def forward(self, x: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        k, v = self.kv(branch).chunk(2, dim=-1)
        out: torch.Tensor = self.proj(ops.attention(self.q(x), k, v, self.heads))
        return out


class Block(nn.Module):
    """One transformer block; `cross` and `refine` only where SAMUS joins its CNN branch."""

    def __init__(
        self,
        norm1: Norm,
        attn: RelativeAttention,
        norm2: Norm,
        mlp: Mlp,
        cross: CrossAttention | None = None,
        refine: ConvNorm | None = None,
    ) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = norm1, attn, norm2, mlp
        self.cross, self.refine = cross, refine

    def forward(
        self, x: torch.Tensor, branch: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        y = self.norm1(x)
        if self.cross is not None and self.refine is not None and branch is not None:
            b, n, _, c = branch.shape
            y = y + self.cross(y, branch.reshape(b, n * n, c))
            branch = self.refine(branch)
        x = x + self.attn(y)
        return x + self.mlp(self.norm2(x)), branch


class CnnBranch(nn.Module):
    """SAMUS's CNN branch: four convolutions with max-pooling between; channels last."""

    def __init__(self, convs: list[ConvNorm]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, conv in enumerate(self.convs):
            if i:
                x = F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
            x = conv(x)
        return x


class PatchEmbed(nn.Module):
    """Patches to tokens, position table and all constants added.

    `resize` [R, S] is a constant bilinear enlargement in front (SAMUS: 256 -> 264). With a serial
    adapter the matrix has its pre-activation as further columns.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        stride: int,
        pos_embed: torch.Tensor,
        resize: torch.Tensor | None,
        adapter: Linear | None,
        adapter_bias: torch.Tensor | None,
    ) -> None:
        super().__init__()
        self.weight, self.stride = parameter(weight), stride  # [D (+ A), C, p, p]
        self.pos_embed = parameter(pos_embed)  # [1, g*g, D]
        self.resize = None if resize is None else parameter(resize)
        self.adapter = adapter
        self.adapter_bias = None if adapter_bias is None else parameter(adapter_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.resize is not None:
            x = self.resize @ x @ self.resize.t()
        x = F.conv2d(x, self.weight, stride=self.stride).flatten(2).transpose(1, 2)
        dim = self.pos_embed.shape[-1]
        if self.adapter is None or self.adapter_bias is None:
            return x + self.pos_embed
        hidden = F.gelu(x[..., dim:] + self.adapter_bias)
        out: torch.Tensor = x[..., :dim] + self.adapter(hidden) + self.pos_embed
        return out


class Neck(nn.Module):
    """Linear, norm, 3x3 convolution, norm; the last bias may hold the no-mask embedding."""

    def __init__(self, lin: Linear, norm: RmsNorm, conv: ConvNorm) -> None:
        super().__init__()
        self.lin, self.norm, self.conv = lin, norm, conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(self.norm(self.lin(x)))
        return out.permute(0, 3, 1, 2)


class FoldedEncoder(nn.Module):
    """Image encoder: [B, C, S, S] network input -> [B, P, g, g] embedding.

    The no-mask embedding is part of it (of the neck's last bias) where the model has one.
    """

    def __init__(
        self,
        patch_embed: PatchEmbed,
        blocks: list[Block],
        neck: Neck,
        cnn: CnnBranch | None,
        branch_scale: float,
    ) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.neck = patch_embed, nn.ModuleList(blocks), neck
        self.cnn, self.branch_scale = cnn, branch_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(x)
        branch = None if self.cnn is None else self.cnn(x.permute(0, 2, 3, 1))
        for block in self.blocks:
            tokens, branch = block(tokens, branch)
        b, t, d = tokens.shape
        grid = int(t**0.5)
        tokens = tokens.reshape(b, grid, grid, d)
        if branch is not None:
            tokens = tokens + self.branch_scale * branch
        out: torch.Tensor = self.neck(tokens)
        return out
