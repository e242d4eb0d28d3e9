#!/usr/bin/env python3
"""Checkpoints from the formula of `samedge.models.synthetic`, laid out as the official files.

    python tests/golden/synth_weights.py MANIFEST.json SEED OUT.pth

A manifest lists tensor names and shapes; its "wrap" and "extra" entries say how the official file
is wrapped, if it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from samedge.models.synthetic import synthetic_state_dict


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest's document; tensor names and shapes are under "tensors"."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def manifest_tensors(document: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """All tensors of a manifest, float32."""
    shapes = {name: entry["shape"] for name, entry in document["tensors"].items()}
    arrays = synthetic_state_dict(shapes, seed)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def write_checkpoint(manifest: Path, seed: int, out: Path) -> None:
    """Write the checkpoint of a manifest and a seed as a .pth file."""
    document = read_manifest(manifest)
    content: dict[str, Any] = manifest_tensors(document, seed)
    if document.get("wrap"):
        content = {**(document.get("extra") or {}), document["wrap"]: content}
    torch.save(content, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    write_checkpoint(args.manifest, args.seed, args.out)


if __name__ == "__main__":
    main()
