"""Which family is it, and how large? One record per family, read off tensor names and shapes.

To add a family: append a `Record` to `RECORDS` (most specific first: the first record whose
markers fit wins) and write its builder in `samedge.models.build`. A record without a builder is
recognised and answered with NotSupportedError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from samedge.errors import CheckpointError
from samedge.families import SAM, SAMUS, Family

if TYPE_CHECKING:
    from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Variant:
    """What differs between checkpoints of one family.

    Attributes:
        vit: "vit_b", "vit_l", "vit_h" or "custom".
        input_size: side of the network input, px; grid: tokens per side; low_res: side of the
            low-res logits, px.
        masks: mask tokens.
        adapter: kind of the adapter; "none" for plain SAM.
        ranks: hidden widths of its parts, by name.
        classes: classes of a multi-class family; 1 for the others.
        config: fields of the family's model config.
    """

    vit: str
    input_size: int
    grid: int
    low_res: int
    masks: int
    adapter: str
    ranks: dict[str, int]
    classes: int
    config: dict[str, Any] = field(default_factory=dict)


class Config(Protocol):
    """What a model config tells about itself."""

    @property
    def vit(self) -> str: ...
    @property
    def img_size(self) -> int: ...
    @property
    def grid(self) -> int: ...
    @property
    def low_res(self) -> int: ...
    @property
    def num_mask_tokens(self) -> int: ...
    @property
    def family(self) -> Family: ...


class Builder(Protocol):
    """How `samedge.models` builds one family; one instance per family in `samedge.models.build`."""

    def config(self, fields: Mapping[str, Any]) -> Config:
        """The model config with these fields; ModelError if they do not fit each other."""

    def shapes(self, fields: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all tensors of the model with these config fields."""

    def preset_shapes(self, vit: str) -> dict[str, tuple[int, ...]]:
        """The same for the official checkpoint of size `vit`."""

    def names(self, fields: Mapping[str, Any]) -> list[str]:
        """Tensor names of a model of these sizes; fields that the family lacks are left out."""

    def build(self, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
        """The model with these tensors."""


@dataclass(frozen=True)
class Record:
    """How to recognise and read one family.

    Attributes:
        name, title: for `family=` and for messages.
        markers: regular expressions; each must be found in at least one tensor name.
        family: the family record, once samedge can run the family.
        sizes: (names and shapes) -> fields of the family's model config.
        builder: name of its `Builder` in `samedge.models.build`; empty: not loadable yet.
        adapter: kind of its adapter.
        ranks: (names and shapes) -> hidden widths of the adapter's parts.
        note: what else to say about a family that cannot be loaded yet.
    """

    name: str
    title: str
    markers: tuple[str, ...]
    family: Family | None = None
    sizes: Callable[[Shapes], dict[str, Any]] | None = None
    builder: str = ""
    adapter: str = "none"
    ranks: Callable[[Shapes], dict[str, int]] | None = None
    note: str = ""

    def fits(self, names: Mapping[str, Any]) -> bool:
        """Whether all markers are found."""
        return all(any(re.search(m, name) for name in names) for m in self.markers)

    def load_builder(self) -> Builder:
        """The object behind `builder`; imported late, because models are a layer above."""
        builder: Builder = getattr(import_module("samedge.models.build"), self.builder)
        return builder

    def variant(self, shapes: Shapes, recorded: Mapping[str, Any]) -> Variant:
        """Sizes of a checkpoint of this family.

        Args:
            shapes: its tensor names and shapes.
            recorded: config fields that the file recorded; used for what shapes do not show.

        Raises:
            CheckpointError: a tensor that shows a size is missing or of the wrong rank.
            ModelError: sizes that do not fit each other.
        """
        assert self.sizes is not None, self.name
        config = self.sizes(shapes)
        config.update({k: recorded[k] for k in _NOT_IN_SHAPES if k in recorded})
        made = self.load_builder().config(config)
        return Variant(
            vit=made.vit,
            input_size=made.img_size,
            grid=made.grid,
            low_res=made.low_res,
            masks=made.num_mask_tokens,
            adapter=self.adapter,
            ranks=self.ranks(shapes) if self.ranks else {},
            classes=1,
            config=config,
        )


_NOT_IN_SHAPES = ("decoder_heads",)


def dimension(shapes: Shapes, key: str, axis: int) -> int:
    """One dimension of one tensor; CheckpointError if it is not there."""
    if key not in shapes:
        raise CheckpointError(f"tensor '{key}' is missing, which shows a size of the network")
    if not -len(shapes[key]) <= axis < len(shapes[key]) or not all(shapes[key]):
        raise CheckpointError(
            f"tensor '{key}' has shape {list(shapes[key])}, from which no size can be read"
        )
    return shapes[key][axis]


def count(shapes: Shapes, pattern: str) -> int:
    """Number of different indices that the first group of `pattern` takes over all names.

    Not the largest index: a stray name must not make the network a million blocks deep.
    """
    found = (re.match(pattern, name) for name in shapes)
    return len({m.group(1) for m in found if m})


def vit_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of everything that all families share, but the input size and the blocks."""
    encoder, decoder = "image_encoder.", "mask_decoder."
    dim = dimension(shapes, encoder + "pos_embed", -1)
    head_dim = dimension(shapes, encoder + "blocks.0.attn.rel_pos_h", 1)
    prompt_dim = dimension(shapes, encoder + "neck.0.weight", 0)
    cross = decoder + "transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    head = decoder + "iou_prediction_head.layers."
    return {
        "patch_size": dimension(shapes, encoder + "patch_embed.proj.weight", 2),
        "in_channels": dimension(shapes, encoder + "patch_embed.proj.weight", 1),
        "embed_dim": dim,
        "depth": count(shapes, r"image_encoder\.blocks\.(\d+)\."),
        "num_heads": max(dim // head_dim, 1),
        "mlp_ratio": dimension(shapes, encoder + "blocks.0.mlp.lin1.weight", 0) / dim,
        "prompt_dim": prompt_dim,
        "mask_channels": dimension(shapes, "prompt_encoder.mask_downscaling.3.weight", 0),
        "num_mask_tokens": dimension(shapes, decoder + "mask_tokens.weight", 0),
        "decoder_depth": count(shapes, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "decoder_mlp_dim": dimension(shapes, decoder + "transformer.layers.0.mlp.lin1.weight", 0),
        "decoder_downsample": max(prompt_dim // dimension(shapes, cross, 0), 1),
        "iou_hidden_dim": dimension(shapes, head + "0.weight", 0),
        "iou_depth": count(shapes, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
    }


def table_rows(shapes: Shapes, depth: int) -> list[int]:
    """Rows of every block's relative-position table."""
    key = "image_encoder.blocks.{}.attn.rel_pos_h"
    return [dimension(shapes, key.format(i), 0) for i in range(depth)]


def block_sizes(rows: list[int], global_blocks: list[int], grid: int) -> dict[str, Any]:
    """Config fields that follow from the tables, once it is known which blocks are global."""
    windows = [n for i, n in enumerate(rows) if i not in global_blocks]
    stored = (rows[global_blocks[-1]] + 1) // 2 if global_blocks else grid
    return {
        "global_blocks": tuple(global_blocks),
        "window_size": (windows[0] + 1) // 2 if windows else 14,
        "rel_pos_grid": None if stored == grid else stored,
    }


def sam_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a SAM checkpoint.

    The last block of these encoders is always global; the others with as long a table are, too. (A
    window as large as the grid makes no difference.)
    """
    sizes = vit_sizes(shapes)
    grid = dimension(shapes, "image_encoder.pos_embed", 1)
    rows = table_rows(shapes, sizes["depth"])
    global_blocks = [i for i, n in enumerate(rows) if n == rows[-1]]
    blocks = block_sizes(rows, global_blocks, grid)
    return {**sizes, **blocks, "img_size": grid * sizes["patch_size"]}


def samus_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a SAMUS checkpoint: the stored position table is twice the grid."""
    sizes = vit_sizes(shapes)
    encoder = "image_encoder."
    grid = max(dimension(shapes, encoder + "pos_embed", 1) // 2, 1)
    downs = count(shapes, r"image_encoder\.cnn_embed\.downs\.(\d+)\.")
    widths = [dimension(shapes, encoder + "cnn_embed.inc.conv.0.weight", 0)]
    for i in range(downs - 1):
        key = f"{encoder}cnn_embed.downs.{i}.maxpool_conv.1.weight"
        widths.append(dimension(shapes, key, 0))
    rows = table_rows(shapes, sizes["depth"])
    adapted = re.compile(r"image_encoder\.blocks\.(\d+)\.Space_Adapter\.")
    global_blocks = sorted({int(m.group(1)) for k in shapes if (m := adapted.match(k))})
    hidden = dimension(shapes, encoder + "input_Adapter.D_fc1.weight", 0)
    return {
        **sizes,
        **block_sizes(rows, global_blocks, grid),
        "img_size": grid * 2 ** len(widths),
        "cnn_channels": tuple(widths),
        "adapter_ratio": hidden / sizes["embed_dim"],
    }


def samus_ranks(shapes: Shapes) -> dict[str, int]:
    """Hidden widths of SAMUS's adapters."""
    ranks = {"input": dimension(shapes, "image_encoder.input_Adapter.D_fc1.weight", 0)}
    for name in shapes:
        if name.endswith("MLP_Adapter.D_fc1.weight"):
            ranks["mlp"] = dimension(shapes, name, 0)
    return ranks


_SAM_LIKE = (r"^image_encoder\.blocks\.\d+\.", r"^mask_decoder\.transformer\.")

RECORDS: tuple[Record, ...] = (
    Record("autosamus", "AutoSAMUS", (r"^prompt_generator\.", r"^feature_adapter\.")),
    Record("samed_s", "SAMed_s", (r"^w_a_\d+$", r"^(sa|cti|cit)_a_\d+$")),
    Record("samed", "SAMed", (r"^w_a_\d+$",), note="it will be opened together with its SAM base"),
    Record(
        "msa",
        "Medical SAM Adapter",
        (r"\.attn\.rel_h$", r"\.Space_Adapter\.D_fc1\.weight$"),
    ),
    Record("hq_sam", "HQ-SAM", (*_SAM_LIKE, r"^mask_decoder\.hf_token\.")),
    Record("mobile_sam", "MobileSAM", (r"^image_encoder\.layers\.\d+\.", _SAM_LIKE[1])),
    Record("sam2", "SAM 2", (r"^image_encoder\.trunk\.", r"^sam_mask_decoder\.")),
    Record(
        "samus",
        "SAMUS",
        (r"^image_encoder\.(cnn_embed|post_pos_embed|input_Adapter)\.",),
        family=SAMUS,
        sizes=samus_sizes,
        builder="SAMUS_BUILDER",
        adapter="samus",
        ranks=samus_ranks,
    ),
    Record(
        "sam",
        "Segment Anything",
        _SAM_LIKE,
        family=SAM,
        sizes=sam_sizes,
        builder="SAM_BUILDER",
    ),
    # Its keys are SAM's, so it is never detected: only `family="medsam"` names it.
    Record("medsam", "MedSAM", (r"^$",), note="its tensors are SAM's, its preprocessing is not"),
)


def loadable() -> str:
    """Names of the families that samedge can load, for messages."""
    return ", ".join(r.name for r in RECORDS if r.builder)
