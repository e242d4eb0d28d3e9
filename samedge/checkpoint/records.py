"""Which family is it, and how large? One record per family, read off tensor names and shapes.

To add a family: append a `Record` to `RECORDS` (most specific first: the first record whose
markers fit wins) and write its builder in `samedge.models.build`. A record without a builder is
recognised and answered with NotSupportedError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from samedge._wording import option, spoken
from samedge.checkpoint import sizes
from samedge.checkpoint.foreign import FOREIGN
from samedge.checkpoint.layouts import MSA_EARLIER, ULTRASAM
from samedge.checkpoint.options import CheckpointOptions, recorded_fields
from samedge.checkpoint.samed import configure_samed_whole
from samedge.errors import CheckpointError
from samedge.families import (
    AUTOSAMUS,
    LITEMEDSAM,
    MEDSAM,
    MOBILE_SAM,
    MSA,
    MSA_3D,
    SAM,
    SAMED,
    SAMUS,
    Family,
)
from samedge.models.build import (
    AUTOSAMUS_BUILDER,
    LITEMEDSAM_BUILDER,
    MEDSAM_BUILDER,
    MOBILE_SAM_BUILDER,
    MSA_BUILDER,
    SAM_BUILDER,
    SAMED_BUILDER,
    SAMUS_BUILDER,
    FamilyBuilder,
)
from samedge.models.shapes import Shapes


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


@dataclass(frozen=True)
class Record:
    """How to recognise and read one family.

    Attributes:
        name, title: for `family=` and for messages.
        markers: regular expressions; each must be found in at least one tensor name. The first one
            tells the family from the others.
        tells: (tensors) -> whether it is this family, where names leave two.
        about: one sentence on what the family is.
        family: the family record, once samedge can run the family.
        also: further names for `family=` that this record serves.
        same_as: its tensors are those of this other record, so only `family=` tells, or `names_of`.
        names_of: whose names the tensors have in the file (`samedge.checkpoint.layouts`), where
            that tells it from `same_as`.
        sizes: (names and shapes) -> fields of the family's model config.
        builder: makes its config and network; None: not loadable.
        adapter: kind of its adapter.
        ranks: (names and shapes) -> hidden widths of the adapter's parts.
        configure: (config fields, what the user said) -> config fields with that in them.
        options: what a user may say, besides what the tensors show.
        base: record of the checkpoint that it completes; its files hold no whole network.
        example: config fields in which a usual file differs from the family's preset.
        layout_of: it is another way to save the network of this other record.
        advice: of what is not loadable: what it is and the way on; empty: the nearest family says.
    """

    name: str
    title: str
    markers: tuple[str, ...]
    tells: Callable[[Mapping[str, Any]], bool] | None = None
    about: str = ""
    family: Family | None = None
    also: tuple[str, ...] = ()
    same_as: str = ""
    names_of: str = ""
    sizes: Callable[[Shapes], dict[str, Any]] | None = None
    builder: FamilyBuilder[Any] | None = None
    adapter: str = "none"
    ranks: Callable[[Shapes], dict[str, int]] | None = None
    configure: Callable[[dict[str, Any], CheckpointOptions], dict[str, Any]] | None = None
    options: tuple[str, ...] = ()
    base: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    layout_of: str = ""
    advice: str = ""

    @property
    def loadable(self) -> bool:
        """Whether samedge can open it, alone or with its base."""
        return self.builder is not None

    @property
    def kind(self) -> str:
        """The record that what was opened has from then on."""
        return self.layout_of or self.name

    def fits(self, names: Mapping[str, Any]) -> bool:
        """Whether all markers are found, and `tells` agrees."""
        found = all(any(re.search(m, name) for name in names) for m in self.markers)
        return found and (self.tells is None or self.tells(names))

    def evidence(self, names: Mapping[str, Any]) -> str:
        """The first tensor name that tells this family from the others."""
        return next(name for name in names if re.search(self.markers[0], name))

    @property
    def network(self) -> FamilyBuilder[Any]:
        """Its builder; only for records that are loadable."""
        assert self.builder is not None, self.name
        return self.builder

    def variant(
        self, shapes: Shapes, recorded: Mapping[str, Any], said: CheckpointOptions
    ) -> Variant:
        """Sizes of a checkpoint of this family.

        Args:
            shapes: its tensor names and shapes.
            recorded: config fields that the file recorded; used for what shapes do not show.
            said: by the user.

        Raises:
            CheckpointError: a tensor that shows a size is missing or of the wrong rank, or the user
                said something that does not fit.
            ModelError: sizes that do not fit each other.
        """
        assert self.sizes is not None, self.name
        known = self.network.fields - ({"classes"} if "classes" not in self.options else set())
        shown = self.sizes(shapes)
        # Recorded for TinyViT, where no tensor shows it; never instead of what tensors show.
        config = shown | recorded_fields(recorded, known - (shown.keys() & {"img_size"}))
        return self.settled(config, said, self.ranks(shapes) if self.ranks else {})

    def settled(
        self, config: dict[str, Any], said: CheckpointOptions, ranks: dict[str, int]
    ) -> Variant:
        """The variant behind config fields, with what the user said in them; errors as above."""
        odd = [name for name in said.given() if name not in (*self.options, "input_size")]
        if odd:
            takes = f"it takes: {', '.join(self.options)}" if self.options else "leave it out"
            raise CheckpointError(f"it leaves nothing to choose as '{odd[0]}'; {takes}")
        if self.configure is not None:
            config = self.configure(config, said)
        made = self.network.config(config)
        if said.input_size not in (None, made.img_size):
            raise CheckpointError(
                f"its tensors are for an input of {made.img_size} px, not "
                f"{option('input_size', said.input_size)}; leave it out"
            )
        return Variant(
            vit=made.vit,
            input_size=made.img_size,
            grid=made.grid,
            low_res=made.low_res,
            masks=made.num_mask_tokens,
            adapter=self.adapter,
            ranks=ranks,
            classes=max(len(made.family.classes) - made.family.exclusive, 1),
            config=config,
        )


def configure_structures(config: dict[str, Any], said: CheckpointOptions) -> dict[str, Any]:
    """What the first mask tokens stand for, which no tensor shows; a single one needs no name."""
    if said.classes is None:
        return config
    names = said.names or tuple(f"structure {i + 1}" for i in range(said.classes))
    return {**config, "classes": names if said.classes > 1 else ()}


def configure_tiny(config: dict[str, Any], said: CheckpointOptions) -> dict[str, Any]:
    """Structures and input size of a TinyViT, neither of which any tensor shows."""
    config = configure_structures(config, said)
    return config if said.input_size is None else {**config, "img_size": said.input_size}


def configure_msa(config: dict[str, Any], said: CheckpointOptions) -> dict[str, Any]:
    """Structures and slices of Medical SAM Adapter, which no tensor shows."""
    config = configure_structures(config, said)
    if said.rank not in (None, config["lora_rank"]):
        raise CheckpointError(
            f"its low-rank branches have rank {config['lora_rank']}, not "
            f"{option('rank', said.rank)}; leave it out, or take the file of that rank"
        )
    volumes = said.family == MSA_3D.name
    if volumes and config["lora_rank"]:
        raise CheckpointError(
            "it has low-rank branches and no depth adapters, so it is for images; open it as "
            f"{option('family', MSA.name)}"
        )
    if said.slices is not None or said.chunk is not None:
        config |= _stack(said)
    if volumes and config.get("slices", 1) < 2:
        raise CheckpointError(f"{option('family', said.family)} is for volumes: say {_stacks()}")
    return config


def _stacks() -> str:
    slices = spoken("slices=N", "--slices N")
    return (
        f"how many slices are encoded together: {option('chunk', 4)} (as it was trained; a volume "
        f"then has any multiple of that), or {slices} for whole volumes of N slices"
    )


def _stack(said: CheckpointOptions) -> dict[str, int]:
    """Config fields of a stack of slices."""
    if said.chunk == 1:
        raise CheckpointError(
            f"{option('chunk', 1)} leaves slices alone, without depth; leave it out for images, "
            f"or say {_stacks()}"
        )
    slices = said.slices if said.slices is not None else said.chunk
    if not slices:
        also = spoken("slices=N", "--slices N")
        raise CheckpointError(
            f"{option('chunk', 0)} relates all slices of a volume: say {also} as well"
        )
    return {"slices": slices, "chunk": said.chunk or 0}


def configure_earlier_msa(config: dict[str, Any], said: CheckpointOptions) -> dict[str, Any]:
    """The same for earlier versions, where the input size may be open as well."""
    if said.input_size is not None and size_is_open(config):
        config |= {"img_size": said.input_size, "rel_pos_grid": config["stored_grid"]}
    return configure_msa(config, said)


def size_is_open(config: Mapping[str, Any]) -> bool:
    """Whether a file of an earlier Medical SAM Adapter leaves its input size open.

    The versions with the present decoder stored all tables for the grid of 1024 px, whatever the
    size of the images, and resized them when they ran.
    """
    stored = config["stored_grid"] * config["patch_size"]
    return not config["sam_decoder"] and bool(config["img_size"] == stored)


_SAM_LIKE = (r"^image_encoder\.blocks\.\d+\.", r"^mask_decoder\.transformer\.")
_TINY_LIKE = (r"^image_encoder\.layers\.\d+\.", _SAM_LIKE[1])
_MSA_LIKE = (r"\.attn\.rel_h$", r"^mask_decoder\.transformer\.layers\.\d+\.mlp\.")
_SAMUS_LIKE = r"^image_encoder\.(cnn_embed|post_pos_embed|input_Adapter)\."

_MSA: dict[str, Any] = {
    "markers": (r"\.Space_Adapter\.D_fc1\.weight$", *_MSA_LIKE),
    "about": "SAM with adapters in every block: images, or volumes as stacks of slices",
    "family": MSA,
    "sizes": sizes.msa_adapter_sizes,
    "builder": MSA_BUILDER,
    "adapter": "msa",
    "ranks": sizes.msa_ranks,
}

_SAMED_BRANCH = r"^image_encoder\.blocks\.\d+\.attn\.qkv\.linear_a_q\.weight$"
_SAMED_WHOLE: dict[str, Any] = {
    "about": "the network with its low-rank branches, as torch.save(model.state_dict()) has it",
    "family": SAMED,
    "builder": SAMED_BUILDER,
    "sizes": sizes.samed_whole_sizes,
    "ranks": sizes.samed_whole_ranks,
    "configure": configure_samed_whole,
    "adapter": "lora (encoder)",
    "options": ("classes", "rank"),
}

RECORDS: tuple[Record, ...] = (
    Record(
        "autosamus",
        "AutoSAMUS",
        (r"^prompt_generator\.", r"^feature_adapter\."),
        about="SAMUS that makes its own prompt: ultrasound frames in, one object's mask out",
        family=AUTOSAMUS,
        sizes=sizes.autosamus_sizes,
        builder=AUTOSAMUS_BUILDER,
        adapter="samus",
        ranks=sizes.samus_ranks,
    ),
    Record(
        "samed_s",
        "SAMed_s",
        (r"^(sa|cti|cit)_a_\d+$", r"^w_a_\d+$"),
        about="SAMed with low-rank branches in the mask decoder as well",
        family=SAMED,
        builder=SAMED_BUILDER,
        adapter="lora (encoder and decoder)",
        options=("classes", "rank", "input_size"),
        base="sam",
        example={"decoder_rank": 4},
    ),
    Record(
        "samed",
        "SAMed",
        (r"^w_a_\d+$",),
        about="SAM with low-rank branches and one mask per class: an image in, a class map out",
        family=SAMED,
        builder=SAMED_BUILDER,
        adapter="lora (encoder)",
        options=("classes", "rank", "input_size"),
        base="sam",
    ),
    Record(
        "samed_s_whole",
        "SAMed_s, saved whole",
        (r"^mask_decoder\.transformer\..+\.[qv]_proj\.w_a\.weight$", _SAMED_BRANCH),
        layout_of="samed_s",
        example={"decoder_rank": 4},
        **_SAMED_WHOLE,
    ),
    Record(
        "samed_whole", "SAMed, saved whole", (_SAMED_BRANCH,), layout_of="samed", **_SAMED_WHOLE
    ),
    Record(
        "msa_lora",
        "Medical SAM Adapter (LoRA)",
        (r"^image_encoder\.blocks\.\d+\..+\.lora_A$", *_MSA_LIKE),
        about="Medical SAM Adapter's variant with low-rank branches instead of adapters",
        family=MSA,
        also=(MSA.name,),
        sizes=sizes.msa_lora_sizes,
        builder=MSA_BUILDER,
        adapter="lora (encoder, loralib)",
        ranks=sizes.msa_lora_ranks,
        configure=configure_msa,
        options=("classes", "rank"),
        example={
            "adapter_ratio": 0.0,
            "lora_rank": 4,
            "lora_layers": ("attn.qkv", "mlp.lin1", "mlp.lin2"),
            "lora_groups": 2,
        },
    ),
    Record(
        "msa",
        "Medical SAM Adapter",
        also=(MSA_3D.name,),
        configure=configure_msa,
        options=("classes", "slices", "chunk"),
        **_MSA,
    ),
    Record(
        "msa_earlier",
        "Medical SAM Adapter, an earlier version",
        same_as="msa",
        names_of=MSA_EARLIER,
        layout_of="msa",
        configure=configure_earlier_msa,
        options=("classes", "slices", "chunk", "input_size"),
        **_MSA,
    ),
    Record("hq_sam", "HQ-SAM", (r"^mask_decoder\.hf_token\.", *_SAM_LIKE)),
    Record(
        "litemedsam",
        "LiteMedSAM",
        _TINY_LIKE,
        about="MedSAM's distilled student with a TinyViT encoder, at 256 px; boxes",
        family=LITEMEDSAM,
        tells=sizes.has_no_patches,
        sizes=sizes.tiny_vit_sizes,
        builder=LITEMEDSAM_BUILDER,
        configure=configure_tiny,
        options=("classes", "input_size"),
    ),
    Record(
        "mobile_sam",
        "MobileSAM",
        _TINY_LIKE,
        about="SAM with a TinyViT encoder: points, boxes and masks as prompts",
        family=MOBILE_SAM,
        sizes=sizes.tiny_vit_sizes,
        builder=MOBILE_SAM_BUILDER,
        configure=configure_tiny,
        options=("classes", "input_size"),
    ),
    Record("sam2", "SAM 2", (r"^image_encoder\.trunk\.", r"^sam_mask_decoder\.")),
    Record(
        "samus",
        "SAMUS",
        (_SAMUS_LIKE,),
        about="SAM for ultrasound: a CNN branch and adapters, grey frames at 256 px",
        family=SAMUS,
        sizes=sizes.samus_sizes,
        builder=SAMUS_BUILDER,
        adapter="samus",
        ranks=sizes.samus_ranks,
    ),
    *(Record(f.name, f.title, f.markers, advice=f.advice) for f in FOREIGN),
    Record(
        "medsam",
        "MedSAM",
        _SAM_LIKE,
        about="SAM fine-tuned on medical images, with its own way to prepare them; boxes",
        family=MEDSAM,
        same_as="sam",
        sizes=sizes.sam_sizes,
        builder=MEDSAM_BUILDER,
        configure=configure_structures,
        options=("classes",),
    ),
    Record(
        "ultrasam",
        "UltraSam",
        _SAM_LIKE,
        about="SAM trained on public ultrasound images of many organs: points, boxes, masks",
        family=SAM,
        same_as="sam",
        names_of=ULTRASAM,
        layout_of="sam",
        sizes=sizes.sam_sizes,
        builder=SAM_BUILDER,
    ),
    Record(
        "sam",
        "Segment Anything",
        _SAM_LIKE,
        about="SAM itself: points, boxes and masks as prompts",
        family=SAM,
        sizes=sizes.sam_sizes,
        builder=SAM_BUILDER,
        configure=configure_structures,
        options=("classes",),
    ),
)


def record(name: str) -> Record:
    """The record called `name`."""
    return next(r for r in RECORDS if r.name == name)


def recognised(
    names: Mapping[str, Any], family: str | None = None, names_of: str = ""
) -> Record | None:
    """The record that tensor names fit, or None.

    Args:
        names: of the tensors.
        family: as the user said; decides between records of the same tensors.
        names_of: whose names the tensors had in the file; decides where the user said nothing else.
    """
    found = next((r for r in RECORDS if not r.same_as and r.fits(names)), None)
    twins = [r for r in RECORDS if found is not None and r.same_as == found.name]
    asked = next((r for r in twins if r.name == family and not r.names_of), None)
    return asked or next((r for r in twins if r.names_of and r.names_of == names_of), found)


def layout_record(names_of: str, kind: str) -> Record:
    """The record that speaks for `kind` where the tensors had the names of `names_of`."""
    own = (r for r in RECORDS if r.names_of and (r.names_of, r.kind) == (names_of, kind))
    return next(own, record(kind))


def serves(name: str) -> Record | None:
    """The record behind a name that a user may give as `family`."""
    own = next((r for r in RECORDS if r.name == name), None)
    return own or next((r for r in RECORDS if name in r.also), None)


def loadable() -> str:
    """Names of the families that samedge can load, for messages."""
    return ", ".join(r.name for r in RECORDS if r.loadable and not r.layout_of)
