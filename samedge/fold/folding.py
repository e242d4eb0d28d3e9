"""`samedge.fold`: the whole model, and the proof that nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samedge._wording import spoken
from samedge.bundle import SelfTest, Variant
from samedge.errors import ModelError
from samedge.families import Family
from samedge.fold.decoder import DecoderSpec, fold_decoder
from samedge.fold.encoder import EncoderSpec, fold_encoder
from samedge.fold.layers import Block, FoldedEncoder
from samedge.fold.model import FoldedModel
from samedge.fold.probes import (
    Frame,
    decode_folded,
    decode_unfolded,
    eager_input,
    geometry_of,
    network_pixels,
    reference,
    selftest_prompts,
)
from samedge.fold.report import FoldReport, Notes
from samedge.fold.tiny_encoder import fold_tiny_encoder
from samedge.fold.tiny_layers import FoldedTinyEncoder
from samedge.fold.work import require_memory_to_fold
from samedge.geometry.frame_geometry import FrameGeometry
from samedge.machine.memory import release_memory
from samedge.machine.needs import COMPARE, FOLD
from samedge.models import (
    AutosamusConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamusConfig,
)
from samedge.models.image_encoder import Attention
from samedge.models.msa import MsaAttention
from samedge.progress import Progress, Step, silent


def fold(
    model: nn.Module,
    *,
    channels: int | None = None,
    family: str | None = None,
    check_memory: bool = True,
    compare: bool = True,
    progress: Progress = silent,
) -> FoldedModel:
    """Fold a model into its inference network.

    Adapters join the matrices beside them, constants are evaluated, scales and biases move into
    weights, window padding disappears: docs/folding.md proves each rule. Nothing is approximated;
    the report gives the remaining float32 rounding, measured on the self-test frames.

    Args:
        model: from `Checkpoint.build()` or `samedge.models`, on any device, in any floating-point
            type; or a live `segment_anything.Sam` (taken by its state dict). It is not changed.
        channels: colour channels of the frames to come; default: the family's own (SAMUS: 1, grey,
            with the repetition to RGB folded away). 3 keeps three different channels.
        family: what a foreign module is, where its tensors do not tell ("medsam").
        check_memory: refuse the work where this machine has not enough memory for it.
        compare: run both models on the self-test frames, which takes most of the time. Without it
            the report has no errors, and the model cannot be exported: it is a plan.
        progress: told each step.

    Returns:
        FoldedModel with `.report`.

    Raises:
        ModelError: not a torch module, weights that are not finite, or a number of channels that
            the family cannot have.
        CheckpointError: a foreign model whose state dict fits no family.
        NotSupportedError: too little memory.
    """
    native = _on_cpu(model) if isinstance(model, PromptableModel) else _adopt(model, family)
    record = _with_channels(_checked_family(native, family), channels)
    if check_memory:
        require_memory_to_fold(native)
    tensors = {k: v.detach() for k, v in native.state_dict().items()}
    _check_finite(tensors)
    notes = Notes()
    progress(Step(FOLD))
    no_mask = no_mask_embedding(native)
    encoder = folded_encoder(native, tensors, record, no_mask, notes)
    progress(Step("folding the decoder"))
    decoder = fold_decoder(tensors, decoder_spec(native, record), notes)
    config = native.config
    variant = Variant(
        vit=config.vit,
        input_size=config.img_size,
        grid=config.grid,
        low_res=config.low_res,
        channels=record.channels,
        prompt_dim=config.prompt_dim,
    )
    folded = FoldedModel(record, variant, encoder, decoder, no_mask)
    folded.source = native.source
    release_memory()  # of weights in float64 there is as much as of a few blocks
    if compare:
        progress(Step(COMPARE))
        folded.report = measure(native, folded, notes)
    else:
        folded.selftests = []
        folded.report = plan(native, folded, notes)
    return folded


def _on_cpu(model: PromptableModel) -> PromptableModel:
    """The model, or a float32 copy on the CPU where it is something else.

    Every tensor is converted on its way into the copy: beside a model that fills a GPU there may be
    no room for a second one.
    """
    state = model.state_dict().values()
    if all(v.device.type == "cpu" and v.dtype == torch.float32 for v in state):
        return model
    copies: dict[int, torch.Tensor] = {
        id(p): nn.Parameter(p.detach().to("cpu", torch.float32), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    copies |= {id(b): b.to("cpu", torch.float32) for b in model.buffers()}
    return deepcopy(model, copies)


def _check_finite(tensors: dict[str, torch.Tensor]) -> None:
    broken = [k for k, v in tensors.items() if not torch.isfinite(v).all()]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ModelError(
            f"the model's weights hold NaN or infinity ({broken[0]}{more}), so its masks mean "
            "nothing; use a checkpoint from before the training diverged"
        )


def _checked_family(model: PromptableModel, family: str | None) -> Family:
    if family is not None and family != model.family.name:
        raise ModelError(
            f"the model is {model.family.title}, not '{family}'; leave family out, or open the "
            f"checkpoint as that: "
            + spoken(f"open_checkpoint(path, family='{family}')", f"--family {family}")
        )
    return model.family


def _adopt(model: nn.Module, family: str | None) -> PromptableModel:
    """A foreign module (segment_anything.Sam, say) by its state dict."""
    from samedge.checkpoint import checkpoint_from_tensors

    if not isinstance(model, nn.Module):
        raise ModelError(
            f"samedge.fold got a {type(model).__name__}; expected a torch module, such as the "
            "result of samedge.open_checkpoint(...).build()"
        )
    native = checkpoint_from_tensors(model.state_dict(), family=family).build(copy=False)
    assert isinstance(native, PromptableModel)
    _check_heads(model, native)
    return native


def _check_heads(model: nn.Module, native: PromptableModel) -> None:
    """Numbers of heads do not show in any tensor's shape: compare what the live object says.

    Raises:
        ModelError: it has others than the model that its tensors look like.
    """
    ours = {name: getattr(module, "num_heads", None) for name, module in native.named_modules()}
    for name, module in model.named_modules():
        theirs, expected = getattr(module, "num_heads", None), ours.get(name)
        if isinstance(theirs, int) and expected is not None and theirs != expected:
            raise ModelError(
                f"the model's {name} has {theirs} attention heads; by its tensors it looks like "
                f"{native.family.title}, which has {expected} there. Build it with samedge.models "
                "and the right config, load the tensors, and fold that"
            )


def _with_channels(family: Family, channels: int | None) -> Family:
    if channels is None or channels == family.channels:
        return family
    if channels == 3 and family.channels == 1:
        spread = 3 // len(family.mean)
        return replace(family, channels=3, mean=family.mean * spread, std=family.std * spread)
    raise ModelError(
        f"channels={channels} does not fit {family.title}, which is folded for "
        f"{family.channels} channel(s)" + (" or 3" if family.channels == 1 else "")
    )


def folded_encoder(
    model: PromptableModel,
    tensors: dict[str, torch.Tensor],
    family: Family,
    no_mask: torch.Tensor | None,
    notes: Notes,
) -> FoldedEncoder | FoldedTinyEncoder:
    """The image encoder of a model with these tensors, folded for frames of this family."""
    if isinstance(model.config, MobileSamConfig):
        return fold_tiny_encoder(tensors, family, model.config, no_mask, notes)
    return fold_encoder(tensors, family, encoder_spec(model.config), no_mask, notes)


def encoder_spec(c: ModelConfig) -> EncoderSpec:
    """Geometry of a vision transformer, from the model's config."""
    assert isinstance(c, SamConfig)
    return EncoderSpec(
        input_size=c.img_size,
        resized=c.resized if isinstance(c, SamusConfig) else c.img_size,
        stride=c.stride,
        heads=c.num_heads,
        window=c.window_size,
        global_blocks=tuple(c.global_blocks),
        tables=MsaAttention.tables if isinstance(c, MsaConfig) else Attention.tables,
        norm_inside=isinstance(c, MsaConfig) and not c.lora_rank,
        slices=c.slices if isinstance(c, MsaConfig) else 1,
        chunk=c.chunk if isinstance(c, MsaConfig) else 0,
    )


def decoder_spec(model: PromptableModel, family: Family) -> DecoderSpec:
    """Geometry of the decoder, and which masks can be asked for."""
    c = model.config
    return DecoderSpec(
        input_size=c.img_size,
        grid=c.grid,
        heads=c.decoder_heads,
        masks=tuple(sorted({*family.mask_tokens(), *family.mask_tokens(multimask=True)})),
        prompts=family.prompts,
        lasting_code=isinstance(c, MsaConfig) and not c.sam_decoder,
        generator_heads=c.generator_heads if isinstance(c, AutosamusConfig) else 0,
    )


def no_mask_embedding(model: PromptableModel) -> torch.Tensor | None:
    """[P], what every prompt without a mask adds to the image embedding; None if the model makes a
    dense prompt of its own."""
    if isinstance(model.config, AutosamusConfig):
        return None
    return model.prompt_encoder.no_mask_embed.weight.detach().reshape(-1)


def measure(model: PromptableModel, folded: FoldedModel, notes: Notes) -> FoldReport:
    """Run both on the self-test frames; count parameters and FLOPs; keep the references."""
    family = folded.family
    tests: list[SelfTest] = []
    seen: dict[int, _Encoded] = {}
    logit_error = 0.0
    with _frozen(model), torch.no_grad():
        for name, frame, prompts in selftest_prompts(family, folded.variant.input_size):
            if id(frame) not in seen:
                seen[id(frame)] = _encode_both(model, folded, frame)
            both = seen[id(frame)]
            test = reference(model, both.before, both.geometry, name, frame, prompts)
            logit_error = max(logit_error, _logit_error(folded, both, test))
            tests.append(test)
        decoder_flops = _decoder_flops(model, folded, next(iter(seen.values())), tests[0])
    folded.selftests = tests
    first = next(iter(seen.values()))
    return replace(
        _report(model, folded, notes, first.flops, decoder_flops),
        embedding_error=max(e.error(folded) for e in seen.values()),
        embedding_max=max(float(e.before.abs().max()) for e in seen.values()),
        logit_error=logit_error,
    )


def plan(model: PromptableModel, folded: FoldedModel, notes: Notes) -> FoldReport:
    """The report without errors: the encoders' FLOPs follow from shapes, so nothing is encoded."""
    family = folded.family
    name, frame, prompts = selftest_prompts(family, folded.variant.input_size)[0]
    geometry = geometry_of(family, folded.variant.input_size, folded.variant.low_res, frame)
    pixels = network_pixels(frame, family, geometry)
    before, after = _without_data(model), _without_data(folded)
    with _frozen(model), torch.no_grad():
        given = eager_input(pixels, family).to("meta")
        shape, flops_before = _counted(lambda: before.encode(given))
        _, flops_after = _counted(lambda: after.encode(pixels.to("meta")))
        empty = torch.zeros(shape.shape)
        both = _Encoded(geometry, empty, empty, (flops_before, flops_after))
        test = reference(model, empty, geometry, name, frame, prompts)
        decoder_flops = _decoder_flops(model, folded, both, test)
    return _report(model, folded, notes, both.flops, decoder_flops)


_Module = TypeVar("_Module", bound=nn.Module)


def _without_data(model: _Module) -> _Module:
    """A copy on the meta device: it knows shapes alone, and takes no memory."""
    copies: dict[int, torch.Tensor] = {
        id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in model.parameters()
    }
    copies |= {id(b): b.to("meta") for b in model.buffers()}
    return deepcopy(model, copies).eval()


def _report(
    model: PromptableModel,
    folded: FoldedModel,
    notes: Notes,
    flops: tuple[int, int],
    decoder_flops: tuple[int, int],
) -> FoldReport:
    """What holds whether or not the models were compared."""
    return FoldReport(
        folded=notes.lines(),
        kept=_kept(folded),
        parameters_before=sum(p.numel() for p in model.parameters()),
        parameters_after=sum(p.numel() for p in folded.parameters()),
        flops_before=flops[0],
        flops_after=flops[1],
        decoder_flops_before=decoder_flops[0],
        decoder_flops_after=decoder_flops[1],
    )


@dataclass(frozen=True)
class _Encoded:
    """One frame's embedding before and after folding."""

    geometry: FrameGeometry
    before: torch.Tensor
    after: torch.Tensor
    flops: tuple[int, int]

    def error(self, folded: FoldedModel) -> float:
        raw = self.after - folded.no_mask.reshape(1, -1, 1, 1)
        return float((raw - self.before).abs().max())


def _encode_both(model: PromptableModel, folded: FoldedModel, frame: Frame) -> _Encoded:
    sizes = folded.variant.input_size, folded.variant.low_res
    geometry = geometry_of(folded.family, *sizes, frame)
    pixels = network_pixels(frame, folded.family, geometry)
    before, flops = _counted(lambda: model.encode(eager_input(pixels, folded.family)))
    after, flops_after = _counted(lambda: folded.encode(pixels))
    return _Encoded(geometry, before, after, (flops, flops_after))


def _logit_error(folded: FoldedModel, both: _Encoded, test: SelfTest) -> float:
    """Largest difference of low-res logits between the folded and the unfolded decoder."""
    logits, _ = decode_folded(folded, both.after, both.geometry, test)
    return float((logits.flatten(0, 1) - torch.from_numpy(test.low_res_logits)).abs().max())


def _decoder_flops(
    model: PromptableModel, folded: FoldedModel, both: _Encoded, test: SelfTest
) -> tuple[int, int]:
    """FLOPs of the first object of a self-test."""
    one = replace(
        test,
        points=test.points[:1],
        labels=test.labels[:1],
        box=None if test.box is None else test.box[:1],
    )
    first = replace(both, before=both.before[:1], after=both.after[:1])
    _, before = _counted(lambda: decode_unfolded(model, first.before, first.geometry, one)[0])
    _, after = _counted(lambda: decode_folded(folded, first.after, first.geometry, one)[0])
    return before, after


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients (the FLOP counter would hook them), restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    trainable = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:  # one by one: parts may be in eval mode on purpose
            module.training = training
        for p in trainable:
            p.requires_grad_(True)


def _counted(run: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    with FlopCounterMode(display=False) as counter:
        result = run()
    return result, int(counter.get_total_flops())


def _kept(folded: FoldedModel) -> list[str]:
    kept = []
    encoder = folded.encoder
    if isinstance(encoder, FoldedTinyEncoder):
        kept.append("TinyViT's convolutions: GELU or a residual stream stands between them")
        return kept
    attentions = [block.attn for block in encoder.blocks if isinstance(block, Block)]
    if encoder.patch_embed.adapter is not None:
        kept.append("input_Adapter: its GELU stands between two matrices, so the second one stays")
    if any(attention.adapter is not None for attention in attentions):
        kept.append("Space_Adapter: its GELU stands between two matrices, so the second one stays")
    if any(attention.depth is not None for attention in attentions):
        kept.append("depth branch: its attention relates slices, as the other relates places")
        kept.append("Depth_Adapter: its GELU, too; the second matrix is one with Space_Adapter's")
    if encoder.cnn is not None:
        kept.append("CNN branch: LayerNorm and GELU follow every convolution")
        kept.append("cross-branch attention: depends on both streams")
    if folded.decoder.generator is not None:
        kept.append("prompt generator: depends on the image")
        kept.append("feature_adapter: LayerNorm and GELU follow every convolution")
    return kept
