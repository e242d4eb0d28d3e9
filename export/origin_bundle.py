"""What a new bundle is made from: its float32 graphs, self-test frames and manifest.

`FromBundle` is here; `samedge.export.origin_folded`, which needs torch, has the other one.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from samedge.bundle import Bundle, BundleWriter
from samedge.errors import BundleError
from samedge.export.graphs.update import update_file
from samedge.machine.memory import require_room
from samedge.machine.needs import Work, derive_needs
from samedge.progress import Progress, Step

_TOOLS = ("torch", "onnx", "numpy", "openvino")
# Heads and width of the sizes that have a name; others are small.
_VITS = {"vit_b": (12, 768), "vit_l": (16, 1024), "vit_h": (16, 1280)}
_KEPT = ("title", "family", "variant", "source", "fold_report", "intended_use")
# Bytes of a precision's weights for each of float32's; quantised weights have scales beside them.
SHARES = {"fp32": 1.0, "fp16": 0.55, "int8": 0.35}


class Origin(Protocol):
    """Where the float32 graphs of a new bundle come from."""

    def size(self) -> int:
        """Bytes of the bundle, from above, while it is written."""

    def write(self, writer: BundleWriter, progress: Progress) -> dict[str, Any]:
        """Put float32 graphs and self-test frames into `writer`; a manifest without parity."""


class FromBundle:
    """Another bundle, whose graphs and frames are copied as they are; graphs of an earlier version
    get the form that this one writes.

    Args:
        bundle: open.
        precisions: that the new bundle is to have.
        check_memory: refuse it where there is too little memory.

    Raises:
        BundleError: it has no float32 graphs.
        NotSupportedError: too little memory.
    """

    def __init__(
        self, bundle: Bundle, precisions: Sequence[str], check_memory: bool = True
    ) -> None:
        lacking = [n for n, entry in bundle.manifest["graphs"].items() if "fp32" not in entry]
        if lacking:
            raise BundleError(
                f"{bundle.path.name} has no float32 {' and '.join(lacking)} graph to start from; "
                "other precisions are made from a bundle that was exported with --precision fp32"
            )
        if check_memory and precisions:
            _require_memory(bundle, precisions)
        self._bundle, self._precisions = bundle, precisions

    def size(self) -> int:
        """Bytes of all files, float32 ones included, which are there until the end."""
        files = self._bundle.manifest["files"]
        total = sum(entry["bytes"] for entry in files.values())
        return int(total * sum(SHARES[p] for p in {"fp32", *self._precisions}))

    def write(self, writer: BundleWriter, progress: Progress) -> dict[str, Any]:
        """Copy what is needed, each file after its hash was checked."""
        progress(Step("copying the float32 graphs"))
        manifest = self._bundle.manifest
        graphs = {name: {"fp32": dict(entry["fp32"])} for name, entry in manifest["graphs"].items()}
        for entry in graphs.values():
            file = entry["fp32"]["file"]
            for name in (file, f"{file}.data"):
                if name in manifest["files"]:
                    writer.add_file(name, self._bundle.verify_file(name))
            update_file(writer.new_file(file))
        for test in self._bundle.selftest():
            writer.add_selftest(test)
        kept = {key: manifest[key] for key in _KEPT}
        return new_manifest({**kept, "graphs": graphs})


def _require_memory(bundle: Bundle, precisions: Sequence[str]) -> None:
    """Refuse what does not fit, as far as a bundle's size of ViT tells."""
    variant, files = bundle.manifest["variant"], bundle.manifest["files"]
    heads, dim = _VITS.get(variant["vit"], (0, 0))
    tokens = int(variant["grid"]) ** 2
    work = Work(
        weights=sum(f["bytes"] for name, f in files.items() if ".fp32.onnx" in name),
        images=bundle.family.slices,
        heads=heads,
        tokens=tokens,
        padded=tokens,
        dim=dim,
        attended=tokens,
    )
    needs = derive_needs(work, precisions)
    if needs:
        require_room(needs, f"exporting {bundle.manifest['title']}", "one precision at a time")


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
