"""What a new bundle is made from: its float32 graphs, self-test frames and manifest.

`FromBundle` is here; `samedge.export.folded_origin`, which needs torch, has the other one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from samedge.bundle import Bundle, BundleWriter
from samedge.errors import BundleError

_TOOLS = ("torch", "onnx", "numpy", "openvino")
_KEPT = ("title", "family", "variant", "source", "fold_report", "intended_use")
# Bytes of a precision's weights for each of float32's; quantised weights have scales beside them.
SHARES = {"fp32": 1.0, "fp16": 0.55, "int8": 0.35}


class Origin(Protocol):
    """Where the float32 graphs of a new bundle come from."""

    def size(self, precisions: Sequence[str]) -> int:
        """Bytes of the bundle, from above, while it is written."""

    def write(self, writer: BundleWriter, step: Callable[[str], None]) -> dict[str, Any]:
        """Put float32 graphs and self-test frames into `writer`; a manifest without parity."""


class FromBundle:
    """Another bundle, whose graphs and frames are copied as they are.

    Raises:
        BundleError: it has no float32 graphs.
    """

    def __init__(self, bundle: Bundle) -> None:
        lacking = [n for n, entry in bundle.manifest["graphs"].items() if "fp32" not in entry]
        if lacking:
            raise BundleError(
                f"{bundle.path.name} has no float32 {' and '.join(lacking)} graph to start from; "
                "other precisions are made from a bundle that was exported with --precision fp32"
            )
        self._bundle = bundle

    def size(self, precisions: Sequence[str]) -> int:
        """Bytes of all files, float32 ones included, which are there until the end."""
        files = self._bundle.manifest["files"]
        total = sum(entry["bytes"] for entry in files.values())
        return int(total * sum(SHARES[p] for p in {"fp32", *precisions}))

    def write(self, writer: BundleWriter, step: Callable[[str], None]) -> dict[str, Any]:
        """Copy what is needed, each file after its hash was checked."""
        step("copying the float32 graphs")
        manifest = self._bundle.manifest
        graphs = {name: {"fp32": dict(entry["fp32"])} for name, entry in manifest["graphs"].items()}
        for entry in graphs.values():
            file = entry["fp32"]["file"]
            for name in (file, f"{file}.data"):
                if name in manifest["files"]:
                    writer.add_file(name, self._bundle.verify_file(name))
        for test in self._bundle.selftest():
            writer.add_selftest(test)
        kept = {key: manifest[key] for key in _KEPT}
        return new_manifest({**kept, "graphs": graphs})


def new_manifest(parts: dict[str, Any]) -> dict[str, Any]:
    """A manifest of `parts`, with the versions of the tools here; nothing is proven yet."""
    return {
        **parts,
        "tools": {"python": platform.python_version(), **_versions()},
        "parity": [],
        "calibration": None,
    }


def _versions() -> dict[str, str]:
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:  # no torch where a bundle is made from another one
            continue
    return found
