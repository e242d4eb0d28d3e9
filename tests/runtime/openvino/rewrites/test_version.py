"""A change of what is compiled is a change of `REWRITES_VERSION`: cached engines go by it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import samedge.runtime.openvino
from samedge.runtime.openvino.rewrites import REWRITES_VERSION

# (REWRITES_VERSION, digest of the source)
RECORDED = (2, "9588c7767e10438d")


def test_the_version_changes_with_the_rewrites() -> None:
    folder = Path(samedge.runtime.openvino.__file__).parent
    sources = [*sorted((folder / "rewrites").glob("*.py")), folder / "weights.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    assert (REWRITES_VERSION, digest) == RECORDED, (
        f"the source of OpenVINO's rewrites is now {digest}. If a graph comes out in another form "
        "than before, raise REWRITES_VERSION in rewrites/__init__.py, or engines in users' "
        f"caches stay as they were; then write ({REWRITES_VERSION}, ...) with the digest here"
    )
