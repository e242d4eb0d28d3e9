"""The kernels' own test cases, carried out on the PTX of a GPU instead of in the interpreter.

Each case is a function of a module of tests that computes something with a runner, called
`Guarded` there, and gives its answers with the right ones. Here that name stands for a `PtxRunner`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch

from samedge.kernels.launch import Launch
from tests.kernels.ptx.runner import PtxRunner


@dataclass(frozen=True)
class Case:
    """What is computed.

    Attributes:
        name: of the case.
        place: module of `tests.kernels` and function, "layers.test_linear:product".
        arguments: of the function.
        types: names of its arguments that say an element type.
        work: multiply-adds of one launch on tensor cores, padding of tiles included; None: nobody
            has counted them.
        repeated: how often each is carried out. Of products that feed each other Triton gives warps
            different rows only: where a tile has rows for one warp, all do the same.
    """

    name: str
    place: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] = ("dtype",)
    work: Callable[[Launch], int] | None = lambda _: 0
    repeated: int = 1

    def __str__(self) -> str:
        return self.name

    def error(self, run: Any, dtype: str) -> float:
        """The largest error, over the largest of the right values, of all answers."""
        place, _, name = self.place.partition(":")
        module = importlib.import_module(f"tests.kernels.{place}")
        with patch.object(module, "Guarded", lambda: run):
            found = getattr(module, name)(**self.arguments, **dict.fromkeys(self.types, dtype))
        return max(_distance(*pair) for pair in _pairs(found))

    def expected_flops(self, run: PtxRunner) -> int | None:
        """On tensor cores, of all launches; None: nobody has counted them."""
        if self.work is None:
            return None
        return 2 * self.repeated * sum(self.work(launch) for launch in run.launches)


def _pairs(found: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    if isinstance(found, list):
        return found
    answers, right = found[:2]
    return (
        list(zip(answers, right, strict=True)) if isinstance(answers, list) else [(answers, right)]
    )


def _distance(answer: torch.Tensor, right: torch.Tensor) -> float:
    """Infinite where the answer has a number that the right one has not."""
    assert answer.shape == right.shape
    difference = (answer.double() - right.double()).abs().max() / right.abs().max()
    return float(difference) if difference.isfinite() else math.inf


def _padded(inner: int, constants: Mapping[str, Any]) -> int:
    return -(-inner // constants["BLOCK_K"]) * constants["BLOCK_K"]


def _programs(launch: Launch) -> int:
    return math.prod(int(size) for size in launch.grid)  # type: ignore[arg-type]


def linear_work(launch: Launch) -> int:
    """Multiply-adds of `linear` and `linear_int8`."""
    c = launch.constants
    if launch.kernel.__name__ not in ("linear_kernel", "linear_int8_kernel"):
        return 0
    return _programs(launch) * c["BLOCK_M"] * c["BLOCK_N"] * _padded(c["K"], c)


def convolution_work(launch: Launch) -> int:
    """Multiply-adds of `conv3x3`."""
    c = launch.constants
    inner = _padded(c["INPUTS"], c) * 9 if "PLANES" not in c else c["BLOCK_K"]
    return _programs(launch) * c["BLOCK_M"] * c["BLOCK_N"] * inner


def patch_work(launch: Launch) -> int:
    """Multiply-adds of `patch_embed`."""
    c = launch.constants
    inner = _padded(c["CHANNELS"] * c["PATCH"] ** 2, c)
    return _programs(launch) * c["BLOCK_M"] * c["BLOCK_N"] * inner


def attention_work(launch: Launch) -> int:
    """Multiply-adds of `attention`."""
    if launch.kernel.__name__ != "attention_kernel":
        return 0
    c, keys = launch.constants, launch.arguments["keys"]
    assert isinstance(keys, int)
    part = c["SPLIT"] or keys
    steps = sum(-(-min(part, keys - start) // c["BLOCK_N"]) for start in range(0, keys, part))
    programs = _programs(launch) // -(-keys // part)
    return programs * steps * c["BLOCK_M"] * c["BLOCK_N"] * (c["DIM_POW2"] + c["V_DIM_POW2"])


def global_work(launch: Launch) -> int:
    """Multiply-adds of `global_attention`, as it says itself."""
    from samedge.kernels.attention.global_attention import tensor_core_work

    c = launch.constants
    one = tensor_core_work(c["GRID_ROWS"], c["GRID_COLS"], c["DIM"], launch.tile)
    return sum(one) * math.prod(launch.grid[1:])  # type: ignore[arg-type]


def window_work(launch: Launch) -> int:
    """Multiply-adds of `window_attention`, as it says itself."""
    from samedge.kernels.attention.window_attention import tensor_core_work

    c = launch.constants
    one = tensor_core_work(c["GRID"], c["WINDOW"], c["DIM"], launch.tile)
    return sum(one) * math.prod(launch.grid[1:])  # type: ignore[arg-type]


_LINEAR = ("weights", "inputs")
_HEADS = {"heads": 2, "dim": 64, "v_dim": 64}
_PRODUCT = "layers.linear_case:product"
_ATTENTION = "attention.test_plain:found_and_expected"
# Attention and linear layers: for every GPU whose PTX the emulator knows.
PRODUCTS = [
    Case("linear", _PRODUCT, {}, ("weights", "inputs", "dtype"), linear_work),
    Case(
        "linear with norms",
        _PRODUCT,
        {"norm": "affine", "residual": 50, "residual_norm": True, "activation": "gelu"},
        _LINEAR,
        linear_work,
    ),
    Case(
        "linear with two outputs",
        _PRODUCT,
        {"inner": 70, "columns": 97, "split": 64, "table": 25, "add": 50},
        _LINEAR,
        linear_work,
    ),
    Case("few rows", _PRODUCT, {"shape": (7,), "few": True}, _LINEAR, linear_work),
    Case("attention", _ATTENTION, {"q": (2, 70), "k": (2, 130), **_HEADS}, work=attention_work),
    Case(
        "one more",
        _ATTENTION,
        {"q": (1, 70), "k": (2, 65), "one_more": True, "dim": 32, "v_dim": 16},
        work=attention_work,
    ),
    Case(
        "few queries",
        _ATTENTION,
        {"q": (2, 7), "k": (1, 300), "few_queries": True},
        work=attention_work,
        repeated=2,
    ),
    Case(
        "few keys", _ATTENTION, {"q": (1, 130), "k": (1, 7), "few_keys": True}, work=attention_work
    ),
    Case(
        "windows",
        "ptx.relative:windows",
        {"grid": 20, "window": 14, "heads": 2, "dim": 64},
        work=window_work,
    ),
    Case(
        "everywhere",
        "ptx.relative:everywhere",
        {"rows": 9, "cols": 21, "heads": 2, "dim": 64},
        work=global_work,
    ),
    Case(
        "everywhere, narrow",
        "ptx.relative:everywhere",
        {"rows": 16, "cols": 16, "heads": 1, "dim": 64},
        work=global_work,
    ),
    Case(
        "INT8",
        _PRODUCT,
        {
            "inner": 70,
            "columns": 97,
            "split": 64,
            "table": 25,
            "norm": "affine",
            "inputs": "fp32",
            "int8": True,
        },
        ("weights",),
        linear_work,
    ),
    Case(
        "INT8, few rows",
        _PRODUCT,
        {"shape": (7,), "few": True, "int8": True},
        ("weights",),
        linear_work,
    ),
]
# The rest: for one GPU.
OTHERS = [
    Case(
        "slices",
        "ptx.relative:slices",
        {"batch": 4, "grid": 6, "window": 4, "depth": 4, "heads": 2},
    ),
    Case(
        "layer norm",
        "layers.test_layer_norm:norm",
        {"shape": (50,), "width": 130, "residual": 10},
        ("inputs",),
    ),
    Case("row statistics", "layers.test_row_statistics:statistics", {"rows": 50, "width": 130}),
    Case(
        "convolution",
        "layers.test_conv3x3:convolution",
        {"shape": (1, 7, 6, 40, 33)},
        work=convolution_work,
    ),
    Case(
        "convolution of planes",
        "layers.test_conv3x3:convolution",
        {"shape": (2, 5, 7, 3, 33), "planes": True},
        work=convolution_work,
    ),
    Case(
        "patch embedding",
        "layers.test_patch_embed:embedded",
        {"case": (1, 1, 24, 8, 4, 40, 33)},
        work=patch_work,
    ),
    Case(
        "RMS norm",
        "layers.test_rms_norm:norm",
        {"shape": (2, 6, 10, 40), "activation": "gelu", "pool": True},
    ),
    Case("enlargement", "layers.test_resize:enlarged", {"side": 40, "out": 42, "planes": (2, 3)}),
    Case(
        "mask prompt",
        "decoder.test_mask_prompt:keys",
        {"prompts": 2, "grid": 9, "width": 96},
        work=None,
    ),
    Case(
        "mask head",
        "decoder.test_mask_head:logits",
        {"objects": 2, "masks": 3, "grid": 5, "width": 48},
        work=None,
    ),
    Case(
        "prompt tokens",
        "decoder.test_prompt_tokens:tokens",
        {"objects": 3, "points": 11, "width": 64},
        (),
    ),
    Case(
        "tokens, first half",
        "decoder.test_token_layer:self_half",
        {"objects": 2, "tokens": 7, "width": 64, "heads": 4},
        work=None,
    ),
    Case(
        "tokens, second half",
        "decoder.test_token_layer:update_half",
        {"objects": 2, "tokens": 7, "width": 64, "hidden": 200},
        work=None,
    ),
    Case(
        "image update",
        "decoder.test_image_update:update",
        {"objects": 2, "shared": 1, "grid": 6, "tokens": 7, "heads": 4, "width": 64, "inner": 64},
        work=None,
    ),
    Case(
        "final tokens",
        "decoder.test_final_tokens:final",
        {"objects": 2, "tokens": 7, "width": 64, "index": (2, 0), "wide": 64},
        work=None,
    ),
]
