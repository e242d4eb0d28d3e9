"""Low-rank branches against plain matrix products, and their start at zero."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samedge import models
from samedge.models.lora import LoraLinear, LoraProjection, LoraQkv


def randomise(module: nn.Module) -> None:
    """No factor is zero, and all have the same share."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@given(st.integers(1, 6), st.integers(1, 12), st.booleans())
def test_query_and_value(rank: int, dim: int, bias: bool) -> None:
    torch.manual_seed(0)
    qkv = nn.Linear(dim, 3 * dim, bias=bias)
    layer = LoraQkv(qkv, rank)
    x = torch.randn(2, 3, 4, dim)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), qkv(x), rtol=0, atol=0)  # B starts at zero
        randomise(layer)
        plain = qkv(x)
        q, k, v = (layer(x) - plain).split(dim, dim=-1)
        torch.testing.assert_close(q, x @ layer.linear_a_q.weight.T @ layer.linear_b_q.weight.T)
        torch.testing.assert_close(v, x @ layer.linear_a_v.weight.T @ layer.linear_b_v.weight.T)
        assert torch.count_nonzero(k) == 0
    assert layer.linear_a_q.weight.shape == (rank, dim)
    assert all(part.bias is None for name, part in layer.named_children() if "linear" in name)


def test_projection() -> None:
    torch.manual_seed(0)
    proj = nn.Linear(8, 4)
    layer = LoraProjection(proj, 3)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), proj(x), rtol=0, atol=0)
        randomise(layer)
        weight = proj.weight + layer.w_b.weight @ layer.w_a.weight
        torch.testing.assert_close(layer(x), x @ weight.T + proj.bias)


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize(
    ("groups", "thirds"), [(0, None), (2, (0, None, 1)), (3, (0, 1, 2))], ids=["one", "qv", "qkv"]
)
def test_loralib_layer(groups: int, thirds: tuple[int | None, ...] | None, rank: int) -> None:
    """Branch i has rows i r ... of A and rows i d ... of B; each is divided by r."""
    torch.manual_seed(0)
    layer = LoraLinear(8, 12, rank, groups)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        plain = x @ layer.weight.T + layer.bias
        torch.testing.assert_close(layer(x), plain)  # B starts at zero
        assert layer.lora_A.abs().min() > 0
        randomise(layer)
        plain = x @ layer.weight.T + layer.bias
        a, b = layer.lora_A, layer.lora_B
        if thirds is None:
            added = x @ a.T @ b.T / rank
        else:
            parts = []
            for branch in thirds:
                if branch is None:
                    parts.append(torch.zeros(2, 5, 4))
                    continue
                down = a[branch * rank : (branch + 1) * rank]
                parts.append(x @ down.T @ b[branch * 4 : (branch + 1) * 4].T / rank)
            added = torch.cat(parts, dim=-1)
        torch.testing.assert_close(layer(x), plain + added)


def encoder_of(model: nn.Module) -> dict[str, Tensor]:
    prefix = "image_encoder."
    return {k[len(prefix) :]: v for k, v in model.state_dict().items() if k.startswith(prefix)}


@pytest.mark.parametrize("decoder_rank", [0, 2])
def test_a_fresh_samed_is_its_base(decoder_rank: int) -> None:
    """Training starts from SAM as it is: encoder and, with branches, decoder answer the same."""
    torch.manual_seed(0)
    config = models.tiny(models.SamedConfig, decoder_rank=decoder_rank)
    samed = models.build_model(config)
    sam = models.build_sam(models.tiny_sam_config(num_mask_tokens=config.num_mask_tokens))
    tensors = {}
    for name, tensor in samed.state_dict().items():
        if not any(part in name for part in (".linear_", ".w_a.", ".w_b.")):
            name = name.replace("qkv.qkv.", "qkv.").replace("_proj.proj.", "_proj.")
            tensors[name] = tensor
    models.load_strictly(sam, tensors)
    x = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        embedding = sam.encode(x)
        torch.testing.assert_close(samed.encode(x), embedding)
        pe, sparse = sam.prompt_encoder.dense_pe(), torch.zeros(1, 0, 32)
        dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, 32, 8, 8)
        expected = sam.mask_decoder.predict_masks(embedding, pe, sparse, dense)
        got = samed.decode(embedding)
    torch.testing.assert_close(got, expected)


def test_a_fresh_msa_with_loralib_is_its_base() -> None:
    torch.manual_seed(0)
    lora = {
        "adapter_ratio": 0.0,
        "lora_rank": 2,
        "lora_layers": ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2"),
        "lora_groups": 3,
    }
    msa = models.build_model(models.tiny(models.MsaConfig, stored_grid=8, **lora))
    sam = models.build_sam(models.tiny_sam_config())
    names = {k.replace("rel_h", "rel_pos_h").replace("rel_w", "rel_pos_w"): v
             for k, v in encoder_of(msa).items() if "lora_" not in k}  # fmt: skip
    sam.image_encoder.load_state_dict(names)
    x = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(msa.encode(x), sam.encode(x))
