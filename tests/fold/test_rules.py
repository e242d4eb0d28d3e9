"""Every rule of the fold, broken on purpose: the tests would see it.

Each entry of `BROKEN` leaves out one step of docs/folding.md. The unbroken fold is below 1e-4 in
the same comparison (test_exact.py); the broken one must be far above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from samedge.fold import decoder, encoder
from samedge.fold.layers import Linear
from samedge.kernels import reference
from samedge.models import PromptableModel, tiny_sam_config, tiny_samus_config
from tests.fold import oracle

VISIBLE = 1e-3
Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def models() -> dict[str, PromptableModel]:
    """SAM stores its global tables for another grid, so that resizing them matters, too."""
    return {
        "sam": oracle.random_model(tiny_sam_config(rel_pos_grid=5)),
        "samus": oracle.random_model(tiny_samus_config()),
    }


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


def spec(**changes: float) -> Break:
    """Another geometry or scale than the model's, where `oracle.halves` asks for it."""
    return wrapped(oracle, "encoder_spec", lambda make, model: replace(make(model), **changes))


def not_centred(site: int) -> Break:
    """One convolution or matrix in front of a norm keeps its mean."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        original, calls = encoder.centred, iter(range(100))
        patch.setattr(
            encoder, "centred", lambda w, notes: w if next(calls) == site else original(w, notes)
        )

    return apply


def forget(name: str) -> Break:
    """One tensor of the state dict is taken for zero."""

    def get(original: Any, tree: Any, key: str) -> torch.Tensor:
        value = original(tree, key)
        return torch.zeros_like(value) if (tree.prefix + key).endswith(name) else value

    def apply(patch: pytest.MonkeyPatch) -> None:
        original = encoder.Tree.__getitem__
        patch.setattr(encoder.Tree, "__getitem__", lambda tree, key: get(original, tree, key))

    return apply


def no_mask_forgotten(original: Any, tree: Any, no_mask: torch.Tensor, notes: Any) -> Any:
    return original(tree, torch.zeros_like(no_mask), notes)


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


def wrong_first_conv(change: Callable[[torch.Tensor], torch.Tensor]) -> Break:
    return wrapped(encoder, "_first_conv", lambda original, *args: change(original(*args)))


def grey_of_one_channel(
    original: Any, weight: torch.Tensor, family: Any, notes: Any, what: str
) -> torch.Tensor:
    return original(weight[:, :1] if family.channels == 1 else weight, family, notes, what)


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


def prompt_without_half_px(original: Any, p: Any, gauss: torch.Tensor, size: int) -> Any:
    made = original(p, gauss, size)
    phase = Linear(made.phase.weight, made.phase.bias - 0.5 * made.phase.weight.sum(0))
    return decoder.PromptEncoder(phase, made.labels)


def labels_shifted(original: Any, p: Any, gauss: torch.Tensor, size: int) -> Any:
    made = original(p, gauss, size)
    return decoder.PromptEncoder(made.phase, made.labels.roll(1, 0))


def first_mask_twice(original: Any, tree: Any, masks: tuple[int, ...]) -> Any:
    return original(tree, tuple(max(m - 1, 0) for m in masks))


def no_position_in_image_keys(original: Any, gauss: torch.Tensor, grid: int) -> torch.Tensor:
    return torch.zeros_like(original(gauss, grid))


BOTH, SAM, SAMUS = ("sam", "samus"), ("sam",), ("samus",)
ATTENTION = {
    "value bias left out": keep_value_bias,
    "query bias left out": drop_query_bias,
    "no softmax scale": no_softmax_scale,
}
BROKEN: list[tuple[str, tuple[str, ...], Break]] = [
    *((f"encoder: {n}", BOTH, wrapped(encoder, "scaled_heads", f)) for n, f in ATTENTION.items()),
    *((f"decoder: {n}", BOTH, wrapped(decoder, "scaled_heads", f)) for n, f in ATTENTION.items()),
    ("tables not divided", BOTH, wrapped(encoder, "relative_table", tables_not_divided)),
    ("tables transposed", BOTH, wrapped(encoder, "relative_table", tables_transposed)),
    ("tables not resized", SAM, wrapped(encoder, "relative_table", tables_cut)),
    ("padding not attended", BOTH, wrapped(reference, "window_attention", padding_not_attended)),
    ("adapter scale 1", SAMUS, spec(adapter_scale=1.0)),
    ("branch scale 1", SAMUS, spec(branch_scale=1.0)),
    ("window 4", BOTH, spec(window=4)),
    *((f"weights {i} not centred", SAMUS, not_centred(i)) for i in range(8)),
    *((f"neck {i} not centred", SAM, not_centred(i)) for i in range(2)),
    ("no-mask embedding", BOTH, wrapped(encoder, "_neck", no_mask_forgotten)),
    ("mask prompt keeps no-mask", SAM, wrapped(decoder, "_mask_prompt", lambda f, p: f(_Zero(p)))),
    ("value scale", BOTH, wrong_first_conv(lambda w: w * 1.01)),
    ("grey from one channel", SAMUS, wrapped(encoder, "_first_conv", grey_of_one_channel)),
    ("patch bias", BOTH, forget("patch_embed.proj.bias")),
    ("serial adapter, bias 1", SAMUS, forget("input_Adapter.D_fc1.bias")),
    ("serial adapter, bias 2", SAMUS, forget("input_Adapter.D_fc2.bias")),
    ("parallel adapter, bias 1", SAMUS, forget("MLP_Adapter.D_fc1.bias")),
    ("parallel adapter, bias 2", SAMUS, forget("MLP_Adapter.D_fc2.bias")),
    ("position table", SAMUS, wrapped(encoder, "_position_table", pooled_positions)),
    ("resize", SAMUS, wrapped(encoder, "bilinear_matrix", nearest_resize)),
    ("dense position code", BOTH, wrapped(decoder, "dense_code", no_position_in_image_keys)),
    ("cell centres", BOTH, wrapped(decoder, "dense_code", corner_positions)),
    ("px centres", BOTH, wrapped(decoder, "_prompt", prompt_without_half_px)),
    ("label table", BOTH, wrapped(decoder, "_prompt", labels_shifted)),
    ("mask tokens", SAM, wrapped(decoder, "_head", first_mask_twice)),
]  # fmt: skip


class _Zero:
    """A state dict below a prefix whose no-mask embedding is zero."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def __getitem__(self, key: str) -> torch.Tensor:
        value = self._tree[key]
        return torch.zeros_like(value) if "no_mask" in key else value

    def below(self, key: str) -> Any:
        return self._tree.below(key)


CASES = [(rule, family, broken) for rule, families, broken in BROKEN for family in families]


@pytest.mark.parametrize(
    ("family", "broken"),
    [(family, broken) for _, family, broken in CASES],
    ids=[f"{family}-{rule}" for rule, family, _ in CASES],
)
def test_a_broken_rule_is_seen(
    family: str,
    broken: Break,
    models: dict[str, PromptableModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    found = oracle.errors(models[family])
    assert max(found.values()) > VISIBLE, found


def test_the_attention_without_padding_keys_is_right_where_there_is_no_padding() -> None:
    """So that only its missing padding is what the test above sees."""
    qkv = torch.randn(2, 36, 3 * 8)
    rel_h, rel_w = torch.randn(3, 4, 3), torch.randn(3, 4, 3)
    expected = reference.window_attention(qkv, rel_h, rel_w, 2, 6)
    got = padding_not_attended(None, qkv, rel_h, rel_w, 2, 6)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", BOTH)
def test_dropping_the_key_bias_is_no_break(family: str, models: dict[str, PromptableModel]) -> None:
    """Softmax does not see it: the eager model itself gives the same without its key biases."""
    model = models[family]
    dim = model.config.embed_dim
    pixels = torch.rand(1, 3, model.config.img_size, model.config.img_size)
    with torch.no_grad():
        before = model.encode(pixels)
        kept = {k: v.clone() for k, v in model.state_dict().items()}
        for key, value in model.state_dict().items():
            if key.endswith("attn.qkv.bias"):
                value[dim : 2 * dim] += 3
            if key.endswith("Space_Adapter.k.bias"):
                value += 3
        after = model.encode(pixels)
        model.load_state_dict(kept)
    error = float((before - after).abs().max())
    assert error < 1e-4, error
