"""Cases of the interpreter's tests at the sizes of real networks, for kernels that no problem of
`samedge.kernels.problems` tries: their oracles are layers of `samedge.fold`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

FLOATS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class BorrowedCase:
    """A function of a module of tests that gives one or several pairs of found and right tensors.

    Attributes:
        module: below tests.kernels.
        function: its name there.
        arguments, options: for it.
        dtypes: it takes as `dtype`; ("",) if there is no such argument.
    """

    module: str
    function: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = FLOATS

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.module.rpartition('.')[2].removeprefix('test_')}.{self.function}"

    def called(self, dtype: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The function, and what to call it with."""
        found = getattr(import_module(f"tests.kernels.{self.module}"), self.function)
        return found, self.arguments, {**self.options, **({"dtype": dtype} if dtype else {})}


WIDE = {"width": 256}
CASES = (
    BorrowedCase("decoder.test_mask_head", "logits", (2, 3, 64, 256)),
    BorrowedCase("decoder.test_mask_prompt", "keys", (2, 64, 256), {"c": 4, "d": 16}),
    BorrowedCase("decoder.test_mask_prompt", "plain", (1, 64, 256)),
    BorrowedCase("decoder.test_prompt_tokens", "tokens", (16, 3, 256), dtypes=("",)),
    BorrowedCase("decoder.test_token_layer", "self_half", (16, 8), WIDE),
    BorrowedCase("decoder.test_token_layer", "update_half", (16, 8), {**WIDE, "hidden": 2048}),
    BorrowedCase("decoder.test_image_update", "update", (2, 1, 64, 8), {**WIDE, "inner": 128}),
    BorrowedCase("decoder.test_final_tokens", "final", (16, 8), {**WIDE, "wide": 256}),
    BorrowedCase("layers.test_linear_int8", "integers", (4096, 768, 2304), dtypes=("",)),
)
