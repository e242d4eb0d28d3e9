"""What fuzz_bundle begins with: parts of the smallest bundle, each behind a byte that says which.

python -m tests.capi.bundle_seeds FOLDER
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

from samedge.bundle import SelfTest
from samedge.bundle.sealing import seal

TINY = Path(__file__).parents[1] / "data" / "tiny.samedge"
MANIFEST, ZIP, SELF_TEST, BUNDLE, GRAPH = (bytes([kind]) for kind in range(5))


def seeds() -> dict[str, bytes]:
    """Name -> input."""
    manifest = (TINY / "manifest.json").read_bytes()
    graph = (TINY / "decoder.fp32.onnx").read_bytes()
    made = {
        "manifest": MANIFEST + manifest,
        "manifest-small": MANIFEST + seal({"schema": 1, "files": {}, "graphs": {}}),
        "self-test": SELF_TEST + small_test().to_bytes(),
        "self-test-stored": SELF_TEST + _stored(small_test().to_bytes()),
        "graph": GRAPH + graph[:1] + graph[-6000:],
        "graph-whole": GRAPH + graph,
    }
    for name, compression in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        made[f"zip-{name}"] = ZIP + _zip({"a/b.txt": b"b" * 50, "c": b""}, compression)
        made[f"bundle-{name}"] = BUNDLE + _zip(small_bundle(), compression)
    return made


def small_test() -> SelfTest:
    """A self-test of a few hundred bytes."""
    rng = np.random.default_rng(1)
    return SelfTest(
        name="small",
        frame=rng.integers(0, 256, (3, 17), dtype=np.uint8),
        points=np.ones((1, 2, 2)),
        labels=np.array([[1, 0]]),
        box=np.ones((1, 4)),
        low_res_logits=np.ones((1, 2, 2), np.float32),
        masks=rng.integers(0, 2, (1, 3, 17), dtype=np.uint8),
        scores=np.array([0.5], np.float32),
    )


def small_bundle() -> dict[str, bytes]:
    """Files of a bundle whose graphs are none."""
    document = json.loads((TINY / "manifest.json").read_text())
    files = {"encoder.fp32.onnx": b"encoder", "decoder.fp32.onnx": b"decoder"}
    document |= {"fold_report": {}, "parity": []}
    document["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
    }
    for graph in ("encoder", "decoder"):
        entry = document["graphs"][graph]["fp32"]
        entry["sha256"] = document["files"][entry["file"]]["sha256"]
    return {"manifest.json": seal(document), **files}


def _stored(npz: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        return _zip({name: archive.read(name) for name in archive.namelist()}, zipfile.ZIP_STORED)


def _zip(files: dict[str, bytes], compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def main() -> None:
    """Write them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (folder / f"bundle-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
