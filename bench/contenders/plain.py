"""The plain ONNX export of an eager network: what one gets without samedge.

No folding, no rewrites, written by `torch.onnx.export` as published export scripts write it: the
image encoder with fixed shapes, and one graph for prompts and masks that leaves open how many
points there are.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge._install import install_command
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import MissingDependencyError, NotSupportedError

if TYPE_CHECKING:
    from torch import Tensor, nn

OUTPUT = "image_embedding"
DECODED = ("low_res_logits", "scores")
OPSET = 17  # LayerNormalization is one operation from here on
TRACED_FIRST, TRACED_LAST = (False, True), (True, False)  # values of `dynamo`, in turn
_COUNTED = ("point_coords", "point_labels")  # [N, P, 2] and [N, P]: P is left open


def export_plain(
    image_encoder: nn.Module, example: Tensor, path: str | Path, opset: int = OPSET
) -> Path:
    """Write `image_encoder` to `path` as ONNX, with the fixed shape of `example`.

    The exporter that traces (`dynamo=False`) is tried first, since that is what most published
    export scripts use; where it fails or is gone the newer one (`dynamo=True`) has its turn.

    Args:
        image_encoder: eager module, `[B, C, S, S]` float32 -> `[B, D, g, g]` float32.
        example: an input of the shape to fix, float32 `[B, C, S, S]`.
        path: file to write; weights above 2 GB go to `<path>.data`.

    Returns:
        The path written. The graph's input is `network_input`, its output `image_embedding`.

    Raises:
        MissingDependencyError: torch or onnx is not installed.
        NotSupportedError: neither exporter could write the model.
    """
    return _export(image_encoder, {NETWORK_INPUT: example}, (OUTPUT,), path, opset, TRACED_FIRST)


def export_plain_network(
    model: Any, example: Tensor, prompts: Mapping[str, Tensor], folder: Path
) -> tuple[Path, Path]:
    """Write both halves of an eager model: `encoder.onnx` and `decoder.onnx`.

    Args:
        model: a `PromptableModel`.
        example: a network input, float32 `[1 or slices, C, S, S]`.
        prompts: an example of the prompts, as for `Network.decode`; other kinds are not served.
        folder: to write to.

    Returns:
        The encoder, as of `export_plain`, and the decoder: `image_embedding` and the prompts by
        their names -> `low_res_logits` and `scores`.

    Raises:
        MissingDependencyError, NotSupportedError: as `export_plain`.
    """
    torch = _torch()

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined]
        """`encode`, which does more than the image encoder in some families."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Any:
            return self.model.encode(x)

    class Decoder(Encoder):
        """`decode` with one kind of prompts."""

        def forward(self, embedding: Tensor, *given: Tensor) -> Any:
            return self.model.decode(embedding, **dict(zip(prompts, given, strict=True)))

    encoder = export_plain(Encoder(), example, folder / "encoder.onnx")
    with torch.no_grad():
        embedding = model.encode(example)
    inputs = {OUTPUT: embedding, **prompts}
    # A trace takes the 0 in the shape of "no prompt" for ONNX's "as it is".
    order = TRACED_FIRST if prompts else TRACED_LAST
    return encoder, _export(Decoder(), inputs, DECODED, folder / "decoder.onnx", OPSET, order)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "export", "exporting an eager network") from error
    return torch


def _export(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: str | Path,
    opset: int,
    order: Sequence[bool],
) -> Path:
    """Write a module by the first exporter that can do it."""
    torch, path, module = _torch(), Path(path), module.eval()
    failures = []
    for dynamo in order:
        try:
            with torch.no_grad(), _quiet():
                options = _options(dynamo, opset, inputs, outputs)
                torch.onnx.export(module, tuple(inputs.values()), str(path), **options)
            return path
        except Exception as error:  # the exporters raise anything; both reasons are reported
            path.unlink(missing_ok=True)
            failures.append(f"dynamo={dynamo}: {type(error).__name__}: {error}")
    raise NotSupportedError(
        "torch.onnx.export could not write the eager network, the yardstick of this benchmark:\n  "
        + "\n  ".join(failures)
        + f"\n  Install the tested versions: {install_command('export', '-c constraints.txt')}"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """What tracers and optimisers warn of says nothing about a yardstick."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _options(
    dynamo: bool, opset: int, inputs: Mapping[str, Any], outputs: Sequence[str]
) -> dict[str, Any]:
    """Arguments of `torch.onnx.export` for one exporter."""
    common: dict[str, Any] = {
        "input_names": list(inputs),
        "output_names": list(outputs),
        "dynamic_axes": {name: {1: "points"} for name in inputs if name in _COUNTED},
        "dynamo": dynamo,
    }
    if dynamo:
        return common | {"opset_version": max(opset, 18), "verbose": False}
    return common | {"opset_version": opset, "do_constant_folding": True}
