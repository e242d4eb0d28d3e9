"""UltraSam's network as mmdetection, mmcv and mmpretrain build it, with their names; very small.

Written from the sources of UltraSam (endosam/models), mmpretrain 1.2 (`ViTSAM`) and mmcv 2.1
(`FFN`, `MultiheadAttention`); it shares nothing with samedge's network, whose oracle it is. One
prompt at a time, in px of the network input.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE, PATCH, WIDTH, HEADS, WINDOW, GLOBAL = 128, 16, 32, 2, 5, (1,)
GRID, DIM, DECODER_HEADS = SIDE // PATCH, 32, 8
NO_MASK, NEGATIVE, POSITIVE, CORNER_A, CORNER_B, NOT_A_POINT = range(6)
OUTPUTS = (6, 7, 8, 9, 10)  # four masks, and the score


class Ffn(nn.Module):
    """mmcv's: `add_identity` is on unless it is switched off, and UltraSam does not."""

    def __init__(self, dim: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(dim, hidden), activation, nn.Dropout(0.1))
        self.layers = nn.Sequential(inner, nn.Linear(hidden, dim), nn.Dropout(0.1))

    def forward(self, x: Tensor, identity: Tensor | None = None) -> Tensor:
        out: Tensor = self.layers(x)
        return (x if identity is None else identity) + out


class ChannelNorm(nn.Module):
    """Normalises the channels of `[B, C, H, W]`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        last = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6)
        return last.movedim(-1, 1)


class GridAttention(nn.Module):
    """Attention over an H x W grid; its position terms are added one pair of places at a time."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, WIDTH // HEADS))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, WIDTH // HEADS))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        at = torch.cartesian_prod(torch.arange(h), torch.arange(w))
        apart = at[:, None] - at[None]  # query's place minus key's
        tables = self.rel_pos_h[apart[..., 0] + h - 1] + self.rel_pos_w[apart[..., 1] + w - 1]
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        scores = scores + torch.einsum("bnqc,qkc->bnqk", q, tables)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, h, w, -1)
        projected: Tensor = self.proj(out)
        return projected


class EncoderLayer(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.window = 0 if index in GLOBAL else WINDOW
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = GridAttention(self.window or GRID)
        self.ffn = Ffn(WIDTH, 4 * WIDTH, nn.GELU())

    def attend(self, x: Tensor) -> Tensor:
        n = self.window
        if not n:
            out: Tensor = self.attn(x)
            return out
        h, w = x.shape[1:3]
        padded = F.pad(x, (0, 0, 0, -w % n, 0, -h % n))
        rows = [
            torch.cat([self.attn(part) for part in row.split(n, 2)], 2)
            for row in padded.split(n, 1)
        ]
        return torch.cat(rows, 1)[:, :h, :w]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln1(x))
        out: Tensor = self.ffn(self.ln2(x), identity=x)
        return out


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"projection": nn.Conv2d(3, WIDTH, PATCH, PATCH)})
        self.pos_embed = nn.Parameter(torch.zeros(1, GRID, GRID, WIDTH))
        self.layers = nn.ModuleList(EncoderLayer(i) for i in range(2))
        self.channel_reduction = nn.Sequential(
            nn.Conv2d(WIDTH, DIM, 1, bias=False),
            ChannelNorm(DIM),
            nn.Conv2d(DIM, DIM, 3, padding=1, bias=False),
            ChannelNorm(DIM),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["projection"](x).movedim(1, -1) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.channel_reduction(x.movedim(-1, 1))
        return out


class Separate(nn.Module):
    """The parameters of torch's `MultiheadAttention` whose keys have a width of their own."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner))
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            self.register_parameter(name, nn.Parameter(torch.zeros(inner, DIM)))
        self.out_proj = nn.Linear(inner, DIM)


class TokenAttention(nn.Module):
    def __init__(self, downsample: int = 1) -> None:
        super().__init__()
        self.attn = Separate(DIM // downsample)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = self.attn
        biases = own.in_proj_bias.reshape(3, -1)
        weights = (own.get_parameter(f"{name}_proj_weight") for name in "qkv")
        parts = [
            F.linear(x, weight, bias).unflatten(-1, (DECODER_HEADS, -1)).transpose(1, 2)
            for x, weight, bias in zip((q, k, v), weights, biases, strict=True)
        ]
        out: Tensor = own.out_proj(
            F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        )
        return out


class DecoderLayer(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = TokenAttention()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.cross_attn_token_to_image = TokenAttention(2)
        self.mlp = Ffn(DIM, 64, nn.ReLU())
        self.norm3, self.norm4 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.cross_attn_image_to_token = TokenAttention(2)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        q, k = queries + query_pe, keys + key_pe
        queries = self.norm2(queries + self.cross_attn_token_to_image(q, k, keys))
        queries = self.norm3(queries + self.mlp(queries))  # mlp adds its input as well
        q, k = queries + query_pe, keys + key_pe
        return queries, self.norm4(keys + self.cross_attn_image_to_token(k, q, queries))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(i == 0) for i in range(2))
        self.final_attn_token_to_image = TokenAttention(2)
        self.post_norm = nn.LayerNorm(DIM)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        keys, key_pe = image.flatten(2).transpose(1, 2), image_pe.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, key_pe)
        final = self.final_attn_token_to_image(queries + tokens, keys + key_pe, keys)
        return self.post_norm(queries + final), keys


class Frequencies(nn.Module):
    positional_encoding_gaussian_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, DIM // 2))

    def forward(self, xy: Tensor) -> Tensor:
        phase = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phase.sin(), phase.cos()], -1)


class Labels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label_embedding = nn.Embedding(11, DIM)


class PromptEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pe_layer, self.label_encoder = Frequencies(), Labels()
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            ChannelNorm(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            ChannelNorm(16),
            nn.GELU(),
            nn.Conv2d(16, DIM, 1),
        )

    def forward(self, xy: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens `[1, P + 5, D]`, the output tokens last; and what the image gets."""
        table = self.label_encoder.label_embedding.weight
        code = self.pe_layer((xy + 0.5) / SIDE)  # its transforms give centres of px
        code[labels == NOT_A_POINT] = 0.0
        tokens = torch.cat([code + table[labels], table[list(OUTPUTS)]])[None]
        dense = table[NO_MASK].view(1, -1, 1, 1) if mask is None else self.mask_downscaling(mask)
        return tokens, dense

    def image_code(self) -> Tensor:
        at = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(at, at, indexing="ij")
        return self.pe_layer(torch.stack([x, y], -1)).movedim(-1, 0)[None]


class Mlp(nn.Module):
    def __init__(self, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(DIM, n) for n in (DIM, DIM, out))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.layers
        out: Tensor = third(F.relu(second(F.relu(first(x)))))
        return out


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(DIM, DIM // 4, 2, 2),
            ChannelNorm(DIM // 4),
            nn.GELU(),
            nn.ConvTranspose2d(DIM // 4, DIM // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp(DIM // 8) for _ in range(4))
        self.iou_prediction_head = Mlp(4)

    def forward(self, tokens: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        upscaled = self.output_upscaling(image.transpose(1, 2).unflatten(2, (GRID, GRID)))
        weights = [mlp(tokens[:, i - 5]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        logits = torch.einsum("bmc,bchw->bmhw", torch.stack(weights, 1), upscaled)
        return logits, self.iou_prediction_head(tokens[:, -1])


class UltraSam(nn.Module):
    """The whole network, its weights from a seed: all of them count, none explodes."""

    def __init__(self, seed: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone, self.decoder = Backbone(), Decoder()
        self.bbox_head, self.prompt_encoder = Head(), PromptEncoder()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        self.eval()

    def forward(
        self, image: Tensor, xy: Tensor, labels: list[int], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """All four masks `[1, 4, L, L]` and their scores of one prompt on a normalised image."""
        features = self.backbone(image)
        tokens, dense = self.prompt_encoder(xy, torch.tensor(labels), mask)
        return self.bbox_head(
            *self.decoder(features + dense, self.prompt_encoder.image_code(), tokens)
        )
