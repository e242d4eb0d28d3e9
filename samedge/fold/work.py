"""A model's sizes, as far as they decide how much memory work on it takes; and the refusal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from samedge.fold.layers import Block
from samedge.fold.model import FoldedModel
from samedge.machine.memory import Need, require_room
from samedge.machine.needs import GATE, Work, derive_needs, export_needs, fold_needs
from samedge.models import MsaConfig, PromptableModel, SamConfig
from samedge.models.presets import vit_title

if TYPE_CHECKING:
    from samedge.families import Family

_FLOAT = 4


def work_of(config: SamConfig, parameters: int) -> Work:
    """Of a model or checkpoint with `parameters` values, before anything is done with it."""
    return Work(
        weights=_FLOAT * parameters,
        images=config.slices if isinstance(config, MsaConfig) else 1,
        heads=config.num_heads,
        tokens=config.grid**2,
        padded=_padded(config.grid, config.window_size),
        dim=config.embed_dim,
        attended=config.grid**2 if config.global_blocks else config.window_size**2,
    )


def work_of_folded(folded: FoldedModel) -> Work:
    """Of a folded model."""
    blocks = [block for block in folded.encoder.blocks if isinstance(block, Block)]
    return Work(
        weights=_FLOAT * sum(p.numel() for p in folded.parameters()),
        images=folded.family.slices,
        heads=max((block.attn.heads for block in blocks), default=1),
        tokens=folded.variant.grid**2,
        padded=max((_padded(block.attn.grid, block.attn.window) for block in blocks), default=0),
        dim=int(folded.encoder.patch_embed.pos_embed.shape[-1]),
        attended=max((block.attn.window**2 for block in blocks), default=0),
    )


def _padded(grid: int, window: int) -> int:
    """Tokens of a grid that is padded to whole windows."""
    return int((-(-grid // window) * window) ** 2)


def pipeline_needs(work: Work, precisions: Iterable[str] = ()) -> list[Need]:
    """Of the whole way from an open checkpoint to a bundle. The folded model stands beside the
    graphs until they are written, and is gone in the gate and after it."""
    return [
        *fold_needs(work),
        *(need if need.step == GATE else need.plus(work.weights) for need in export_needs(work)),
        *derive_needs(work, precisions),
    ]


def require_memory_to_fold(model: PromptableModel) -> None:
    """Refuse to fold a model where there is too little memory for that.

    Raises:
        NotSupportedError: see `samedge.machine.memory.require_room`.
    """
    config = model.config
    work = work_of(config, sum(p.numel() for p in model.parameters()))
    words = about("folding", model.family, config.vit, config.img_size)
    require_room(fold_needs(work), *words)


def require_memory_to_export(
    folded: FoldedModel, consume: bool, precisions: Iterable[str] = ()
) -> None:
    """The same for an export, which from the gate on may `consume` the folded model's memory."""
    work, variant = work_of_folded(folded), folded.variant
    write, *later = [*export_needs(work), *derive_needs(work, precisions)]
    needs = [write, *(need.plus(-work.weights) if consume else need for need in later)]
    words = about("exporting", folded.family, variant.vit, variant.input_size)
    require_room(needs, *words)


def about(doing: str, family: Family, vit: str, size: int) -> tuple[str, str]:
    """For messages: what is being done, and what of the same kind would need less ("" if nothing
    is known)."""
    slices = f", {family.slices} slices together" if family.slices > 1 else ""
    smaller = "a checkpoint with a smaller ViT (ViT-B)" if vit in ("vit_l", "vit_h") else ""
    if slices:
        smaller = "fewer slices at a time (slices, chunk)"
    return f"{doing} {family.title} ({vit_title(vit)}, {size} px{slices})", smaller
