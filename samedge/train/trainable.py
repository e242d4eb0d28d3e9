"""Which parameters of a model a recipe trains: freezing, and the table of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from samedge.checkpoint.pour import global_tables
from samedge.models import PromptableModel, SamConfig
from samedge.train.recipes import Recipe


@dataclass(frozen=True)
class PartParameters:
    """One part of a network in the table: parameters that are trained, and those that are not."""

    part: str
    tensors: int
    trained: int
    frozen: int


def trainable_names(model: PromptableModel, recipe: Recipe) -> list[str]:
    """Names of the parameters that a recipe trains, in the model's order."""
    tables: frozenset[str] = frozenset()
    if recipe.global_tables and isinstance(model.config, SamConfig):
        tables = frozenset(global_tables(model.config.global_blocks))

    def trained(name: str) -> bool:
        if any(re.search(pattern, name) for pattern in recipe.frozen):
            return False
        return name in tables or any(re.search(pattern, name) for pattern in recipe.trained)

    return [name for name, _ in model.named_parameters() if trained(name)]


def freeze(model: PromptableModel, recipe: Recipe) -> list[str]:
    """Let gradients flow to what a recipe trains and to nothing else; the names of those."""
    names = set(trainable_names(model, recipe))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return [name for name, _ in model.named_parameters() if name in names]


def parameter_table(model: PromptableModel, recipe: Recipe) -> list[PartParameters]:
    """What a recipe trains, by part of the network; the last row, "all", is the sum."""
    names = set(trainable_names(model, recipe))
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        for part in (_part(name), "all"):
            row = counts.setdefault(part, [0, 0, 0])
            row[0] += 1
            row[1 if name in names else 2] += parameter.numel()
    total = counts.pop("all")
    return [
        *(PartParameters(part, *row) for part, row in sorted(counts.items())),
        PartParameters("all", *total),
    ]


def _part(name: str) -> str:
    """ "image_encoder.blocks[].MLP_Adapter": a name without numbers, at the depth people think."""
    parts = re.sub(r"\.\d+(?=\.)", "[]", name).split(".")
    if parts[0] == "image_encoder" and parts[1].startswith("blocks"):
        depth = 4 if "linear_" in name else 3
        return (
            ".".join(parts[: min(depth, len(parts) - 1)])
            if "rel_" not in name
            else ("image_encoder.blocks[].attn.tables")
        )
    return ".".join(parts[:2]).removesuffix(".weight")
