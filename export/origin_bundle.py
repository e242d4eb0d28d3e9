"""What a new bundle is made from: its float32 graphs, self-test frames and manifest.

`FromBundle` is here; `samedge.export.origin_folded`, which needs torch, has the other one.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from samedge.bundle import Bundle, BundleWriter, Manifest
from samedge.bundle.graphs.check import check_graph
from samedge.errors import BundleError
from samedge.export.graphs.update import update_file
from samedge.machine.memory import require_room
from samedge.machine.needs import Work, derive_needs
from samedge.progress import Progress, Step

_TOOLS = ("torch", "onnx", "numpy", "openvino")
# Heads and width of the sizes that have a name; others are small.
_VITS = {"vit_b": (12, 768), "vit_l": (16, 1024), "vit_h": (16, 1280)}
# Bytes of a precision's weights for each of float32's; quantised weights have scales beside them.
SHARES = {"fp32": 1.0, "fp16": 0.55, "int8": 0.35}


class Origin(Protocol):
    """Where the float32 graphs of a new bundle come from."""

    def check(self, memory: bool) -> None:
        """Refuse what cannot become the bundle that is asked for, before anything is written.

        Args:
            memory: refuse also what this machine has too little memory for.

        Raises:
            ModelError, BundleError: it is not what an export starts from.
            NotSupportedError: too little memory.
        """

    def size(self) -> int:
        """Bytes of the bundle, from above, while it is written."""

    def write(self, writer: BundleWriter, progress: Progress) -> Manifest:
        """Put float32 graphs and self-test frames into `writer`; a manifest without parity."""


@dataclass(frozen=True)
class FromBundle:
    """Another bundle, whose graphs and frames are copied as they are; graphs of an earlier version
    get the form that this one writes.

    Attributes:
        bundle: open.
        precisions: that the new bundle is to have.
    """

    bundle: Bundle
    precisions: Sequence[str]

    def check(self, memory: bool) -> None:
        """Refuse a bundle without float32 graphs, or too large for this machine.

        Raises:
            BundleError: it has no float32 graphs.
            NotSupportedError: too little memory.
        """
        graphs = self.bundle.manifest.graphs
        lacking = [name for name, precisions in graphs.items() if "fp32" not in precisions]
        if lacking:
            raise BundleError(
                f"{self.bundle.path.name} has no float32 {' and '.join(lacking)} graph to start "
                "from; other precisions are made from a bundle that was exported with --precision "
                "fp32"
            )
        if memory:
            _require_memory(self.bundle, self.precisions)

    def size(self) -> int:
        """Bytes of all files, float32 ones included, which are there until the end."""
        shares = sum(SHARES[precision] for precision in {"fp32", *self.precisions})
        return int(self.bundle.manifest.size * shares)

    def write(self, writer: BundleWriter, progress: Progress) -> Manifest:
        """Copy what is needed, each file after its hash was checked."""
        progress(Step("copying the float32 graphs"))
        manifest = self.bundle.manifest
        graphs = {name: {"fp32": entry["fp32"]} for name, entry in manifest.graphs.items()}
        for entry in graphs.values():
            file = entry["fp32"].file
            for name in (file, f"{file}.data"):
                if name in manifest.files:
                    self.bundle.copy_file(name, writer.new_file(name))
            check_graph(writer.new_file(file), entry["fp32"])
            update_file(writer.new_file(file))
        for test in self.bundle.selftest():
            writer.add_selftest(test)
        # Nothing is proven yet, and what other precisions left behind is not this bundle's.
        return replace(
            manifest, graphs=graphs, tools=tools(), parity=(), calibration=None, overflow=None
        )


def _require_memory(bundle: Bundle, precisions: Sequence[str]) -> None:
    """Refuse what does not fit, as far as a bundle's size of ViT tells."""
    manifest = bundle.manifest
    heads, dim = _VITS.get(manifest.variant.vit, (0, 0))
    tokens = manifest.variant.grid**2
    work = Work(
        weights=sum(f.bytes for name, f in manifest.files.items() if ".fp32.onnx" in name),
        images=bundle.family.slices,
        heads=heads,
        tokens=tokens,
        padded=tokens,
        dim=dim,
        attended=tokens,
    )
    needs = derive_needs(work, precisions)
    if needs:
        require_room(needs, f"exporting {manifest.title}", "one precision at a time")


def tools() -> dict[str, str]:
    """Versions of what makes a bundle here."""
    found = {"python": platform.python_version()}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:  # no torch where a bundle is made from another one
            continue
    return found
