"""One frozen record per model family: everything that differs between them outside the network.

Geometry, export and runtime read these records; none of them asks which family it is. The
conventions follow the original projects and are pinned by the reference vectors in
`tests/golden`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from samedge.errors import BundleError

RESIZE_RULES = ("stretch", "longest_side")
ROUNDINGS = ("pil", "none")


@dataclass(frozen=True)
class Family:
    """How one family of SAM variants meets the outside world.

    Attributes:
        name: key in manifests and on the command line.
        title: name to print.
        input_size: side of the square network input, in px.
        channels: colour channels of the frame that the network sees (1: grey, 3: RGB).
        value_scale: the uint8 frame is divided by this before normalisation.
        mean, std: per-channel normalisation, in the units left by `value_scale`;
            `(x - mean) / std`, padding is zero afterwards.
        resize: "stretch" (to a square) or "longest_side" (keep aspect, pad right and bottom).
        rounding: "pil" (PIL bilinear: rounded to uint8 after each of the two passes) or "none".
        prompts: subset of ("point", "box", "mask") that the family was trained with.
        pad_point: "always" (a not-a-point token is appended to every prompt) or "no_box"
            (only to points that come without a box).
        single_mask: index of the mask token behind a single-mask answer.
        multi_masks: indices of the mask tokens behind `multimask=True`; empty if there are none.
        upscale_size: side, in px, of the square that low-res logits are enlarged to before they
            are cropped to the valid area and mapped to the frame (bilinear, both steps).
        threshold: a pixel belongs to the mask if its logit is greater than this.
        stride: px of network input per image token; low-res logits have 4 samples per token.
    """

    name: str
    title: str
    input_size: int
    channels: int
    value_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    rounding: str
    prompts: tuple[str, ...]
    pad_point: str
    single_mask: int
    multi_masks: tuple[int, ...]
    upscale_size: int
    threshold: float = 0.0
    stride: int = 16

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, for a manifest."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Family:
        """The record behind `to_json`.

        Raises:
            BundleError: a field is missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if set(data) != names:
            odd = sorted(names.symmetric_difference(data))
            raise BundleError(
                f"the family record has missing or unknown fields: {', '.join(odd)}; "
                "the bundle was written by another version of samedge: export it again"
            )
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        return cls(**values)


SAM = Family(
    name="sam",
    title="Segment Anything",
    input_size=1024,
    channels=3,
    value_scale=1.0,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    resize="longest_side",
    rounding="pil",
    prompts=("point", "box", "mask"),
    pad_point="no_box",
    single_mask=0,
    multi_masks=(1, 2, 3),
    upscale_size=1024,
)

SAMUS = Family(
    name="samus",
    title="SAMUS",
    input_size=256,
    channels=1,
    value_scale=255.0,
    mean=(0.0,),
    std=(1.0,),
    resize="stretch",
    rounding="pil",
    prompts=("point",),
    pad_point="always",
    single_mask=0,
    multi_masks=(),
    upscale_size=256,
    stride=8,
)

FAMILIES: dict[str, Family] = {f.name: f for f in (SAM, SAMUS)}
