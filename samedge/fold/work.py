"""A model's sizes, as far as they decide how much memory work on it takes; and the refusal."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING

from samedge.fold.layers import Block
from samedge.fold.model import FoldedModel
from samedge.fold.tiny_layers import Conv, FoldedTinyEncoder, MbConv, TinyBlock
from samedge.machine.memory import Need, require_room
from samedge.machine.needs import GATE, Work, derive_needs, export_needs, fold_needs
from samedge.models import MobileSamConfig, ModelConfig, MsaConfig, PromptableModel, SamConfig
from samedge.models.presets import vit_title

if TYPE_CHECKING:
    from samedge.families import Family

_FLOAT = 4


def work_of(config: ModelConfig, parameters: int) -> Work:
    """Of a model or checkpoint with `parameters` values, before anything is done with it."""
    if isinstance(config, MobileSamConfig):
        stages = [
            (config.heads[i], config.stage_grid(i), config.windows[i])
            for i in range(1, len(config.widths))
        ]
        hidden = round(config.widths[0] * config.expand_ratio)
        return _tiny_work(_FLOAT * parameters, stages, config.stage_grid(0), hidden)
    assert isinstance(config, SamConfig)
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
    weights, encoder = _FLOAT * sum(p.numel() for p in folded.parameters()), folded.encoder
    if isinstance(encoder, FoldedTinyEncoder):
        attentions = [block.attn for block in encoder.blocks if isinstance(block, TinyBlock)]
        first = next(block for block in encoder.blocks if isinstance(block, MbConv))
        stages = [(attn.heads, attn.grid, attn.window) for attn in attentions]
        strides = (conv.stride for conv in encoder.patch_embed if isinstance(conv, Conv))
        shrunk = prod(strides)
        side = folded.variant.input_size // shrunk
        return _tiny_work(weights, stages, side, len(first.conv1.weight))
    blocks = [block for block in encoder.blocks if isinstance(block, Block)]
    return Work(
        weights=weights,
        images=folded.family.slices,
        heads=max((block.attn.heads for block in blocks), default=1),
        tokens=folded.variant.grid**2,
        padded=max((_padded(block.attn.grid, block.attn.window) for block in blocks), default=0),
        dim=int(encoder.patch_embed.pos_embed.shape[-1]),
        attended=max((block.attn.window**2 for block in blocks), default=0),
    )


def _tiny_work(
    weights: int, stages: Iterable[tuple[int, int, int]], side: int, hidden: int
) -> Work:
    """Of a TinyViT: of its stages with attention (heads, grid, window) the one with most scores
    counts, of its values the first stage's, `hidden` channels of side x side px."""
    heads, grid, window = max(stages, key=lambda s: s[0] * s[1] ** 2 * s[2] ** 2)
    return Work(
        weights=weights,
        images=1,
        heads=heads,
        tokens=grid**2,
        padded=side**2,
        dim=hidden,
        attended=window**2,
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
