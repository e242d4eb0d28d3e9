"""Ways to break a rule of the fold on purpose; `tests/fold/test_rules.py` lists the rules.

A `Break` changes the folding code through a monkeypatch, never the eager model. Those of the
families after SAMUS are in `breaks_of_families`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from samedge.fold import decoder, encoder, folding
from samedge.fold.layers import Linear
from samedge.fold.tree import Tree
from samedge.kernels import reference

Break = Callable[[pytest.MonkeyPatch], None]


def wrapped(module: Any, name: str, change: Callable[..., Any]) -> Break:
    """Replace `module.name` by `change(original, *args)`."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        original = getattr(module, name)
        patch.setattr(module, name, lambda *args, **kwargs: change(original, *args, **kwargs))

    return apply


def keep_value_bias(original: Any, weights: Any, biases: Any, proj: Any, heads: int) -> Any:
    return original(weights, (biases[0], torch.zeros_like(biases[1])), proj, heads)


def drop_query_bias(original: Any, weights: Any, biases: Any, proj: Any, heads: int) -> Any:
    return original(weights, (torch.zeros_like(biases[0]), biases[1]), proj, heads)


def no_softmax_scale(original: Any, weights: Any, biases: Any, proj: Any, heads: int) -> Any:
    q, k, v, p = original(weights, biases, proj, heads)
    scale = (weights[0].shape[0] // heads) ** -0.5
    return Linear(q.weight / scale, q.bias / scale), k, v, p


def tables_not_divided(original: Any, table: torch.Tensor, size: int) -> torch.Tensor:
    return original(table, size) * table.shape[1] ** -0.5


def tables_transposed(original: Any, table: torch.Tensor, size: int) -> torch.Tensor:
    return original(table, size).transpose(0, 2)


def tables_cut(original: Any, table: torch.Tensor, size: int) -> torch.Tensor:
    """Another length: zeros instead of interpolation."""
    rows = 2 * size - 1
    return original(F.pad(table[:rows], (0, 0, 0, max(rows - len(table), 0))), size)


def spec(**changes: Any) -> Break:
    """Another geometry or scale than the config's."""
    return wrapped(folding, "encoder_spec", lambda make, config: replace(make(config), **changes))


def built(module: Any, name: str, **changes: Any) -> Break:
    """Layers of type `module.name` are made with other keyword arguments."""
    return wrapped(module, name, lambda make, *args, **given: make(*args, **{**given, **changes}))


def not_centred(site: int) -> Break:
    """One convolution or matrix in front of a norm keeps its mean."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        original, calls = encoder.centred, iter(range(100))
        patch.setattr(
            encoder, "centred", lambda w, notes: w if next(calls) == site else original(w, notes)
        )

    return apply


def changed(pattern: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Break:
    """Tensors whose key matches are changed, in the eyes of the folding code."""

    def get(original: Any, tree: Tree, key: str) -> torch.Tensor:
        value = original(tree, key)
        return change(value) if re.search(pattern, tree.prefix + key) else value

    return wrapped(Tree, "__getitem__", get)


def forget(pattern: str) -> Break:
    """Tensors whose key matches are taken for zero."""
    return changed(pattern, torch.zeros_like)


def no_mask_forgotten(original: Any, tree: Tree, no_mask: torch.Tensor, notes: Any) -> Any:
    return original(tree, None, notes)


def no_mask_added(original: Any, model: Any) -> torch.Tensor:
    """As in SAM, although the model makes a dense prompt of its own."""
    return model.prompt_encoder.no_mask_embed.weight.detach().reshape(-1)


def padding_not_attended(
    original: Any,
    qkv: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
    grid: int,
) -> torch.Tensor:
    """As if padding were masked: a constant far below every score where its keys are."""
    w, c = rel_h.shape[0], qkv.shape[-1] // 3
    q, k, v = qkv.reshape(-1, grid, grid, 3 * c).split(c, -1)
    result = torch.empty_like(q)
    for y in range(0, grid, w):
        for x in range(0, grid, w):
            m, n = min(w, grid - y), min(w, grid - x)
            parts = [t[:, y : y + m, x : x + n] for t in (q, k, v)]
            scores = _scores(*parts[:2], rel_h[:m, :, :m], rel_w[:n, :, :n], heads)
            values = reference.split_heads(parts[2].reshape(-1, m * n, c), heads)
            out = reference.merge_heads(scores.softmax(-1) @ values)
            result[:, y : y + m, x : x + n] = out.reshape(-1, m, n, c)
    return result.reshape(-1, grid * grid, c)


def _scores(
    q: torch.Tensor, k: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor, heads: int
) -> torch.Tensor:
    b, m, n, _ = q.shape
    qh, kh = (t.reshape(b, m, n, heads, -1) for t in (q, k))
    scores = torch.einsum("bmnhd,byxhd->bhmnyx", qh, kh)
    scores = scores + torch.einsum("bmnhd,mdy->bhmny", qh, rel_h)[..., None]
    scores = scores + torch.einsum("bmnhd,ndx->bhmnx", qh, rel_w)[..., None, :]
    return scores.reshape(b, heads, m * n, m * n)


def value_scale_off(
    original: Any, weight: torch.Tensor, family: Any, notes: Any, what: str
) -> tuple[torch.Tensor, torch.Tensor]:
    return original(weight * 1.01, family, notes, what)


def grey_of_one_channel(
    original: Any, weight: torch.Tensor, family: Any, notes: Any, what: str
) -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.tensor([1, 0, 0]).reshape(1, 3, 1, 1)
    return original(weight * first if family.channels == 1 else weight, family, notes, what)


def pooled_positions(original: Any, tree: Any, grid: int, notes: Any) -> torch.Tensor:
    """The stored table, averaged, instead of what the small network makes of it."""
    table = F.avg_pool2d(tree["pos_embed"].permute(0, 3, 1, 2), 2)
    return table[0].permute(1, 2, 0)


def nearest_resize(original: Any, out: int, size: int) -> Any:
    return original(out, size).round()


def corner_positions(original: Any, gauss: torch.Tensor, grid: int) -> torch.Tensor:
    """Position code of a quarter of each cell instead of its centre."""
    fine = original(gauss, 2 * grid).reshape(2 * grid, 2 * grid, -1)
    return fine[::2, ::2].reshape(grid * grid, -1)


def prompt_without_half_px(original: Any, *args: Any) -> Any:
    made = original(*args)
    phase = Linear(made.phase.weight, made.phase.bias - 0.5 * made.phase.weight.sum(0))
    return decoder.PromptEncoder(phase, made.labels)


def labels_shifted(original: Any, *args: Any) -> Any:
    made = original(*args)
    return decoder.PromptEncoder(made.phase, made.labels.roll(1, 0))


def first_mask_twice(original: Any, tree: Any, masks: tuple[int, ...]) -> Any:
    return original(tree, tuple(max(m - 1, 0) for m in masks))


def no_position_in_image_keys(original: Any, gauss: torch.Tensor, grid: int) -> torch.Tensor:
    return torch.zeros_like(original(gauss, grid))
