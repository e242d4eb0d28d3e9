"""What is counted for eager PyTorch, and the least that is needed, against sums by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samedge.bench.account.eager import Counter, eager_launches
from samedge.bench.account.launches import Cost, Ledger
from samedge.bench.account.least import least_bytes
from samedge.fold import layers as fl
from samedge.fold.sizes import folded_sizes, unfolded_sizes
from samedge.models import AutosamusConfig, MsaConfig, SamConfig, SamedConfig, SamusConfig, tiny

CONFIGS = (SamConfig, SamedConfig, MsaConfig, SamusConfig, AutosamusConfig)


def test_operations_by_hand() -> None:
    ledger = Ledger()
    layer = nn.Linear(3, 5, device="meta")
    x = torch.empty(2, 7, 3, device="meta")
    with torch.no_grad(), Counter(ledger):
        y = layer(x)  # one product with its bias
        y = y.view(14, 5).t().t()  # views
        y += torch.empty(1, 5, device="meta").expand(14, 5)  # in place; the bias is there once
        torch.empty(100, device="meta")
        torch.nn.functional.gelu(y)
    assert [entry.kind for entry in ledger.entries] == ["addmm", "add_", "gelu"]
    product, added, gelu = (entry.cost for entry in ledger.entries)
    assert product == Cost(1, 2 * 14 * 3 * 5, 4 * (5 + 42 + 15), 4 * 70)
    assert added == Cost(1, 0, 4 * (70 + 5), 4 * 70)
    assert gelu == Cost(1, 0, 4 * 70, 4 * 70)


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_family(kind: type[SamConfig]) -> None:
    model = unfolded_sizes(tiny(kind))
    ledger = eager_launches(model)
    parts = ledger.parts()
    blocks = [f"blocks.{i}" for i in range(model.config.depth)]
    assert {"patch_embed", *blocks, "neck", "decoder"} <= set(parts)
    assert all(cost.launches and cost.flops and cost.moved for cost in parts.values())
    assert all(parts[block].launches > 20 for block in blocks)
    half = eager_launches(unfolded_sizes(tiny(kind)), torch.float16)
    for block in blocks:
        assert half.parts()[block].launches == parts[block].launches
        assert 0.5 <= half.parts()[block].moved / parts[block].moved < 0.6
    least = least_bytes(folded_sizes(unfolded_sizes(tiny(kind))))
    assert set(least) == set(parts)
    assert all(least[part] < half.parts()[part].moved for part in least)


def test_a_block_by_hand() -> None:
    folded = folded_sizes(unfolded_sizes(tiny(SamConfig)))
    block = folded.encoder.blocks[0]
    assert isinstance(block, fl.Block)
    d, t = block.attn.qkv.weight.shape[0], folded.variant.grid**2
    hidden = block.mlp.lin1.weight.shape[1]
    w = block.attn.window
    values = (
        (t * d + d * 3 * d + 3 * d + t * 3 * d)  # qkv
        + (t * 3 * d + 2 * block.attn.rel_h.numel() + t * d)  # attention
        + (t * d + d * d + d + t * d + t * d)  # projection, onto the residual
        + (t * d + d * hidden + hidden + t * hidden)
        + (t * hidden + hidden * d + d + t * d + t * d)
    )
    assert block.attn.rel_h.shape[0] == w
    assert least_bytes(folded)["blocks.0"] == 2 * values
