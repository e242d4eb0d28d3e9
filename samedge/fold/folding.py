"""`samedge.fold`: the whole model, and the proof that nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samedge.bundle import SelfTest
from samedge.errors import ModelError
from samedge.families import Family
from samedge.fold.decoder import DecoderSpec, fold_decoder
from samedge.fold.encoder import EncoderSpec, fold_encoder
from samedge.fold.model import FoldedModel, Variant
from samedge.fold.probes import (
    Frame,
    eager_input,
    geometry_of,
    network_pixels,
    reference,
    selftest_prompts,
)
from samedge.fold.report import FoldReport, Notes
from samedge.geometry import FrameGeometry
from samedge.models import PromptableModel, SamusConfig

Step = Callable[[str], None]


def fold(
    model: nn.Module, *, channels: int | None = None, on_step: Step | None = None
) -> FoldedModel:
    """Fold a model into its inference network.

    Adapters join the matrices beside them, constants are evaluated, scales and biases move into
    weights, window padding disappears: docs/folding.md proves each rule. Nothing is approximated;
    the report gives the remaining float32 rounding, measured on a probe image.

    Args:
        model: from `Checkpoint.build()` or `samedge.models`, on any device, in any floating-point
            type; or a live `segment_anything.Sam` (taken by its state dict). It is not changed.
        channels: colour channels of the frames to come; default: the family's own (SAMUS: 1, grey,
            with the repetition to RGB folded away). 3 keeps three different channels.
        on_step: called with the name of each step, for a progress display.

    Returns:
        FoldedModel with `.report`.

    Raises:
        ModelError: not a torch module, weights that are not finite, or a number of channels that
            the family cannot have.
        CheckpointError: a foreign model whose state dict fits no family.
    """
    step: Step = on_step or (lambda _name: None)
    native = _on_cpu(model) if isinstance(model, PromptableModel) else _adopt(model)
    family = _with_channels(native.family, channels)
    tensors = {k: v.detach() for k, v in native.state_dict().items()}
    _check_finite(tensors)
    notes = Notes()
    step("folding the image encoder")
    encoder = fold_encoder(tensors, family, encoder_spec(native), notes)
    step("folding the decoder")
    decoder = fold_decoder(tensors, decoder_spec(native, family), notes)
    config = native.config
    variant = Variant(
        vit=config.vit,
        input_size=config.img_size,
        grid=config.grid,
        low_res=config.low_res,
        channels=family.channels,
        prompt_dim=config.prompt_dim,
    )
    no_mask = tensors["prompt_encoder.no_mask_embed.weight"]
    folded = FoldedModel(family, variant, encoder, decoder, no_mask)
    folded.source = native.source
    step("comparing with the unfolded model")
    folded.report = measure(native, folded, notes)
    return folded


def _on_cpu(model: PromptableModel) -> PromptableModel:
    """The model, or a float32 copy on the CPU where it is something else."""
    state = model.state_dict().values()
    if all(v.device.type == "cpu" and v.dtype == torch.float32 for v in state):
        return model
    return deepcopy(model).to("cpu", torch.float32)


def _check_finite(tensors: dict[str, torch.Tensor]) -> None:
    broken = [k for k, v in tensors.items() if not torch.isfinite(v).all()]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ModelError(
            f"the model's weights hold NaN or infinity ({broken[0]}{more}), so its masks mean "
            "nothing; use a checkpoint from before the training diverged"
        )


def _adopt(model: nn.Module) -> PromptableModel:
    """A foreign module (segment_anything.Sam, say) by its state dict."""
    from samedge.checkpoint import checkpoint_from_tensors

    if not isinstance(model, nn.Module):
        raise ModelError(
            f"samedge.fold got a {type(model).__name__}; expected a torch module, such as the "
            "result of samedge.open_checkpoint(...).build()"
        )
    native = checkpoint_from_tensors(model.state_dict()).build()
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
        return replace(family, channels=3, mean=family.mean * 3, std=family.std * 3)
    raise ModelError(
        f"channels={channels} does not fit {family.title}, which is folded for "
        f"{family.channels} channel(s)" + (" or 3" if family.channels == 1 else "")
    )


def encoder_spec(model: PromptableModel) -> EncoderSpec:
    """Geometry of the image encoder, from the model's config."""
    c = model.config
    return EncoderSpec(
        input_size=c.img_size,
        resized=c.resized if isinstance(c, SamusConfig) else c.img_size,
        stride=c.stride,
        heads=c.num_heads,
        window=c.window_size,
        global_blocks=tuple(c.global_blocks),
    )


def decoder_spec(model: PromptableModel, family: Family) -> DecoderSpec:
    """Geometry of the decoder, and which masks can be asked for."""
    c = model.config
    masks = tuple(sorted({family.single_mask, *family.multi_masks}))
    return DecoderSpec(c.img_size, c.grid, c.decoder_heads, masks, "mask" in family.prompts)


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
        decoder_flops = _decoder_flops(model, folded, next(iter(seen.values())))
    folded.selftests = tests
    first = next(iter(seen.values()))
    return FoldReport(
        folded=notes.lines(),
        kept=_kept(folded),
        parameters_before=sum(p.numel() for p in model.parameters()),
        parameters_after=sum(p.numel() for p in folded.parameters()),
        flops_before=first.flops[0],
        flops_after=first.flops[1],
        decoder_flops_before=decoder_flops[0],
        decoder_flops_after=decoder_flops[1],
        embedding_error=max(e.error(folded) for e in seen.values()),
        embedding_max=max(float(e.before.abs().max()) for e in seen.values()),
        logit_error=logit_error,
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
    geometry = geometry_of(model, folded.family, frame)
    pixels = network_pixels(frame, folded.family, geometry)
    before, flops = _counted(lambda: model.encode(eager_input(pixels, folded.family)))
    after, flops_after = _counted(lambda: folded.encode(pixels))
    return _Encoded(geometry, before, after, (flops, flops_after))


def _logit_error(folded: FoldedModel, both: _Encoded, test: SelfTest) -> float:
    """Largest difference of low-res logits between the folded and the unfolded decoder."""
    corners, padding = test.box is not None, folded.family.pad_point
    coords, labels = [both.geometry.to_network(test.points)], [test.labels]
    n = len(test.points)
    if padding == "always" or not corners:
        coords.append(np.zeros((n, 1, 2), np.float32))
        labels.append(np.full((n, 1), -1))
    if test.box is not None:
        coords.append(both.geometry.to_network(test.box.reshape(-1, 2, 2)))
        labels.append(np.array([[2, 3]] * n))
    logits, _ = folded.decode(
        both.after,
        torch.from_numpy(np.concatenate(coords, 1).astype(np.float32)),
        torch.from_numpy(np.concatenate(labels, 1)),
    )
    masks = folded.family.multi_masks
    if len(test.low_res_logits) == n:
        masks = (folded.family.single_mask,)
    index = [folded.decoder.masks.index(m) for m in masks]
    chosen = logits[:, index].flatten(0, 1)
    return float((chosen - torch.from_numpy(test.low_res_logits)).abs().max())


def _decoder_flops(model: PromptableModel, folded: FoldedModel, both: _Encoded) -> tuple[int, int]:
    """FLOPs of one prompt with one point."""
    point, label = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int32)
    padded = torch.zeros(1, 2, 2), torch.tensor([[1, -1]])
    _, before = _counted(lambda: model.decode(both.before, point, label)[0])
    _, after = _counted(lambda: folded.decode(both.after, *padded)[0])
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
    if folded.encoder.patch_embed.adapter is not None:
        kept.append("input_Adapter: its GELU stands between two matrices, so the second one stays")
    if folded.encoder.cnn is not None:
        kept.append("CNN branch: LayerNorm and GELU follow every convolution")
        kept.append("cross-branch attention: depends on both streams")
    return kept
