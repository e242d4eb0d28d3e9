"""`samedge.export`: FoldedModel -> bundle, behind a parity gate."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from samedge._optional import require
from samedge.bundle import INTENDED_USE, Bundle, BundleWriter
from samedge.errors import ModelError, NotSupportedError, ParityError
from samedge.memory import release_memory
from samedge.needs import GATE, bundle_bytes
from samedge.runtime.verify import verify

if TYPE_CHECKING:
    from samedge.export.graph import Graph
    from samedge.fold.model import FoldedModel

PRECISIONS = ("fp32",)
_TOOLS = ("torch", "onnx", "numpy", "openvino")
_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
}


def export(
    folded: FoldedModel,
    path: str | os.PathLike[str],
    precisions: Sequence[str] = ("fp32",),
    *,
    overwrite: bool = False,
    zip: bool = False,  # noqa: A002 (the word that users know)
    half_weights: bool = False,
    consume: bool = False,
    check_memory: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Bundle:
    """Write a bundle: graphs, self-test frames, manifest; all of it or nothing.

    Before the bundle gets its name it is run on this machine and compared with the unfolded
    float32 model (the parity gate), in every precision that the CPU has natively. The float32
    result must pass; what the other precisions reach is recorded, and `precision="auto"` only
    takes one that passed.

    Args:
        folded: from `samedge.fold`.
        path: of the new bundle, by custom `NAME.samedge`.
        precisions: of the graphs; this version writes "fp32".
        overwrite: replace a bundle of that name.
        zip: write one file instead of a folder.
        half_weights: store weights as 16-bit floats: half the file, computed in float32 all the
            same. Rounds those of `folded`, after which the rounded model is the reference; the fold
            report has what that changes.
        consume: free the weights of `folded` once they are written: it cannot compute any more
            after that, and the parity gate has their memory.
        check_memory: refuse the work where this machine has not enough memory for it.
        progress: called with the name of each step.

    Returns:
        The finished bundle, open.

    Raises:
        NotSupportedError: a precision that this version does not write, or too little memory.
        ModelError: `folded` is no FoldedModel.
        ParityError: the engine's results are too far from the reference, or 16-bit weights change
            the model too much; nothing is written.
        OutputError: the disk is full, or has no room for the bundle, or something is in the way.
    """
    require("torch", extra="export", what="samedge.export")
    from samedge.export.decoder_graph import decoder_graph
    from samedge.export.encoder_graph import encoder_graph
    from samedge.fold.half import round_to_half
    from samedge.fold.work import require_memory_to_export, work_of_folded

    step = progress or (lambda _name: None)
    _check(folded, (precisions,) if isinstance(precisions, str) else precisions)
    if check_memory:
        require_memory_to_export(folded, consume)
    size = bundle_bytes(work_of_folded(folded))
    if half_weights:
        step("rounding the weights to 16 bits")
        round_to_half(folded)
    with BundleWriter(path, overwrite=overwrite, zip=zip, size=size) as writer:
        graphs: dict[str, Any] = {}
        for name, build in (("encoder", encoder_graph), ("decoder", decoder_graph)):
            step(f"writing the {name} graph")
            file = f"{name}.fp32.onnx"
            graphs[name] = {"fp32": _write(build(folded), writer.new_file(file))}
        if consume:
            folded.release()
        release_memory()
        for test in folded.selftests:
            writer.add_selftest(test)
        manifest = _manifest(folded, graphs)
        step(GATE)
        manifest["parity"] = gate(writer.draft(manifest))
        step("hashing and moving into place")
        return writer.commit(manifest)


def _check(folded: object, precisions: Sequence[str]) -> None:
    from samedge.fold.model import FoldedModel

    if not isinstance(folded, FoldedModel):
        raise ModelError(
            f"samedge.export got a {type(folded).__name__}; expected the result of "
            "samedge.fold(model)"
        )
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        raise NotSupportedError(
            f"this version writes graphs in {', '.join(PRECISIONS)}; got "
            f"{', '.join(unknown) or 'none'}. bf16 needs no graph of its own: choose it when the "
            "bundle is loaded, samedge.load(path, precision='bf16')"
        )


def _write(graph: Graph, path: Path) -> dict[str, Any]:
    """Save and check a graph; its entry in the manifest."""
    model = graph.save(path)
    onnx.checker.check_model(str(path), full_check=True)
    return {
        "file": path.name,
        "inputs": [_value(v) for v in model.graph.input],
        "outputs": [_value(v) for v in model.graph.output],
    }


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return {"name": value.name, "dtype": _DTYPES[tensor.elem_type], "shape": shape}


def _manifest(folded: FoldedModel, graphs: dict[str, Any]) -> dict[str, Any]:
    v = folded.variant
    sizes = {name: getattr(v, name) for name in
             ("vit", "input_size", "grid", "low_res", "channels", "prompt_dim")}  # fmt: skip
    return {
        "title": f"{folded.family.title} {v.vit}",
        "family": folded.family.to_json(),
        "variant": sizes,
        "graphs": graphs,
        "source": folded.source,
        "tools": {"python": platform.python_version(), **{t: version(t) for t in _TOOLS}},
        "fold_report": folded.report.to_json(),
        "parity": [],
        "calibration": None,
        "intended_use": INTENDED_USE,
    }


def gate(bundle: Bundle) -> list[dict[str, Any]]:
    """Verify every native precision; float32 has to pass.

    Raises:
        ParityError: it does not.
    """
    rows = verify(bundle, backend="openvino", cache=False)
    for row in rows:
        if row["precision"] == "fp32" and not row["passed"]:
            raise ParityError(
                f"parity failed: in OpenVINO fp32 the logits differ by {row['max_logit_error']:.2e}"
                f" and the scores by {row['score_error']:.2e} (limit {row['limit']:.0e}), and "
                f"{row['flipped']:.2%} of the mask pixels flip (limit {row['flipped_limit']:.2%}, "
                f"{row['flipped_far']} of them far from the threshold); nothing was written. "
                "Please report this with the output of `samedge doctor`"
            )
    return rows
