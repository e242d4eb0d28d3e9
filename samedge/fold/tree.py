"""A state dict seen from one of its parts, in float64, low-rank branches merged."""

from __future__ import annotations

import re

import torch

from samedge.fold.report import Notes
from samedge.models.lora import merged_delta


class Tree:
    """A view of a state dict below a prefix, in float64."""

    def __init__(self, tensors: dict[str, torch.Tensor], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, key: str) -> torch.Tensor:
        tensor = self.tensors[self.prefix + key].detach()
        # On the meta device there are no values to bring: `sizes` folds without any.
        return tensor.double() if tensor.is_meta else tensor.to("cpu", torch.float64)

    def __contains__(self, key: str) -> bool:
        """True for a tensor or for a part (`"mlp"`) below the prefix."""
        name = self.prefix + key
        return name in self.tensors or any(k.startswith(name + ".") for k in self.tensors)

    def below(self, key: str) -> Tree:
        """The view one level down."""
        return Tree(self.tensors, f"{self.prefix}{key}.")

    def indices(self, key: str) -> list[int]:
        """The numbers that follow `key.` in names, sorted."""
        pattern = re.compile(re.escape(f"{self.prefix}{key}.") + r"(\d+)\.")
        return sorted({int(m[1]) for name in self.tensors if (m := pattern.match(name))})

    def linear(self, key: str, notes: Notes) -> tuple[torch.Tensor, torch.Tensor]:
        """Matrix `[out, in]` and bias of a linear layer; what a low-rank branch adds is in it.

        (W + B A) x = W x + B (A x). Knows the branches of SAMed (query and value of a qkv layer),
        SAMed_s (`proj`, `w_a`, `w_b`) and loralib (`lora_A`, `lora_B`).
        """
        t = self.below(key)
        if "qkv.weight" in t:
            weight, bias = t["qkv.weight"].clone(), t["qkv.bias"]
            dim = weight.shape[1]
            weight[:dim] += t["linear_b_q.weight"] @ t["linear_a_q.weight"]
            weight[-dim:] += t["linear_b_v.weight"] @ t["linear_a_v.weight"]
            return _noted(weight, bias, t["linear_a_q.weight"].shape[0], notes)
        if "proj.weight" in t:
            weight = t["proj.weight"] + t["w_b.weight"] @ t["w_a.weight"]
            return _noted(weight, t["proj.bias"], t["w_a.weight"].shape[0], notes)
        if "lora_A" in t:
            weight = t["weight"] + merged_delta(t["lora_A"], t["lora_B"])
            return _noted(weight, t["bias"], t["lora_B"].shape[1], notes)
        return t["weight"], t["bias"]


def _noted(
    weight: torch.Tensor, bias: torch.Tensor, rank: int, notes: Notes
) -> tuple[torch.Tensor, torch.Tensor]:
    notes.add("LoRA", f"branches of rank {rank} merged into the weights beside them")
    return weight, bias
