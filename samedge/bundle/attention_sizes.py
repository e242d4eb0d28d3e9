"""The sizes of each block's attention in an encoder graph: what engines cut it anew by.

They stand in the ONNX file's metadata under `ATTENTION`, as JSON: a block's path, which begins the
names of its nodes and weights, and its sizes.

    {"encoder.blocks.0.attn": {"images": 1, "grid": 32, "heads": 12, "head_size": 64, "window": 14}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from samedge.errors import BundleError
from samedge.files.numbers import parse_json

ATTENTION = "samedge.attention"
_KEYS = {"b": "images", "n": "grid", "h": "heads", "d": "head_size", "w": "window"}


@dataclass(frozen=True)
class AttentionSizes:
    """b images of n x n tokens, h heads of d, windows of w x w (w = n: there are none)."""

    b: int
    n: int
    h: int
    d: int
    w: int

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.h * self.d

    @property
    def count(self) -> int:
        """Windows per side."""
        return -(-self.n // self.w)

    @property
    def pad(self) -> int:
        """Padding tokens per side."""
        return self.count * self.w - self.n

    @property
    def windows(self) -> int:
        """Windows of all images together."""
        return self.b * self.count**2

    @property
    def windowed(self) -> bool:
        """False if one window is the whole grid; one that is larger has padding."""
        return self.w != self.n


def attention_to_text(blocks: Mapping[str, AttentionSizes]) -> str:
    """Blocks by their paths, as `ATTENTION` holds them."""
    return json.dumps({
        path: {key: getattr(sizes, name) for name, key in _KEYS.items()}
        for path, sizes in blocks.items()
    })  # fmt: skip


def attention_from_text(text: str) -> dict[str, AttentionSizes]:
    """The way back.

    Raises:
        BundleError: it is something else.
    """
    try:
        found = parse_json(text)
        blocks = {
            str(path): AttentionSizes(**{name: entry[key] for name, key in _KEYS.items()})
            for path, entry in found.items()
        }
        sizes = [value for block in blocks.values() for value in vars(block).values()]
        if not all(type(value) is int and value > 0 for value in sizes):
            raise ValueError("a size is no positive whole number")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleError(
            f"the encoder's metadata {ATTENTION!r} has no sizes of attention ({error!r}); export "
            "the bundle again"
        ) from error
    return blocks
