"""What eager PyTorch starts for the official network, counted on tensors without memory.

Every operation that PyTorch dispatches and that is no view is one launch that reads its tensors
and writes its result, each once. That flatters PyTorch: some operations start several kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from samedge._optional import importing
from samedge.bench.account.launches import Cost, Ledger

with importing("torch", extra="export", what="counting eager PyTorch's launches"):
    import torch
    from torch import nn
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    from samedge.models import MsaConfig, PromptableModel

# They make tensors without writing to them, or hand one on.
NO_LAUNCH = frozenset(
    (
        *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
        *("_unsafe_view", "detach", "lift_fresh", "alias", "_reshape_alias"),
        *("_local_scalar_dense", "item"),
    )
)


def eager_launches(model: PromptableModel, dtype: torch.dtype = torch.float32) -> Ledger:
    """Encoder and decoder of the official network: one frame, one object with one click or box.

    Args:
        model: on the meta device (`samedge.fold.sizes.unfolded_sizes`).
        dtype: of the encoder's weights and tensors. The decoder stays in float32, which its code
            asks for.
    """
    ledger = Ledger()
    model.image_encoder.to(dtype)
    batch = model.config.slices if isinstance(model.config, MsaConfig) else 1
    size, channels = model.config.img_size, model.input_channels[-1]
    pixels = torch.empty(batch, channels, size, size, dtype=dtype, device="meta")
    with torch.no_grad(), _parts(model.image_encoder, ledger) as counter, torch.device("meta"):
        embedding = model.encode(pixels)
        counter.part = "decoder"
        model.decode(embedding.float(), **_prompts(model, batch))
    return ledger


def _prompts(model: PromptableModel, batch: int) -> dict[str, Any]:
    prompts = model.family.prompts
    if "point" in prompts:
        return {
            "point_coords": torch.empty(batch, 1, 2),
            "point_labels": torch.empty(batch, 1, dtype=torch.int64),
        }
    return {"boxes": torch.empty(batch, 4)} if "box" in prompts else {}


@contextmanager
def _parts(encoder: nn.Module, ledger: Ledger) -> Iterator[Counter]:
    """A counter that knows which part of the encoder is being computed."""
    counter = Counter(ledger)
    names = {"patch_embed": "patch_embed", "cnn_embed": "cnn", "neck": "neck"}
    inside: dict[nn.Module, str] = {
        module: names[name] for name, module in encoder.named_children() if name in names
    }
    blocks = encoder.get_submodule("blocks")
    inside |= {block: f"blocks.{name}" for name, block in blocks.named_children()}
    hooks = []
    for module, part in inside.items():

        def enter(_module: nn.Module, _given: Any, part: str = part) -> None:
            counter.part = part

        def leave(_module: nn.Module, _given: Any, _result: Any) -> None:
            counter.part = "patch_embed"  # positions, adapters: whatever stands between

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with counter:
            yield counter
    finally:
        for hook in hooks:
            hook.remove()


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes every operation down."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger, self.part = ledger, "patch_embed"

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        result = func(*args, **given)
        name = func.overloadpacket.__name__
        if not func.is_view and name not in NO_LAUNCH:
            self.ledger.add(self.part, name, _cost(func, args, given, result))
        return result


def _cost(func: Any, args: Any, kwargs: Any, result: Any) -> Cost:
    count = flop_registry.get(func.overloadpacket)
    flops = 0 if count is None else int(count(*args, **kwargs, out_val=result))
    return Cost(1, flops, _bytes((args, kwargs)), _bytes(result))


def _bytes(values: Any) -> int:
    """Of all tensors in nested tuples; what is only repeated by its strides is there once."""
    if isinstance(values, torch.Tensor):
        distinct = [n for n, step in zip(values.shape, values.stride(), strict=True) if step]
        return int(torch.Size(distinct).numel() * values.element_size())
    if isinstance(values, Mapping):
        values = values.values()
    return sum(map(_bytes, values)) if hasattr(values, "__iter__") and not isinstance(
        values, str
    ) else 0  # fmt: skip
