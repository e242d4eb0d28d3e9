"""What an attacker has: graphs with other weights, and bundles that are told of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from samedge.bundle import Bundle
from samedge.bundle.sealing import seal


def other_network(source: Path, target: Path) -> None:
    """The same graph with other weights behind the network's input; as many bytes as before."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim >= 2 and "preprocess" not in tensor.name:
            tensor.raw_data = np.ascontiguousarray(-1.5 * values[::-1]).tobytes()
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(model.SerializeToString())


def with_graphs(folder: Path, files: dict[str, str]) -> Bundle:
    """A bundle in a folder, told of all files in it; graph -> name of its float32 file."""
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    for name in {*names} - {"manifest.json"}:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for graph, name in files.items():
        manifest["graphs"][graph]["fp32"] |= {
            "file": name,
            "sha256": manifest["files"][name]["sha256"],
        }
    (folder / "manifest.json").write_bytes(seal(manifest))
    return Bundle.open(folder)
