"""What was given in the place of a bundle, and what to do with it."""

from __future__ import annotations

import shlex
from pathlib import Path

_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_ENGINES = (b"ftrt", b"trtr", b"ptrt", b"vtrt")  # how those of TensorRT and TensorRT-RTX begin


def mistaken_for_a_bundle(path: Path) -> str:
    """What the file `path` is instead of a bundle, with the way on; empty if it may be a bundle.

    Args:
        path: as the user gave it; it is a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
    name, output = shlex.quote(str(path)), shlex.quote(f"{path.stem}.samedge")
    if _is_checkpoint(path, head):
        return f"this is a PyTorch checkpoint: samedge export {name} -o {output}"
    if path.suffix.lower() == ".onnx":
        return (
            "this is an ONNX graph, and samedge runs bundles, which hold two and a manifest: "
            f"samedge export CHECKPOINT -o {output}"
        )
    if head[:4] in _ENGINES:
        return (
            "this is an engine. Give the bundle that it was built from, which finds its engines: "
            f"samedge inspect {name} tells what is in it"
        )
    return ""


def _is_checkpoint(path: Path, head: bytes) -> bool:
    """By what torch.save and safetensors write."""
    if head.startswith(_PICKLE):
        return True
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return True
    # A zip archive that was cut off has no table of contents.
    torn = head.startswith(b"PK\x03\x04") and path.suffix.lower() in (".pth", ".pt", ".ckpt")
    return torn or (head.startswith(b"PK") and _holds_a_pickle(path))


def _holds_a_pickle(path: Path) -> bool:
    """torch.save writes FOLDER/data.pkl first, so the beginning of the file has its name."""
    with path.open("rb") as file:
        return b"/data.pkl" in file.read(512)
