"""Low-rank branches as loralib stores them: what they add, and whether it is in the weights yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samedge import models, open_checkpoint
from samedge.checkpoint.lora import settle_merged
from samedge.errors import CheckpointError
from samedge.models.lora import LoraLinear, merged_delta
from tests.checkpoint.tiny_files import whole

StateDict = dict[str, Tensor]
Save = Callable[..., Path]
LAYERS = ("attn.proj", "attn.qkv", "mlp.lin1", "mlp.lin2")


@pytest.fixture(scope="module")
def loralib() -> ModuleType:
    """The original package; part of the extra `test`."""
    return pytest.importorskip("loralib")


def product(a: Tensor, b: Tensor, enabled: tuple[bool, ...] = (True,)) -> np.ndarray:
    """What branches add to a weight, entry by entry in float64; one part of the rows for each of
    `enabled`, and zero in the others."""
    a, b = a.detach(), b.detach()
    rank, parts = b.shape[1], len(enabled)
    rows = b.shape[0] // sum(enabled)
    added = np.zeros((parts * rows, a.shape[1]))
    branch = 0
    for part in range(parts):
        if not enabled[part]:
            continue
        for row in range(rows):
            for r in range(rank):
                factor = float(b[branch * rows + row, r]) / rank
                added[part * rows + row] += factor * a[branch * rank + r].double().numpy()
        branch += 1
    return added


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_what_branches_add(rank: int, rows: int, columns: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for enabled in ((True,), (True, False, True), (True, True, True)):
        n = sum(enabled)
        a = torch.randn(n * rank, columns, generator=random)
        b = torch.randn(n * rows, rank, generator=random)
        got = merged_delta(a, b)
        np.testing.assert_allclose(got.numpy(), product(a, b, enabled), atol=1e-5)


# --- loralib itself -----------------------------------------------------------------------------


def layer_of(loralib: ModuleType, enabled: tuple[bool, ...], seed: int = 0) -> nn.Linear:
    """A layer of loralib's, trained a little: its branch is not zero."""
    torch.manual_seed(seed)
    if len(enabled) == 1:
        layer = loralib.Linear(12, 18, r=3)
    else:
        layer = loralib.MergedLinear(12, 18, r=3, enable_lora=list(enabled))
    nn.init.normal_(layer.lora_B)
    return layer


@pytest.mark.parametrize("enabled", [(True,), (True, False, True), (True, True, True)])
def test_loralib_adds_the_same(loralib: ModuleType, enabled: tuple[bool, ...]) -> None:
    layer = layer_of(loralib, enabled)
    before = layer.weight.detach().clone()
    layer.eval()  # merges; unlike torch's, it returns nothing
    added = (layer.weight - before).detach()
    np.testing.assert_allclose(
        added.numpy(), product(layer.lora_A, layer.lora_B, enabled), atol=1e-6
    )
    torch.testing.assert_close(merged_delta(layer.lora_A, layer.lora_B), added)


@pytest.mark.parametrize("enabled", [(True,), (True, False, True), (True, True, True)])
def test_our_layer_computes_as_loralib_in_train_mode(
    loralib: ModuleType, enabled: tuple[bool, ...]
) -> None:
    layer = layer_of(loralib, enabled)
    ours = LoraLinear(12, 18, rank=3, groups=0 if len(enabled) == 1 else sum(enabled))
    ours.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), layer(x))
    layer.eval()
    torch.testing.assert_close(layer(x), ours(x))


def test_the_trap(loralib: ModuleType) -> None:
    """A file saved in eval mode, loaded and switched to eval mode, has its branch twice."""
    layer = layer_of(loralib, (True, False, True))
    once = layer.weight + merged_delta(layer.lora_A, layer.lora_B)
    layer.eval()
    saved = {k: v.clone() for k, v in layer.state_dict().items()}
    torch.testing.assert_close(saved["weight"], once)
    again = layer_of(loralib, (True, False, True), seed=1)
    again.load_state_dict(saved)
    again.eval()
    assert (again.weight - once).abs().max() > 0.1


# --- settled with the base ----------------------------------------------------------------------

CONFIG = models.tiny(
    models.MsaConfig,
    adapter_ratio=0.0,
    lora_rank=3,
    lora_layers=LAYERS,
    lora_groups=2,
)


def enabled(name: str) -> tuple[bool, ...]:
    return (True, False, True) if name.endswith("attn.qkv") else (True,)


def branched(tensors: StateDict) -> list[str]:
    return [name.removesuffix(".lora_A") for name in tensors if name.endswith(".lora_A")]


def with_products(tensors: StateDict, names: list[str]) -> StateDict:
    """The file as it is saved in eval mode: products in the weights of these layers."""
    merged = dict(tensors)
    for name in names:
        added = product(tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"], enabled(name))
        merged[f"{name}.weight"] = tensors[f"{name}.weight"] + torch.from_numpy(added).float()
    return merged


@pytest.fixture(scope="module")
def base() -> StateDict:
    return whole(models.tiny_sam_config(), 2)


@pytest.fixture(scope="module")
def apart(base: StateDict) -> StateDict:
    """Saved in train mode: branches beside the weights of the base."""
    trained = whole(CONFIG, 3)
    for name in branched(trained):
        trained[f"{name}.weight"] = base[f"{name}.weight"]
    return trained


@pytest.fixture(scope="module")
def merged(apart: StateDict) -> StateDict:
    return with_products(apart, branched(apart))


def test_every_layer_has_a_branch(apart: StateDict) -> None:
    assert len(branched(apart)) == 4 * CONFIG.depth


def embedding(model: nn.Module) -> Tensor:
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.encode(x)


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_saved_in_eval_mode_is_found_out(
    order: int, apart: StateDict, merged: StateDict, base: StateDict, saved: Save
) -> None:
    paths = [saved(merged, "msa.pth"), saved(base, "sam.pth")][::order]
    settled = open_checkpoint(*paths)
    assert "in the weights already (it was saved in eval mode)" in settled.describe()
    assert "msa.pth: low-rank branches" in settled.describe()
    for name, tensor in apart.items():
        assert torch.equal(settled.tensors[name], tensor), name
    right = embedding(models.build_model(CONFIG, apart))
    torch.testing.assert_close(embedding(settled.build()), right)
    # Without the base nobody can know: they are added, as the original would, and it is said.
    alone = open_checkpoint(paths[::order][0])
    assert "saved in eval mode has them in already" in alone.describe()
    assert (embedding(alone.build()) - right).abs().max() > 0.1


def test_a_file_saved_in_train_mode_stays(apart: StateDict, base: StateDict, saved: Save) -> None:
    path = saved({"state_dict": apart, "epoch": 3}, "msa.pth")
    settled = open_checkpoint(path, saved(base, "sam.pth"), family="msa")
    assert "are apart from the weights" in settled.describe()
    assert settled.variant.ranks == dict.fromkeys(LAYERS, 3)
    for name, tensor in apart.items():
        assert torch.equal(settled.tensors[name], tensor), name
    assert settled.build().config == CONFIG
    assert torch.equal(embedding(settled.build()), embedding(open_checkpoint(path).build()))


@given(count=st.integers(1, 4 * CONFIG.depth - 1), random=st.randoms(use_true_random=False))
def test_mixtures_are_refused(count: int, random: Any, base: StateDict, apart: StateDict) -> None:
    names = branched(apart)
    some = random.sample(names, count)
    with pytest.raises(CheckpointError, match=f"{count} layers .* already .* in train mode") as e:
        settle_merged(with_products(apart, some), base)
    first, other = (next(n for n in names if (n in some) is kind) for kind in (True, False))
    assert f"{first}.weight" in str(e.value)
    assert f"{other}.weight" in str(e.value)


def test_a_mixture_names_its_file(apart: StateDict, base: StateDict, saved: Save) -> None:
    path = saved(with_products(apart, branched(apart)[:1]), "msa.pth")
    with pytest.raises(CheckpointError, match=r"^msa\.pth: .*save the model again"):
        open_checkpoint(path, saved(base, "sam.pth"))


def test_layers_without_a_trace_of_training_decide_nothing(
    apart: StateDict, merged: StateDict, base: StateDict
) -> None:
    """B starts at zero; a layer that never got a gradient is the same merged or not."""
    idle = branched(apart)[5]
    zero = torch.zeros_like(apart[f"{idle}.lora_B"])
    for trained, word in ((apart, "apart"), (merged, "already")):
        tensors = {**trained, f"{idle}.lora_B": zero, f"{idle}.weight": base[f"{idle}.weight"]}
        settled, notes = settle_merged(tensors, base)
        assert word in notes[0]
        for name in branched(apart):
            assert torch.equal(settled[f"{name}.weight"], base[f"{name}.weight"])
    untrained = {k: torch.zeros_like(v) if "lora_B" in k else v for k, v in apart.items()}
    assert settle_merged(untrained, base)[1] == ["low-rank branches are too small to matter"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("state", ["apart", "merged"])
def test_half_precision(
    dtype: torch.dtype, state: str, apart: StateDict, merged: StateDict, base: StateDict,
    saved: Save,
) -> None:  # fmt: skip
    """The rounding of the file is larger than what float32 weights may differ by."""
    trained = {"apart": apart, "merged": merged}[state]
    path = saved({k: v.to(dtype) for k, v in trained.items()}, "msa.pth")
    settled = open_checkpoint(path, saved(base, "sam.pth"))
    assert ("apart" if state == "apart" else "already") in settled.describe()
    for name in branched(apart):
        torch.testing.assert_close(
            settled.tensors[f"{name}.weight"],
            base[f"{name}.weight"],
            atol=0 if state == "merged" else torch.finfo(dtype).eps,
            rtol=0,
        )


def test_small_branches_in_half_precision(apart: StateDict, base: StateDict) -> None:
    """Smaller than the rounding of single weights, yet told from all of them together."""
    small = {k: v * 2e-3 if "lora_B" in k else v for k, v in apart.items()}
    for tensors, word in ((small, "apart"), (with_products(small, branched(small)), "already")):
        rounded = {k: v.half().float() for k, v in tensors.items()}
        notes = settle_merged(rounded, base, rounding=torch.finfo(torch.float16).eps)[1]
        assert word in notes[0]


def test_another_base(apart: StateDict, base: StateDict, saved: Save) -> None:
    path = saved(apart, "msa.pth")
    other = saved(whole(models.tiny_sam_config(), 7), "other.pth")
    with pytest.raises(CheckpointError, match=r"^msa\.pth: .*neither that of other\.pth nor that"):
        open_checkpoint(path, other)
    wide = saved(whole(models.tiny_sam_config(embed_dim=48), 2), "wide.pth")
    with pytest.raises(CheckpointError, match=r"wide\.pth has no 'image_encoder.*\[96, 32\]"):
        open_checkpoint(path, wide)
    del base
    lacking = {k: v for k, v in apart.items() if "blocks.0.attn.qkv" in k}
    with pytest.raises(CheckpointError, match="the base has no"):
        settle_merged(lacking, {})


def test_nothing_is_copied(apart: StateDict, merged: StateDict, base: StateDict) -> None:
    storages = {v.data_ptr() for v in (*apart.values(), *merged.values(), *base.values())}
    for trained in (apart, merged):
        settled, _ = settle_merged(trained, base)
        assert {v.data_ptr() for v in settled.values()} <= storages


def test_a_rank_that_is_to_be_checked(apart: StateDict, saved: Save) -> None:
    path = saved(apart, "msa.pth")
    assert open_checkpoint(path, rank=3).variant.ranks["attn.qkv"] == 3
    with pytest.raises(CheckpointError, match=r"msa\.pth: .*have rank 3, not rank=4"):
        open_checkpoint(path, rank=4)
