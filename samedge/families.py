"""One frozen record per model family: everything that differs between them outside the network.

Geometry, export and runtime read these records; none of them asks which family it is. The
conventions follow the original projects and are pinned by the reference vectors in
`tests/golden`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from samedge.errors import BundleError

RESIZE_RULES = ("stretch", "longest_side")
INTERPOLATIONS = ("pil", "cubic", "zoom", "bilinear", "area")
NORMALISATIONS = ("fixed", "min_max")
MASK_VALUES = ("logit", "probability")
MASK_INTERPOLATIONS = ("bilinear", "nearest")
PROMPTS = ("point", "box", "mask")

# Fields that were added to the record -> what those without them meant. No other may be missing:
# a damaged record must not be taken for another one.
LATER: dict[str, Any] = {"whole_boxes": False}

SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Family:
    """How one family of SAM variants meets the outside world.

    Attributes:
        name: key in manifests and on the command line.
        title: name to print.
        input_size: side of the square network input, in px.
        channels: colour channels of the frame that the network sees (1: grey, 3: RGB).
        value_scale: the uint8 frame is divided by this before normalisation.
        mean, std: normalisation `(x - mean) / std`, in the units left by `value_scale`; padding is
            zero afterwards. One number per channel of the frame, or three for a grey frame that the
            network sees as RGB.
        normalisation: "fixed" (`mean` and `std`) or "min_max": the resized image's own extremes, of
            all channels together, become 0 and 1, and `mean` and `std` are 0 and 1.
        resize: "stretch" (to a square) or "longest_side" (keep aspect, pad right and bottom).
        interpolation: how a frame is brought to the network's size.
            "pil": Pillow's bilinear resize of 8-bit images, rounded after each of the two passes.
            "cubic": scikit-image's `resize(order=3, anti_aliasing=True)`, cut off to uint8.
            "zoom": `scipy.ndimage.zoom(order=3)`, not rounded.
            "bilinear": torch's `interpolate(mode="bilinear", antialias=True)`, not rounded.
            "area": OpenCV's `resize(interpolation=INTER_AREA)` of 8-bit images, rounded at the end.
        via: side of a square that the frame is resized to on the way, by the same rule, in px; 0
            where there is none.
        prompts: subset of ("point", "box", "mask") that the family was trained with; empty if the
            network finds its objects by itself.
        pad_point: "always" (a not-a-point token is appended to every prompt) or "no_box"
            (only to points that come without a box).
        whole_boxes: box corners in px of the network input are cut off to whole px. Both axes have
            the scale of the longer side, not that of the rounded sizes.
        single_mask: index of the mask token behind a single-mask answer.
        multi_masks: indices of the mask tokens behind `multimask=True`; empty if there are none.
        classes: names of the structures that every answer has one mask of, in the order of their
            mask tokens, from token 0 on; empty if masks have no meaning of their own.
        exclusive: a pixel belongs to one class, the one with the largest logit (the first class is
            the background); otherwise each class has its own decision by `threshold`.
        upscale_size: side, in px, of the square that low-res logits are enlarged to before they
            are cropped to the valid area and mapped to the frame (bilinear).
        mask_values: what is enlarged and compared with `threshold`: "logit" or "probability" (the
            sigmoid of low-res logits).
        mask_interpolation: the second step, from that square to the frame: "bilinear", or "nearest"
            as in `scipy.ndimage.zoom(order=0)`.
        threshold: a pixel belongs to the mask if its value is greater than this.
        stride: px of network input per image token; low-res logits have 4 samples per token.
        slices: slices of a volume that the encoder takes at once; 1 for images.
        whole_volume: a volume has exactly `slices` slices, because the network relates all of
            them; otherwise any multiple.
    """

    name: str
    title: str
    input_size: int
    channels: int
    value_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    interpolation: str
    prompts: tuple[str, ...]
    pad_point: str
    single_mask: int
    multi_masks: tuple[int, ...]
    upscale_size: int
    normalisation: str = "fixed"
    via: int = 0
    classes: tuple[str, ...] = ()
    exclusive: bool = False
    mask_values: str = "logit"
    mask_interpolation: str = "bilinear"
    threshold: float = 0.0
    stride: int = 16
    slices: int = 1
    whole_volume: bool = False
    whole_boxes: bool = False

    @property
    def rounded(self) -> bool:
        """Whether a resized frame has whole grey levels."""
        return self.interpolation in ("pil", "cubic", "area")

    @property
    def padded(self) -> bool:
        """Whether a resized frame may leave a part of the network input empty."""
        return self.resize == "longest_side"

    def mask_tokens(self, multimask: bool = False) -> tuple[int, ...]:
        """Indices of the mask tokens behind one answer."""
        if self.classes:
            return tuple(range(len(self.classes)))
        return self.multi_masks if multimask else (self.single_mask,)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, for a manifest."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def completed(data: dict[str, Any]) -> dict[str, Any]:
        """A record with the fields that came later: older records lack them, and meant this."""
        return {**LATER, **data}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Family:
        """The record behind `to_json`; fields may be missing as for `completed`.

        Raises:
            BundleError: a field is missing or unknown.
        """
        data = cls.completed(data)
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
    mean=SAM_MEAN,
    std=SAM_STD,
    resize="longest_side",
    interpolation="pil",
    prompts=("point", "box", "mask"),
    pad_point="no_box",
    single_mask=0,
    multi_masks=(1, 2, 3),
    upscale_size=1024,
)

MEDSAM = Family(
    name="medsam",
    title="MedSAM",
    input_size=1024,
    channels=3,
    value_scale=1.0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    normalisation="min_max",
    resize="stretch",
    interpolation="cubic",
    prompts=("box",),
    pad_point="no_box",
    single_mask=0,
    multi_masks=(),
    upscale_size=256,
    mask_values="probability",
    threshold=0.5,
)

SAMED = Family(
    name="samed",
    title="SAMed",
    input_size=512,
    channels=1,
    value_scale=255.0,
    mean=(0.0,),
    std=(1.0,),
    resize="stretch",
    interpolation="zoom",
    via=224,
    prompts=(),
    pad_point="no_box",
    single_mask=0,
    multi_masks=(),
    classes=("background", *(f"class {i}" for i in range(1, 9))),
    exclusive=True,
    upscale_size=512,
    mask_interpolation="nearest",
)

MSA = Family(
    name="msa",
    title="Medical SAM Adapter",
    input_size=256,
    channels=3,
    value_scale=1.0,
    mean=SAM_MEAN,
    std=SAM_STD,
    resize="stretch",
    interpolation="pil",
    prompts=("point",),
    pad_point="no_box",
    single_mask=0,
    multi_masks=(),
    upscale_size=256,
)

# The mean of 8-bit values is subtracted from values in 0..1, as the original code does.
MSA_3D = replace(
    MSA,
    name="msa_3d",
    title="Medical SAM Adapter 3-D",
    channels=1,
    value_scale=255.0,
    interpolation="bilinear",
    slices=4,
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
    interpolation="pil",
    prompts=("point",),
    pad_point="always",
    single_mask=0,
    multi_masks=(),
    upscale_size=256,
    stride=8,
)

LITEMEDSAM = Family(
    name="litemedsam",
    title="LiteMedSAM",
    input_size=256,
    channels=3,
    value_scale=1.0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    normalisation="min_max",
    resize="longest_side",
    interpolation="area",
    prompts=("box",),
    pad_point="no_box",
    single_mask=0,
    multi_masks=(),
    upscale_size=256,
    stride=4,
    whole_boxes=True,
)

MOBILE_SAM = replace(SAM, name="mobile_sam", title="MobileSAM")

# Whose image encoder is a TinyViT; the others have a vision transformer.
TINY_VIT = frozenset({LITEMEDSAM.name, MOBILE_SAM.name})

AUTOSAMUS = replace(SAMUS, name="autosamus", title="AutoSAMUS", prompts=(), pad_point="no_box")

FAMILIES: dict[str, Family] = {
    f.name: f for f in (SAM, MEDSAM, MOBILE_SAM, LITEMEDSAM, SAMED, MSA, MSA_3D, SAMUS, AUTOSAMUS)
}
