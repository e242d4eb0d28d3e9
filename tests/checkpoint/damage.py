"""Random damage to state dicts: tensors lost, renamed, reshaped, of another type."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import Tensor

from tests.checkpoint.tiny_files import StateDict

# What parts of names become; digits of other scripts are digits to a regular expression, too.
PARTS = (
    "",
    "0",
    "7",
    "99",
    "9" * 30,
    "9" * 5000,
    "٣",
    "weight",
    "lora_A",
    "qkv",
    "x",
    "é\n",
    "q.r",
)
DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.int32,
    torch.bool,
    torch.complex64,
)
# Values of options and of what a file records of itself.
VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 4, 7, 16, 64, 128, 10**9, 10**30, 1.5, float("nan"), True, None),
    *("a", "synapse", "", [], ["a", "b"], ["a", "b", "c"], [1, 2], [[]], {}, {"a": 1}, (4,)),
)


def odd_tensor(tensor: Tensor, chance: Random) -> Tensor:
    """Something of another shape or layout."""
    some = tensor if tensor.ndim else tensor[None]
    makers = (
        lambda: torch.tensor(1.0),
        lambda: torch.zeros(0),
        lambda: torch.zeros(0, 3),
        lambda: torch.zeros(chance.choice((1, 3, 70_000)), chance.choice((1, 2))),
        lambda: torch.zeros(1, 1, 1, 1),
        lambda: some.flatten(),
        lambda: some[None],
        lambda: some.mT if some.ndim > 1 else some[:1],
        lambda: torch.cat((some, some)),
        lambda: some[: chance.randrange(len(some) + 1)],
        lambda: some[::2],
        lambda: some.to_sparse(),
    )
    return chance.choice(makers)()


def renamed(name: str, chance: Random) -> str:
    """The name with another part in place of one of its own."""
    parts = name.split(".")
    at = chance.randrange(len(parts))
    parts[at] = chance.choice((*PARTS, parts[at] + "x", parts[at].upper()))
    return ".".join(parts)


def damaged(tensors: StateDict, chance: Random, most: int = 3) -> dict[Any, Any]:
    """A copy with up to `most` kinds of damage; never empty."""
    out: dict[Any, Any] = dict(tensors)
    for _ in range(chance.randint(1, most)):
        name = chance.choice([k for k in out if isinstance(k, str)])
        kind = chance.choice(("lose", "lose all like it", "keep some", "rename", "shape", "type",
                              "value", "prefix", "no tensor"))  # fmt: skip
        if kind == "lose":
            del out[name]
        elif kind == "lose all like it":
            stem = ".".join(name.split(".")[: -chance.randint(1, 3)])
            out = {k: v for k, v in out.items() if not str(k).startswith(stem)}
        elif kind == "keep some":
            share = chance.random()
            out = {k: v for k, v in out.items() if chance.random() < share}
        elif kind == "rename":
            out[renamed(name, chance)] = out.pop(name)
        elif kind == "shape" and isinstance(out[name], Tensor) and not out[name].is_sparse:
            out[name] = odd_tensor(out[name], chance)
        elif kind == "type" and isinstance(out[name], Tensor) and not out[name].is_sparse:
            out[name] = out[name].to(chance.choice(DTYPES))
        elif kind == "value":
            out[name] = torch.full((2, 2), float("inf"))
        elif kind == "prefix":
            prefix = chance.choice(("module.", "sam.", "_orig_mod.module."))
            out = {f"{prefix}{k}": v for k, v in out.items()}
        elif kind == "no tensor":
            out[chance.choice((name, 5, None))] = chance.choice(VALUES)
        if not any(isinstance(k, str) for k in out):
            return {"x": torch.zeros(1)}
    return out
