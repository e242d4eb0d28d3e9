"""Manifests of bundles that exist in a test's imagination."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from samedge.bundle import Manifest, ParityRow
from samedge.bundle.manifest import GraphEntry, Source, Variant
from samedge.families import SAMUS


def parity_row(backend: str, precision: str, passed: bool) -> ParityRow:
    """What a bundle that says no more has."""
    return ParityRow(backend=backend, precision=precision, passed=passed)


def small_manifest(encoder: str = "fp32", decoder: str = "fp32", **changes: Any) -> Manifest:
    """A manifest with graphs of these precisions ("fp32 int8"), which have no inputs and outputs.

    Args:
        encoder, decoder: precisions.
        changes: fields of `Manifest` that are to be others.
    """
    graphs = {
        name: {key: GraphEntry(f"{name}.{key}.onnx", (), ()) for key in precisions.split()}
        for name, precisions in (("encoder", encoder), ("decoder", decoder))
    }
    manifest = Manifest(
        title="SAMUS, a very small one",
        family=SAMUS,
        variant=Variant("vit_b", 256, 32, 128, 1),
        graphs=graphs,
        source=Source((), "torch module"),
        fold_report={},
        tools={},
    )
    return replace(manifest, **changes)
