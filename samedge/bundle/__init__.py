"""The on-disk bundle: manifest, graphs, hashes, self-test frames. Standard library and numpy only.

`docs/bundle.md` describes the format. `Bundle` reads one (a folder or a zip file), `BundleWriter`
writes one so that either the whole bundle or nothing stands under its name.
"""

from samedge.bundle.manifest import INTENDED_USE, MANIFEST, SCHEMA, Manifest, ParityRow, Variant
from samedge.bundle.reader import Bundle
from samedge.bundle.selftest import SelfTest
from samedge.bundle.space import check_space
from samedge.bundle.writer import BundleWriter

__all__ = [
    "INTENDED_USE",
    "MANIFEST",
    "SCHEMA",
    "Bundle",
    "BundleWriter",
    "Manifest",
    "ParityRow",
    "SelfTest",
    "Variant",
    "check_space",
]
