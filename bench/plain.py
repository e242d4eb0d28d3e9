"""The plain ONNX export of an eager encoder: what one gets without samedge.

It is the yardstick of `samedge.bench.encoder`: no folding, no rewrites, fixed shapes, written by
`torch.onnx.export` as anybody would write it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge._install import install_command
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import MissingDependencyError, NotSupportedError

if TYPE_CHECKING:
    import torch

OUTPUT = "image_embedding"
OPSET = 17  # LayerNormalization is one operation from here on


def export_plain(
    image_encoder: torch.nn.Module, example: torch.Tensor, path: str | Path, opset: int = OPSET
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
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "export", "exporting an eager encoder") from error

    path = Path(path)
    image_encoder = image_encoder.eval()
    failures = []
    for dynamo in (False, True):
        try:
            with torch.no_grad(), warnings.catch_warnings():
                # Tracer and deprecation warnings say nothing about a fixed-shape yardstick.
                warnings.simplefilter("ignore")
                torch.onnx.export(image_encoder, (example,), str(path), **_options(dynamo, opset))
            return path
        except Exception as error:  # the exporters raise anything; both reasons are reported
            path.unlink(missing_ok=True)
            failures.append(f"dynamo={dynamo}: {type(error).__name__}: {error}")
    raise NotSupportedError(
        "torch.onnx.export could not write the eager encoder, the yardstick of this benchmark:\n  "
        + "\n  ".join(failures)
        + f"\n  Install the tested versions: {install_command('export', '-c constraints.txt')}"
    )


def _options(dynamo: bool, opset: int) -> dict[str, Any]:
    """Arguments of `torch.onnx.export` for one exporter."""
    common: dict[str, Any] = {
        "input_names": [NETWORK_INPUT],
        "output_names": [OUTPUT],
        "dynamo": dynamo,
    }
    if dynamo:
        return common | {"opset_version": max(opset, 18), "verbose": False}
    return common | {"opset_version": opset, "do_constant_folding": True}
