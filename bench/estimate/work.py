"""What a bundle computes and moves for one frame with one object, counted on shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samedge._optional import importing
from samedge.bundle import Bundle

with importing("torch", extra="export", what="samedge estimate"):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

with importing("onnx", extra="export", what="samedge estimate"):
    from samedge.export.triton.refold import refold

from samedge.bench.account.least import HALF, POINTS, least_bytes
from samedge.fold.model import FoldedModel

WINOGRAD = 4  # times fewer products in a 3x3 convolution, with the largest tiles that are in use


@dataclass(frozen=True)
class Part:
    """Encoder or decoder, for one frame (or stack of slices) and one object in each image.

    Attributes:
        flops: of products, a multiply-add being two.
        convolutions: of these in 3x3 convolutions.
        weights: values of its parameters.
        moved: values that its products read and write if each does so once
            (`samedge.bench.account.least`).
    """

    flops: int
    convolutions: int
    weights: int
    moved: int

    @property
    def least_flops(self) -> float:
        """Where 3x3 convolutions are computed by Winograd's algorithm."""
        return self.flops - self.convolutions * (1 - 1 / WINOGRAD)

    def __add__(self, other: Part) -> Part:
        return Part(
            self.flops + other.flops,
            self.convolutions + other.convolutions,
            self.weights + other.weights,
            self.moved + other.moved,
        )


def work_of_bundle(bundle: Bundle) -> dict[str, Part]:
    """{"encoder", "decoder"} of a bundle.

    Raises:
        BundleError: it has no float32 graphs of samedge's writing.
    """
    encoder, decoder = refold(bundle)
    return work_of(FoldedModel(bundle.family, bundle.manifest.variant, encoder, decoder, None))


def work_of(folded: FoldedModel) -> dict[str, Part]:
    """{"encoder", "decoder"} of a folded model, which is left on the meta device."""
    least = least_bytes(folded)
    moved = {"decoder": least.pop("decoder") // HALF}
    moved["encoder"] = sum(least.values()) // HALF
    folded.to("meta")
    runs = _runs(folded)
    return {
        name: Part(
            *_flops(runs[name]),
            sum(p.numel() for p in getattr(folded, name).parameters()),
            moved[name],
        )
        for name in runs
    }


def _runs(folded: FoldedModel) -> Mapping[str, Callable[[], object]]:
    images, size, grid = folded.family.slices, folded.variant.input_size, folded.variant.grid
    pixels = torch.empty(images, folded.family.channels, size, size, device="meta")
    channels = folded.decoder.tokens.shape[-1]
    embedding = torch.empty(images, channels, grid, grid, device="meta")
    prompt: tuple[torch.Tensor, ...] = ()
    if folded.decoder.prompt is not None:
        prompt = (
            torch.empty(images, POINTS, 2, device="meta"),
            torch.empty(images, POINTS, dtype=torch.int64, device="meta"),
        )
    return {
        "encoder": lambda: folded.encode(pixels),
        "decoder": lambda: folded.decode(embedding, *prompt),
    }


def _flops(run: Callable[[], object]) -> tuple[int, int]:
    """All, and those of 3x3 convolutions."""
    with FlopCounterMode(display=False) as counter:
        run()
    with _Convolutions() as convolutions:
        run()
    return int(counter.get_total_flops()), convolutions.flops


class _Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts FLOPs of 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        result = func(*args, **given)
        if func.overloadpacket is torch.ops.aten.convolution and args[1].shape[-2:] == (3, 3):
            self.flops += int(flop_registry[func.overloadpacket](*args, **given, out_val=result))
        return result
